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

// Command client is one of the programs that compete for the locks in a chaos run. It
// uses the public library, and notes in its journal what it asks for and what it
// gets. A line on its standard input makes it settle: it takes each lock once more, and
// ends.
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

	"github.com/kubelock/kubelock/hack/chaos/external"
	"github.com/kubelock/kubelock/hack/chaos/history"
	"github.com/kubelock/kubelock/internal/hooks"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// program is one run of this program.
type program struct {
	name    string
	journal *history.Journal
	random  *rand.Rand // of main, before the workers begin
	lease   time.Duration
	bound   time.Duration // within which a lock must be had once there are no faults
	stores  *external.Client
	begun   int64 // of the whole run, by the monotonic clock
	// plain clients keep their locks, brief ones have them collected soon.
	plain, brief map[string]*kubelock.Client

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
	p := &program{plain: map[string]*kubelock.Client{}, brief: map[string]*kubelock.Client{}}
	var journal, kubeconfig, storeURL string
	var seed uint64
	var workers int
	var clock bool
	flag.StringVar(&p.name, "name", "", "name of the process")
	flag.StringVar(&journal, "journal", "", "file to note everything in")
	flag.StringVar(&kubeconfig, "kubeconfig", "", "credentials")
	flag.StringVar(&storeURL, "stores", "", "address of the external stores")
	flag.Uint64Var(&seed, "seed", 1, "of what is done")
	flag.IntVar(&workers, "workers", 6, "goroutines that lock")
	flag.DurationVar(&p.lease, "lease", 4*time.Second, "lease duration")
	flag.DurationVar(&p.bound, "bound", time.Minute, "how long the last acquisition of each lock may take")
	flag.Int64Var(&p.begun, "begun", history.Now(), "when the run began")
	flag.BoolVar(&clock, "wrong-clock", false, "let the wall clock be hours off, and step")
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
		for _, brief := range []bool{false, true} {
			cfg := kubelock.Config{Namespace: history.Namespace, LockDuration: p.lease, Backend: kubelock.Backend(kind), Identity: p.name}
			clients := p.plain
			if brief {
				cfg.ObjectExpiry, clients = 2*time.Second, p.brief
			}
			if clients[kind], err = newClient(config, cfg, wall, clock); err != nil {
				return err
			}
		}
	}

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	settle := make(chan struct{})
	go func() { // Ends with the program: its standard input is closed then.
		if bufio.NewScanner(os.Stdin).Scan() {
			close(settle)
		}
	}()
	var all sync.WaitGroup
	for range workers {
		w := &worker{program: p, random: rand.New(rand.NewPCG(p.random.Uint64(), 2))}
		all.Go(func() { w.work(ctx, settle) })
	}
	if clock {
		stepper := rand.New(rand.NewPCG(seed, 3))
		all.Go(func() { wall.steps(ctx, settle, stepper) })
	}
	all.Wait()
	if ctx.Err() == nil {
		p.settled(ctx)
	}
	return p.end()
}

// end closes the clients, and notes which goroutines are left.
func (p *program) end() error {
	for _, clients := range []map[string]*kubelock.Client{p.plain, p.brief} {
		for _, c := range clients {
			_ = c.Close() // Never fails.
		}
	}
	p.stores.Close()
	left := goleak.Find(
		goleak.IgnoreAnyFunction("main.run.func1"), // It reads standard input.
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

// id names an operation or a write as nothing else in the run is named.
func (p *program) id() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids++
	return fmt.Sprintf("%s/%d", p.name, p.ids)
}

// outcomeOf says what an error of the library means.
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
