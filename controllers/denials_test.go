/*
Copyright 2026 The kubelock Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package controllers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// denying is a transport that answers as an API server whose webhook denies writes with a status
// code of its own choice. The name of a lock ends with that code.
type denying struct {
	next http.RoundTripper

	mu     sync.Mutex             // protects the fields below
	writes map[string][]time.Time // by the name of the lock
	over   bool                   // whether the webhook denies nothing any more
}

// text returns the API server's message for a denied write.
func (d *denying) text(name string) string {
	return `admission webhook "locks.example.com" denied the request: not before noon, ` + name
}

func (d *denying) RoundTrip(req *http.Request) (*http.Response, error) {
	name := path.Base(req.URL.Path)
	code, err := strconv.Atoi(strings.TrimPrefix(name, "dead-"))
	if req.Method == http.MethodGet || err != nil {
		return d.next.RoundTrip(req)
	}
	d.mu.Lock()
	over := d.over
	if !over {
		d.writes[name] = append(d.writes[name], time.Now())
	}
	d.mu.Unlock()
	if over {
		return d.next.RoundTrip(req)
	}
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Message: d.text(name), //nolint:gosec // A code of HTTP.
	})
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: req,
	}, nil
}

// sent returns when writes of a lock were denied.
func (d *denying) sent(name string) []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]time.Time(nil), d.writes[name]...)
}

// TestDenialsWithMisleadingCodes checks the reaper while a webhook denies its writes with status
// codes that usually mean something else, such as a conflict. The reaper doubles its pause after
// each denial, logs the webhook's message, and ends the hold as soon as the webhook accepts it.
func TestDenialsWithMisleadingCodes(t *testing.T) {
	t.Parallel()
	const attempts = 5
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	d := &denying{writes: map[string][]time.Time{}}
	reaper{namespaces: []string{ns}, wrap: func(next http.RoundTripper) http.RoundTripper {
		d.next = next
		return d
	}}.start(t)
	codes := []int{http.StatusConflict, http.StatusGone, http.StatusNotFound, http.StatusUnprocessableEntity}
	names := make([]string, 0, len(codes))
	for _, code := range codes {
		name := fmt.Sprintf("dead-%d", code)
		names = append(names, name)
		die(t, ns, name, time.Second)
	}
	for _, name := range names {
		err := wait.PollUntilContextCancel(soon(t), 10*time.Millisecond, true,
			func(context.Context) (bool, error) { return len(d.sent(name)) >= attempts, nil })
		if err != nil {
			t.Fatalf("%s: %d writes were sent", name, len(d.sent(name)))
		}
		sent := d.sent(name)
		for i, pause := 1, 200*time.Millisecond; i < len(sent); i, pause = i+1, 2*pause {
			if gap := sent[i].Sub(sent[i-1]); gap < pause-10*time.Millisecond {
				t.Errorf("%s: the pause before write %d was %v, want %v", name, i+1, gap, pause)
			}
		}
		if len(logs.With(d.text(name))) == 0 && len(logs.With(strings.ReplaceAll(d.text(name), `"`, `\"`))) == 0 {
			t.Errorf("%s: the log does not have the webhook's message", name)
		}
	}
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	for _, name := range names {
		history.Until(patience, name, "freed", expired)
	}
}
