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

// Package guide has the code of docs/guide, so that it compiles.
package guide

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

type state struct{}

const wanted = 7

func backup(context.Context) error                         { return nil }
func migrate(context.Context, int) error                   { return nil }
func lead(context.Context, int64) error                    { return nil }
func work(_ context.Context, p progress) (progress, error) { return p, nil }

// The code of the pages is compiled here, and not called.
var _ = []any{cronSingleton, migrations, leader, sharedState}

func cronSingleton(ctx context.Context, client *kubelock.Client) error {
	// cron-singleton.md begins.
	held, err := kubelock.NewLock[state](client, "nightly/backup").TryAcquire(ctx, kubelock.WithAutoRenew())
	if errors.Is(err, kubelock.ErrNotAcquired) {
		return nil // Another run is at work.
	}
	if err != nil {
		return err
	}
	err = backup(held.Context()) // Ends if the lock is lost.
	return errors.Join(err, held.Release(ctx))
	// cron-singleton.md ends.
}

func migrations(ctx context.Context, client *kubelock.Client) error {
	// migrations.md begins.
	type schema struct{ Version int }

	_, err := kubelock.NewLock[schema](client, "migrations/orders").Do(ctx,
		func(ctx context.Context, s schema) (schema, error) {
			for s.Version < wanted {
				if err := migrate(ctx, s.Version+1); err != nil {
					return s, err // Nothing is written; the next replica begins at the old version.
				}
				s.Version++
			}
			return s, nil
		}, kubelock.WithAutoRenew())
	// migrations.md ends.
	return err
}

func leader(ctx context.Context, lock *kubelock.Lock[state]) error {
	// leader.md begins.
	err := lock.Lead(ctx, func(ctx context.Context, held *kubelock.Held[state]) error {
		return lead(ctx, held.Token()) // ctx ends if the lock is lost, or when the program stops.
	}, kubelock.WithDuration(15*time.Second))
	if ctx.Err() != nil {
		err = nil // The program stops. The next replica leads already.
	}
	return err
	// leader.md ends.
}

type progress struct {
	Cursor string
	Done   int
}

func sharedState(ctx context.Context, lock *kubelock.Lock[progress]) error {
	// shared-state.md begins.
	held, err := lock.Acquire(ctx, kubelock.WithAutoRenew())
	if err != nil {
		return err
	}
	p := held.Value() // The zero value where no state exists: held.Exists tells.
	for p.Cursor != "end" {
		if p, err = work(held.Context(), p); err != nil {
			break
		}
		if err = held.Update(p).Save(held.Context()); err != nil {
			break
		}
	}
	return errors.Join(err, held.Release(ctx))
	// shared-state.md ends.
}

// testing.md begins.
func TestWorkStopsWhenTheLockIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		client := server.NewClient(t, kubelock.Config{LockDuration: time.Hour})
		held, err := kubelock.NewLock[int](client, "report").Acquire(t.Context(), kubelock.WithAutoRenew())
		if err != nil {
			t.Fatal(err)
		}
		reconnect := server.Disconnect()
		defer reconnect()
		<-held.Context().Done() // An hour of virtual time later.
		if !errors.Is(context.Cause(held.Context()), kubelock.ErrLost) {
			t.Error("the context of the work does not say why it has ended")
		}
	})
}

// testing.md ends.

// TestGuidesShowThisCode compares the pages with the code above.
func TestGuidesShowThisCode(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("guide_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"cron-singleton.md", "migrations.md", "leader.md", "shared-state.md", "testing.md"} {
		_, code, begun := strings.Cut(string(source), "// "+page+" begins.\n")
		code, _, ended := strings.Cut(code, "// "+page+" ends.\n")
		if !begun || !ended {
			t.Errorf("there is no code for %s", page)
			continue
		}
		if strings.HasPrefix(code, "\t") { // It is in a function here.
			code = strings.ReplaceAll("\n"+strings.TrimSuffix(code, "\t"), "\n\t", "\n")[1:]
		}
		code = strings.TrimSpace(code) + "\n"
		text, err := os.ReadFile("../../docs/guide/" + page)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "\n"+code+"```\n") {
			t.Errorf("%s does not show the code of guide_test.go", page)
		}
	}
}
