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

package kubelock_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// TestRequests counts what the uncontended paths cost on the real API server.
func TestRequests(t *testing.T) {
	t.Parallel()
	checkRequests(t, env.Config, env.Namespace(t))
}

// TestRequestsInVirtualTime is TestRequests where no request takes any time, so that no machine is too slow for the
// exact numbers.
func TestRequestsInVirtualTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { checkRequests(t, kubelocktest.NewServer(t).Config(), kubelocktest.Namespace) })
}

func checkRequests(t *testing.T, config *rest.Config, ns string) {
	t.Helper()
	var rec recorder
	c := newClientFor(t, rec.wrap(config), kubelock.Config{Namespace: ns})
	l := kubelock.NewLock[string](c, "cost")
	expect := func(step, want string) {
		t.Helper()
		if got := rec.taken(); got != want {
			t.Errorf("%s sent %q, want %q", step, got, want)
		}
	}

	// first is the first acquisition of a client. If it takes more than a second, the hold may be renewed before the
	// caller has it, and otherwise not: see TestFirstStampIsConfirmed.
	first := func(l *kubelock.Lock[string], step, want string) *kubelock.Held[string] {
		t.Helper()
		start := time.Now()
		held := acquire(t, l)
		if got := rec.taken(); got != want && (got != want+" patch" || time.Since(start) < time.Second) {
			t.Errorf("%s sent %q, want %q", step, got, want)
		}
		return held
	}

	expect("NewClient", "")
	held := first(l, "the first acquire of a new lock", "get create")
	release(t, held.Update("state"))
	expect("release", "update")
	held = acquire(t, l)
	expect("the next acquire", "update")
	if held.Value() != "state" {
		t.Errorf("the remembered state is %q", held.Value())
	}
	if err := held.Renew(t.Context()); err != nil {
		t.Error(err)
	}
	expect("renew", "patch")
	release(t, held)
	expect("release", "update")

	another := kubelock.NewLock[string](newClientFor(t, rec.wrap(config), kubelock.Config{Namespace: ns}), "cost")
	held = first(another, "the first acquire of a known lock", "get update")
	if held.Value() != "state" {
		t.Errorf("the state is %q", held.Value())
	}
	release(t, held.Update("newer"))
	rec.taken()
	held = acquire(t, l)
	expect("an acquire after another client's", "update get update")
	if held.Value() != "newer" {
		t.Errorf("the state is %q, want what the other client wrote", held.Value())
	}
	release(t, held)
	rec.taken()
	if err := l.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	expect("delete", "delete")
}

// TestFirstStampIsConfirmed is about the one request more that the first acquisition of a client may need. Its stamp is
// two seconds later than the Date of the read's answer, which has no fractions of a second. The answer to the write
// tells the API server's time, and the hold is renewed if the stamp can have been behind it when the write was sent:
// if the whole seconds of the two answers are two apart. So an acquisition of less than a second has never to be
// renewed.
func TestFirstStampIsConfirmed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		write time.Duration // how long it is under way
		want  string
	}{
		{900 * time.Millisecond, "get create"},
		{1400 * time.Millisecond, "get create"}, // From 0.5 to 1.9 seconds.
		{1600 * time.Millisecond, "get create patch"},
	} {
		t.Run(tt.write.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var rec recorder
				l := kubelock.NewLock[string](newClientFor(t, rec.wrap(kubelocktest.NewServer(t).Config()), kubelock.Config{Namespace: kubelocktest.Namespace}), "slow")
				rec.on(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
					if req.Method == http.MethodPost {
						<-time.After(tt.write)
					}
					return next.RoundTrip(req)
				})
				<-time.After(time.Until(time.Now().Truncate(time.Second).Add(1500 * time.Millisecond))) // Half a second after a whole one.
				held := acquire(t, l)
				if got := rec.taken(); got != tt.want {
					t.Errorf("with a write of %v, the acquisition sent %q, want %q", tt.write, got, tt.want)
				}
				release(t, held)
			})
		})
	}
}

// TestRememberedStateMayBeGone checks the one-write acquire when what it builds on
// has been deleted, or deleted and made again.
func TestRememberedStateMayBeGone(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "stale")
	other := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "stale")
	for _, again := range []bool{false, true} {
		held := acquire(t, l)
		last := held.Token()
		release(t, held.Update("old"))
		if err := other.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := ""
		if again {
			held = acquire(t, other)
			last = held.Token()
			release(t, held.Update("new"))
			want = "new"
		}
		held = acquire(t, l)
		if held.Value() != want || held.Token() <= last {
			t.Errorf("made again %v: acquired with the state %q and token %d after %d, want %q", again, held.Value(), held.Token(), last, want)
		}
		release(t, held)
	}
}

// TestLargeStatesAreRemembered checks that a large state is not read again by the client
// that wrote it, nor sent again by a release that leaves it as it is.
func TestLargeStatesAreRemembered(t *testing.T) {
	t.Parallel()
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: env.Namespace(t)}), "large")
	large := strings.Repeat("x", 100<<10)
	release(t, acquire(t, l).Update(large))
	rec.taken()
	held := acquire(t, l)
	if held.Value() != large {
		t.Errorf("the state has %d bytes", len(held.Value()))
	}
	release(t, held)
	if got := rec.taken(); got != "update patch" {
		t.Errorf("sent %q, want no read", got)
	}
}

// counted counts how often it is decoded.
type counted struct{ text string }

var decodings atomic.Int64

func (c counted) MarshalJSON() ([]byte, error) { return json.Marshal(c.text) }

func (c *counted) UnmarshalJSON(text []byte) error {
	decodings.Add(1)
	return json.Unmarshal(text, &c.text)
}

// TestStateIsDecodedOnce checks that an acquisition decodes a state once that is the same
// before and after it, and again what somebody else has written in between.
func TestStateIsDecodedOnce(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	l := kubelock.NewLock[counted](newClient(t, kubelock.Config{Namespace: ns}), "k")
	release(t, acquire(t, l).Update(counted{"old"}))
	for _, tc := range []struct {
		write, want string
		decodings   int64
	}{{"", "old", 1}, {"new", "new", 2}} {
		if tc.write != "" {
			other := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "k")
			release(t, acquire(t, other).Update(tc.write))
		}
		before := decodings.Load()
		held := acquire(t, l)
		if n := decodings.Load() - before; n != tc.decodings || held.Value().text != tc.want {
			t.Errorf("decoded %q with %d decodings, want %q with %d", held.Value().text, n, tc.want, tc.decodings)
		}
		release(t, held)
	}
}

// TestNoRateLimit checks that neither client-go's default of 5 requests a second nor
// the program's own limit slows locks down, and that requests name the library.
func TestNoRateLimit(t *testing.T) {
	t.Parallel()
	var rec recorder
	config := rec.wrap(env.Config)
	config.QPS, config.Burst, config.UserAgent, config.Timeout = 1, 1, "the-program", time.Nanosecond
	l := kubelock.NewLock[string](newClientFor(t, config, kubelock.Config{Namespace: env.Namespace(t)}), "fast")
	agents := make(chan string, 1)
	rec.on(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		select {
		case agents <- req.UserAgent():
		default:
		}
		if _, ok := req.Context().Deadline(); !ok {
			t.Errorf("a %s has no deadline", verbOf(req))
		}
		return next.RoundTrip(req)
	})
	start := time.Now()
	for range 20 {
		release(t, acquire(t, l))
	}
	if took := time.Since(start); took > 20*time.Second { // 41 requests at one a second would take twice as long.
		t.Errorf("20 cycles took %v", took)
	}
	if agent := <-agents; !strings.HasPrefix(agent, "kubelock/v") {
		t.Errorf("user agent %q, want the library's own", agent)
	}
}

// TestFieldManager checks that managed fields say who writes locks, by whichever verb.
func TestFieldManager(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	l := lockOf(t, ns, "managed")
	held := acquire(t, l)                           // Created.
	if err := held.Renew(t.Context()); err != nil { // Patched.
		t.Fatal(err)
	}
	release(t, held)
	release(t, acquire(t, l)) // Updated.
	obj := object(t, ns, "managed")
	if len(obj.ManagedFields) == 0 {
		t.Error("no managed fields")
	}
	for _, f := range obj.ManagedFields {
		if f.Manager != "kubelock" {
			t.Errorf("%s has written %s", f.Manager, f.FieldsV1.GetRawString())
		}
	}
}
