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

package skew

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestOlderSchema checks clients of this version with a CustomResourceDefinition that lacks a field which
// they write. The API server drops the field and sends a warning. The protocol needs some of the fields: a
// call that wrote one of these fails, and its error says what to upgrade.
func TestOlderSchema(t *testing.T) {
	for _, tc := range []struct {
		field string
		fails string // the first call that fails; empty if none does
	}{
		{"spec.key", ""},
		{"spec.value", "save"},
		{"spec.objectExpiry", ""},
		{"spec.waiters", "queue"},
		{"spec.lastRelease", "release"},
		{"spec.transitions", ""},
		{"spec.holder.pod", ""},
		{"spec.holder.pod.uid", ""},
		{"spec.holder.token", "renew"},
		{"spec.holder.renewTimeSource", ""},
		{"spec.holder.display", ""},
		{"spec.lastRelease.token", ""},
		{"spec.lastRelease.timeSource", ""},
	} {
		t.Run(tc.field, func(t *testing.T) {
			crd := definition(t)
			older(t, crd, tc.field)
			install(t, crd)
			f := fields{env.Namespace(t), kubelock.DistributedLocks}
			t.Setenv("POD_NAMESPACE", f.namespace)
			t.Setenv("POD_NAME", "p")
			t.Setenv("POD_UID", "u")

			call, err := cycle(t, f)
			switch {
			case tc.fails == "" && err != nil:
				t.Errorf("%s: %v", call, err)
			case tc.fails != "" && (call != tc.fails || err == nil || !strings.Contains(err.Error(), "has no "+tc.field+", upgrade it")):
				t.Errorf("%s: %v; want %s to fail and to say what lacks %s", call, err, tc.fails, tc.field)
			}
		})
	}
}

// cycle makes every call on a lock, and returns the one that fails. If none fails, it checks that the lock
// works as with the current schema.
func cycle(t *testing.T, f fields) (call string, err error) {
	t.Helper()
	a, b := newLock(t, f, "a"), newLock(t, f, "b")
	held, err := a.Acquire(within(t))
	if err != nil {
		return "acquire", err
	}
	if err := held.Renew(within(t)); err != nil {
		return "renew", err
	}
	if err := held.Update(1).Save(within(t)); err != nil {
		return "save", err
	}
	if _, err := b.TryAcquire(within(t)); !errors.Is(err, kubelock.ErrNotAcquired) {
		return "try", fmt.Errorf("a held lock was acquired: %w", err)
	}
	type result struct {
		held *kubelock.Held[int]
		err  error
	}
	got := make(chan result, 1)
	go func() {
		held, err := b.Acquire(within(t))
		got <- result{held, err}
	}()
	err = poll(t, func() bool { return inQueue(t, f) || len(got) > 0 })
	if err != nil {
		return "queue", errors.New("no client has joined the queue")
	}
	if !inQueue(t, f) {
		return "queue", (<-got).err
	}
	if err := held.Update(2).Release(within(t)); err != nil {
		return "release", err
	}
	r := <-got
	if r.err != nil {
		return "wait", r.err
	}
	if v := r.held.Value(); v != 2 {
		return "value", fmt.Errorf("it is %d, want 2", v)
	}
	if r.held.Token() <= held.Token() {
		return "token", fmt.Errorf("it is %d after %d", r.held.Token(), held.Token())
	}
	if err := r.held.Release(within(t)); err != nil {
		return "release", err
	}
	if held, err = a.Acquire(within(t), kubelock.WithMinHold(time.Hour), kubelock.WithAutoRenew()); err != nil {
		return "acquire", err
	}
	if v := held.Value(); v != 2 {
		return "value", fmt.Errorf("it is %d, want 2", v)
	}
	if err := held.Release(within(t)); err != nil {
		return "release", err
	}
	if s, err := b.Get(within(t)); err != nil || !s.Resting {
		return "rest", fmt.Errorf("it does not rest: %+v, %w", s, err)
	}
	return "delete", a.Delete(within(t))
}

// TestOlderSchemaWithoutKeys is TestOlderSchema for a key that is not a valid name of an object.
func TestOlderSchemaWithoutKeys(t *testing.T) {
	crd := definition(t)
	older(t, crd, "spec.key")
	install(t, crd)
	c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: env.Namespace(t), Identity: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kubelock.NewLock[int](c, "a/Key").Acquire(within(t)); err == nil || !strings.Contains(err.Error(), "has no spec.key, upgrade it") {
		t.Errorf("acquire: %v; want it to say what lacks spec.key", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestOlderSchemaIsWarnedOf checks that a program gets one warning about a dropped field that no call needs.
func TestOlderSchemaIsWarnedOf(t *testing.T) {
	crd := definition(t)
	older(t, crd, "spec.objectExpiry")
	install(t, crd)
	f := fields{env.Namespace(t), kubelock.DistributedLocks}
	handler := &warnings{}
	config := rest.CopyConfig(env.Config)
	config.WarningHandler = handler
	c, err := kubelock.NewClient(config, kubelock.Config{Namespace: f.namespace, Identity: "a", ObjectExpiry: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	held := acquire(t, kubelock.NewLock[int](c, "orders"))
	if err := held.Update(1).Save(within(t)); err != nil {
		t.Fatal(err)
	}
	release(t, held)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if want := `unknown field "spec.objectExpiry"`; len(handler.texts) != 1 || handler.texts[0] != want {
		t.Errorf("got the warnings %q, want %q once", handler.texts, want)
	}
}

// warnings stores the warnings of an API server.
type warnings struct {
	mu    sync.Mutex // protects texts
	texts []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (h *warnings) HandleWarningHeader(_ int, _, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = append(h.texts, text)
}
