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

// Command client is one of the programs that compete for the locks in a chaos run. It uses the public
// library, and records its calls and their outcomes in a journal. When it gets a line on its standard
// input, it acquires each lock once more and ends.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/goleak"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubelock/kubelock/internal/hooks"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/test/chaos/external"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// program is one run of this program.
type program struct {
	name    string
	journal *history.Journal
	random  *rand.Rand // used by main only, before the workers begin
	lease   time.Duration
	bound   time.Duration // how long an acquisition may take after the last fault
	stores  *external.Client
	begun   int64 // when the whole run began, by the monotonic clock
	// Locks of plain clients have no expiry, those of brief ones are collected soon, and those of long
	// ones have long leases.
	plain, brief, long map[string]*kubelock.Client

	mu  sync.Mutex // protects ids
	ids int
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func run() error {
	p := &program{plain: map[string]*kubelock.Client{}, brief: map[string]*kubelock.Client{}, long: map[string]*kubelock.Client{}}
	var journal, kubeconfig, storeURL string
	var seed uint64
	var workers int
	var clock bool
	flag.StringVar(&p.name, "name", "", "name of the process")
	flag.StringVar(&journal, "journal", "", "file to write the journal to")
	flag.StringVar(&kubeconfig, "kubeconfig", "", "credentials")
	flag.StringVar(&storeURL, "stores", "", "address of the external stores")
	flag.Uint64Var(&seed, "seed", 1, "seed of the workers' choices")
	flag.IntVar(&workers, "workers", 6, "number of goroutines that lock")
	flag.DurationVar(&p.lease, "lease", 4*time.Second, "lease duration")
	flag.DurationVar(&p.bound, "bound", time.Minute, "how long the last acquisition of each lock may take")
	flag.Int64Var(&p.begun, "begun", history.Now(), "when the run began")
	flag.BoolVar(&clock, "wrong-clock", false, "use a wall clock that is hours off and steps")
	flag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	p.random = rand.New(rand.NewPCG(seed, 1))
	if p.journal, err = history.NewJournal(journal); err != nil {
		return err
	}
	defer func() { _ = p.journal.Close() }()
	p.stores = external.NewClient(storeURL, p.name)
	p.journal.Note(history.Entry{At: history.Now(), Is: history.Start, Process: p.name})

	wall := &wallClock{}
	for _, kind := range history.Kinds {
		cfg := kubelock.Config{Namespace: history.Namespace, LockDuration: p.lease, Backend: kubelock.Backend(kind), Identity: p.name}
		brief, long := cfg, cfg
		brief.ObjectExpiry, long.LockDuration, long.ObjectExpiry = 2*time.Second, history.LongLease, 10*time.Second
		for clients, cfg := range map[*map[string]*kubelock.Client]kubelock.Config{&p.plain: cfg, &p.brief: brief, &p.long: long} {
			if (*clients)[kind], err = newClient(config, cfg, wall, clock); err != nil {
				return err
			}
		}
	}

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	finish := make(chan struct{})
	go func() { // It ends when standard input gets a line or is closed.
		if bufio.NewScanner(os.Stdin).Scan() {
			close(finish)
		}
	}()
	var all sync.WaitGroup
	for range workers {
		w := &worker{program: p, random: rand.New(rand.NewPCG(p.random.Uint64(), 2))}
		all.Go(func() { w.work(ctx, finish) })
	}
	for i, kind := range history.Kinds {
		random := rand.New(rand.NewPCG(seed, 4+uint64(i)))
		all.Go(func() { p.holdLong(ctx, finish, kind, random) })
	}
	if clock {
		stepper := rand.New(rand.NewPCG(seed, 3))
		all.Go(func() { wall.steps(ctx, finish, stepper) })
	}
	all.Wait()
	if ctx.Err() == nil {
		p.finalRound(ctx)
	}
	return p.end()
}

// end closes the clients, and records which goroutines are left.
func (p *program) end() error {
	for _, clients := range []map[string]*kubelock.Client{p.plain, p.brief, p.long} {
		for _, c := range clients {
			_ = c.Close() // Never fails.
		}
	}
	p.stores.Close()
	left := goleak.Find(
		goleak.IgnoreAnyFunction("main.run.func1"), // The goroutine that reads standard input.
		goleak.IgnoreTopFunction("os/signal.signal_recv"), goleak.IgnoreTopFunction("os/signal.loop"),
		goleak.IgnoreAnyFunction("os/signal.NotifyContext.func1"),
	)
	exit := history.Entry{At: history.Now(), Is: history.Exit, Process: p.name}
	if left != nil {
		exit.Err = left.Error()
	}
	p.journal.Note(exit)
	return nil
}

func newClient(config *rest.Config, cfg kubelock.Config, wall *wallClock, wrong bool) (*kubelock.Client, error) {
	if !wrong {
		return kubelock.NewClient(config, cfg)
	}
	c, err := hooks.NewClientAt(config, cfg, wall.now)
	if err != nil {
		return nil, err
	}
	return c.(*kubelock.Client), nil
}

// id returns a name for an operation or a write that is unique in the run.
func (p *program) id() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids++
	return fmt.Sprintf("%s/%d", p.name, p.ids)
}

// outcomeOf returns the outcome that an error of the library stands for.
func outcomeOf(err error) (outcome history.Outcome, text string) {
	if err != nil {
		text = strings.ReplaceAll(err.Error(), "\n", " ")
	}
	switch {
	case err == nil:
		return history.OK, ""
	case errors.Is(err, kubelock.ErrUnknownOutcome):
		return history.Unknown, text
	case errors.Is(err, kubelock.ErrLost):
		return history.Lost, text
	case errors.Is(err, kubelock.ErrNotAcquired):
		return history.NotAcquired, text
	case errors.Is(err, kubelock.ErrClosed):
		return history.Closed, text
	}
	return history.Failed, text
}
