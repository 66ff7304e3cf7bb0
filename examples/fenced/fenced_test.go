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

package fenced_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/kubelock/kubelock/examples/fenced"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.MainOrMemory(m, func(e *testenv.Env) { env = e }))
}

const patience = time.Minute

// pausedHolder lets a holder be paused for longer than its lease, just before it writes. Another holder
// takes over, reads and writes; then the first one goes on, and must be refused.
func pausedHolder(t *testing.T, store fenced.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	ns := env.Namespace(t)
	connect := func(identity string) *kubelock.Lock[any] {
		c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, Identity: identity})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() }) // It returns no error of a client.
		return kubelock.NewLock[any](c, "report")
	}

	// A takes the lock, reads, and is about to write.
	a, err := connect("a").Acquire(ctx, kubelock.WithDuration(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := store.Read(ctx, a.Token()); err != nil || text != "" {
		t.Fatalf("A reads %q, %v", text, err)
	}
	// Now A is paused, and does not see that its lease ends.
	b, err := connect("b").Acquire(ctx) // It waits until A's lease has ended.
	if err != nil {
		t.Fatal(err)
	}
	if b.Token() <= a.Token() {
		t.Fatalf("the token %d follows %d", b.Token(), a.Token())
	}
	if text, err := store.Read(ctx, b.Token()); err != nil || text != "" {
		t.Fatalf("B reads %q, %v", text, err)
	}
	// A wakes up between B's read and write: it may not write what B has not read.
	if err := store.Write(ctx, a.Token(), "by A"); !errors.Is(err, fenced.ErrStale) {
		t.Errorf("A's write after B's read: %v, want %v", err, fenced.ErrStale)
	}
	if err := store.Write(ctx, b.Token(), "by B"); err != nil {
		t.Errorf("B's write: %v", err)
	}
	if err := store.Write(ctx, a.Token(), "by A"); !errors.Is(err, fenced.ErrStale) {
		t.Errorf("A's write after B's: %v, want %v", err, fenced.ErrStale)
	}
	if _, err := store.Read(ctx, a.Token()); !errors.Is(err, fenced.ErrStale) {
		t.Errorf("A's read after B's write: %v, want %v", err, fenced.ErrStale)
	}
	for range 2 { // A holder may write what it has written.
		if err := store.Write(ctx, b.Token(), "by B"); err != nil {
			t.Errorf("B's next write: %v", err)
		}
	}
	if text, err := store.Read(ctx, b.Token()); err != nil || text != "by B" {
		t.Errorf("B reads %q, %v", text, err)
	}
	if err := b.Release(ctx); err != nil {
		t.Error(err)
	}
}

// greatTokens tells tokens apart that are as great as they can be.
func greatTokens(t *testing.T, store fenced.Store) {
	t.Helper()
	const newest = 1<<63 - 1
	for _, token := range []int64{1 << 53, 1<<53 + 1, newest} {
		if err := store.Write(t.Context(), token, "new"); err != nil {
			t.Error(err)
		}
		if err := store.Write(t.Context(), token-1, "old"); !errors.Is(err, fenced.ErrStale) {
			t.Errorf("the token %d after %d: %v, want %v", token-1, token, err, fenced.ErrStale)
		}
	}
}
