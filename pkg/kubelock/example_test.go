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
	"context"
	"errors"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// connect returns a client, here of an API server in memory. A program in a Pod calls
// kubelock.NewClient with what rest.InClusterConfig returns and the zero Config.
func connect(server *kubelocktest.Server, cfg kubelock.Config) *kubelock.Client {
	cfg.Namespace = kubelocktest.Namespace
	client, err := kubelock.NewClient(server.Config(), cfg)
	if err != nil {
		log.Fatal(err)
	}
	return client
}

func newServer() *kubelocktest.Server { return kubelocktest.NewServer(new(testing.T)) }

// Do runs a function while it holds the lock, and keeps the state that the function returns.
func ExampleLock_Do() {
	client := connect(newServer(), kubelock.Config{})
	defer client.Close()

	type state struct{ Runs int }
	lock := kubelock.NewLock[state](client, "nightly/report")
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // Wait at most so long.
		now, err := lock.Do(ctx, func(ctx context.Context, s state) (state, error) {
			s.Runs++ // One program at a time is here. ctx ends if it loses the lock.
			return s, nil
		})
		cancel()
		if err != nil {
			// Nothing was written, unless it Is kubelock.ErrUnknownOutcome.
			log.Fatal(err) //nolint:gocritic // What is deferred does not matter to a program that ends.
		}
		fmt.Println("run", now.Runs)
	}
	// Output:
	// run 1
	// run 2
	// run 3
}

// A Held is for work that does not fit into one function: it saves its state on the way.
func ExampleLock_Acquire() {
	client := connect(newServer(), kubelock.Config{})
	defer client.Close()
	ctx := context.Background()

	lock := kubelock.NewLock[int](client, "migration")
	held, err := lock.Acquire(ctx, kubelock.WithDuration(time.Minute))
	if err != nil {
		log.Fatal(err) //nolint:gocritic // What is deferred does not matter to a program that ends.
	}
	for step := held.Value(); step < 3; step++ { // After a crash, the next program goes on here.
		fmt.Println("step", step)
		if err := held.Update(step + 1).Save(ctx); err != nil { // It renews the lease, too.
			log.Fatal(err)
		}
	}
	if err := held.Release(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// step 0
	// step 1
	// step 2
}

// TryAcquire does not wait.
func ExampleLock_TryAcquire() {
	server := newServer()
	a, b := connect(server, kubelock.Config{Identity: "worker-a"}), connect(server, kubelock.Config{Identity: "worker-b"})
	defer a.Close()
	defer b.Close()
	ctx := context.Background()

	held, err := kubelock.NewLock[int](a, "cleanup").TryAcquire(ctx)
	if err != nil {
		log.Fatal(err) //nolint:gocritic // What is deferred does not matter to a program that ends.
	}
	_, err = kubelock.NewLock[int](b, "cleanup").TryAcquire(ctx)
	if errors.Is(err, kubelock.ErrNotAcquired) {
		fmt.Println(err)
	}
	if err := held.Release(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// kubelock: lock not acquired: "cleanup": held by "worker-a"
}

// A hold that is renewed in the background lasts as long as the work, and its context
// ends when renewals fail until the lease is over.
func ExampleWithAutoRenew() {
	server := newServer()
	client := connect(server, kubelock.Config{})
	defer client.Close()

	held, err := kubelock.NewLock[int](client, "stream").Acquire(context.Background(),
		kubelock.WithAutoRenew(), kubelock.WithDuration(300*time.Millisecond))
	if err != nil {
		log.Fatal(err) //nolint:gocritic // What is deferred does not matter to a program that ends.
	}
	select {
	case <-held.Context().Done():
	case <-time.After(time.Second): // Work for longer than the lease.
		fmt.Println("still held:", held.Context().Err() == nil)
	}

	server.Disconnect()
	<-held.Context().Done() // Work that gets this context stops in time.
	fmt.Println(context.Cause(held.Context()))
	// Output:
	// still held: true
	// kubelock: lock lost
}

// WithMinHold lets a short job that all replicas start at the same second run once. The lock that the first
// replica releases early rests until the window is over.
func ExampleWithMinHold() {
	server := newServer()
	ctx := context.Background()
	replica := func(name string) {
		client := connect(server, kubelock.Config{Identity: name})
		defer client.Close()
		held, err := kubelock.NewLock[int](client, "report").TryAcquire(ctx, kubelock.WithMinHold(time.Minute), kubelock.WithAutoRenew())
		if errors.Is(err, kubelock.ErrNotAcquired) {
			fmt.Println(name, "leaves it out") // Another replica does this run, or has just done it.
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, "reports")
		if err := held.Update(held.Value() + 1).Release(ctx); err != nil {
			log.Fatal(err)
		}
	}
	replica("worker-a")
	replica("worker-b") // A moment later: worker-a has done the run and has ended.

	client := connect(server, kubelock.Config{})
	defer client.Close()
	now, err := kubelock.NewLock[int](client, "report").Get(ctx)
	if err != nil {
		log.Fatal(err) //nolint:gocritic // What is deferred does not matter to a program that ends.
	}
	fmt.Println("resting:", now.Resting, "runs:", now.Value)
	// Output:
	// worker-a reports
	// worker-b leaves it out
	// resting: true runs: 1
}

// account is a system that is protected by fencing tokens: it refuses a token that is smaller than the
// greatest that it has seen.
type account struct {
	seen  int64
	value string
}

func (s *account) write(token int64, value string) error {
	if token < s.seen {
		return fmt.Errorf("refused %q: its holder is not the last one", value)
	}
	s.seen, s.value = token, value
	return nil
}

// A token goes along with every request to what the lock protects. It keeps out a program
// that was paused and does not know yet that its lease has ended.
func ExampleHeld_Token() {
	server := newServer()
	a, b := connect(server, kubelock.Config{}), connect(server, kubelock.Config{})
	defer a.Close()
	defer b.Close()
	ctx := context.Background()
	var s account

	paused, err := kubelock.NewLock[int](a, "account").Acquire(ctx, kubelock.WithDuration(100*time.Millisecond))
	if err != nil {
		log.Fatal(err) //nolint:gocritic // What is deferred does not matter to a program that ends.
	}
	next, err := kubelock.NewLock[int](b, "account").Acquire(ctx) // When the first lease has ended.
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.write(next.Token(), "of the next"))
	fmt.Println(s.write(paused.Token(), "of the paused"))
	fmt.Println(s.value)
	if err := next.Release(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// <nil>
	// refused "of the paused": its holder is not the last one
	// of the next
}

// Lead runs a function on one program at a time. A program that stops hands over to the next at once.
func ExampleLock_Lead() {
	server := newServer()
	terms := make(chan string)
	program := func(name string) (stop func()) {
		client := connect(server, kubelock.Config{Identity: name, LockDuration: time.Minute})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			ended <- kubelock.NewLock[int](client, "leader").Lead(ctx, func(ctx context.Context, held *kubelock.Held[int]) error {
				terms <- fmt.Sprintf("%s leads in term %d", name, held.Value()+1)
				held.Update(held.Value() + 1) // Written with the hand-over.
				<-ctx.Done()                  // A program works until then.
				return ctx.Err()
			})
		}()
		return func() {
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				log.Fatal(err)
			}
			client.Close()
		}
	}

	stopA := program("a")
	fmt.Println(<-terms)
	stopB := program("b")
	stopA()
	fmt.Println(<-terms)
	stopB()
	// Output:
	// a leads in term 1
	// b leads in term 2
}

// Wait waits until another client's hold ends, and does not take the lock.
func ExampleLock_Wait() {
	server := newServer()
	a, b := connect(server, kubelock.Config{}), connect(server, kubelock.Config{})
	defer a.Close()
	defer b.Close()
	ctx := context.Background()

	held, err := kubelock.NewLock[string](a, "setup").Acquire(ctx)
	if err != nil {
		log.Fatal(err) //nolint:gocritic // What is deferred does not matter to a program that ends.
	}
	go func() {
		if err := held.Update("database is ready").Release(ctx); err != nil {
			log.Fatal(err)
		}
	}()
	now, err := kubelock.NewLock[string](b, "setup").Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(now.Value)
	// Output:
	// database is ready
}

// A function that Do runs has the lock already. A call that would wait for it says so.
func ExampleLock_Do_deadlock() {
	client := connect(newServer(), kubelock.Config{})
	defer client.Close()

	lock := kubelock.NewLock[int](client, "orders")
	_, err := lock.Do(context.Background(), func(ctx context.Context, n int) (int, error) {
		return lock.Do(ctx, func(_ context.Context, n int) (int, error) { return n + 1, nil })
	})
	fmt.Println(errors.Is(err, kubelock.ErrDeadlock))
	// Output:
	// true
}

// WithName tells kinds of work apart in metrics, where keys are no labels.
func ExampleWithName() {
	registry := prometheus.NewRegistry()
	client := connect(newServer(), kubelock.Config{Metrics: registry})
	defer client.Close()

	for _, customer := range []string{"a", "b", "c"} { // Any number of keys, one name.
		lock := kubelock.NewLock[int](client, "report/"+customer)
		_, err := lock.Do(context.Background(), func(_ context.Context, runs int) (int, error) {
			return runs + 1, nil
		}, kubelock.WithName("report"))
		if err != nil {
			log.Fatal(err) //nolint:gocritic // What is deferred does not matter to a program that ends.
		}
	}
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if labels := m.GetLabel(); f.GetName() == "kubelock_hold_seconds" && labels[0].GetValue() != "" {
				fmt.Printf("%s{%s=%q} %d holds\n", f.GetName(), labels[0].GetName(), labels[0].GetValue(), m.GetHistogram().GetSampleCount())
			}
		}
	}
	// Output: kubelock_hold_seconds{name="report"} 3 holds
}
