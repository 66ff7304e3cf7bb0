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

package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/session"
	"github.com/kubelock/kubelock/internal/store"
)

// TestEffectsThatCauseEvents has a session want a request, and a watch, of a client that is closed: the session
// learns that there is neither, and its caller why.
func TestEffectsThatCauseEvents(t *testing.T) {
	t.Parallel()
	c, err := New(&rest.Config{Host: "http://127.0.0.1:0"}, Settings{
		Namespace: "default", Kind: store.DistributedLocks, Identity: "me", Log: logr.Discard(),
	}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey("k")
	if err != nil {
		t.Fatal(err)
	}
	d := newDriver(c.drivers, key)
	c.Close()
	answers := make(chan reply, 2)
	d.arrive(1, session.Want{Duration: time.Minute}, c.metrics.names.unnamed, answers)
	select {
	case r := <-answers:
		if r.Kind != session.Fail || !errors.Is(r.Failure.Err, ErrClosed) {
			t.Errorf("the caller gets %+v", r)
		}
	default:
		t.Error("the caller learns nothing")
	}
}
