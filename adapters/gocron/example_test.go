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

package gocron_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"

	locks "github.com/kubelock/kubelock/adapters/gocron"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// Two replicas start the same job at the same moment. One of them runs it.
func ExampleLocker() {
	server := kubelocktest.NewServer(new(testing.T))
	made, left := make(chan string, 1), make(chan error, 1)
	replica := func(name string) (stop func()) {
		client, err := kubelock.NewClient(server.Config(), kubelock.Config{Namespace: kubelocktest.Namespace, Identity: name})
		if err != nil {
			log.Fatal(err)
		}
		locker, err := locks.NewLocker(client, locks.LockerConfig{Window: time.Second})
		if err != nil {
			log.Fatal(err)
		}
		scheduler, err := gocron.NewScheduler(gocron.WithDistributedLocker(locker))
		if err != nil {
			log.Fatal(err)
		}
		_, err = scheduler.NewJob(
			gocron.OneTimeJob(gocron.OneTimeJobStartImmediately()),
			gocron.NewTask(func() { made <- "the report is made" }),
			gocron.WithName("report"),
			gocron.WithEventListeners(gocron.AfterLockError(func(_ uuid.UUID, _ string, err error) { left <- err })),
		)
		if err != nil {
			log.Fatal(err)
		}
		scheduler.Start()
		return func() {
			if err := errors.Join(scheduler.Shutdown(), client.Close()); err != nil {
				log.Fatal(err)
			}
		}
	}
	defer replica("a")()
	defer replica("b")()
	fmt.Println(<-made)
	fmt.Println("left out:", errors.Is(<-left, kubelock.ErrNotAcquired))
	// Output:
	// the report is made
	// left out: true
}

// Of all replicas with this elector, one runs the jobs. Here there is one.
func ExampleElector() {
	server := kubelocktest.NewServer(new(testing.T))
	client, err := kubelock.NewClient(server.Config(), kubelock.Config{Namespace: kubelocktest.Namespace, Identity: "a"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	elector := locks.NewElector(client, "jobs")
	leading, resign := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- elector.Run(leading) }()

	scheduler, err := gocron.NewScheduler(gocron.WithDistributedElector(elector))
	if err != nil {
		log.Fatal(err) //nolint:gocritic // What is deferred does not matter to a program that ends.
	}
	ran := make(chan string, 1)
	_, err = scheduler.NewJob(gocron.DurationJob(10*time.Millisecond), gocron.NewTask(func() {
		select {
		case ran <- "the leader runs the job":
		default: // One run is enough.
		}
	}))
	if err != nil {
		log.Fatal(err)
	}
	scheduler.Start()
	fmt.Println(<-ran)
	if err := scheduler.Shutdown(); err != nil { // Waits for the jobs. Only then another replica may lead.
		log.Fatal(err)
	}
	resign()
	fmt.Println("resigned:", errors.Is(<-ended, context.Canceled))
	fmt.Println("leads:", elector.IsLeader(context.Background()) == nil)
	// Output:
	// the leader runs the job
	// resigned: true
	// leads: false
}

func report() {}

// The code of the page is compiled here, and not called.
var _ = []any{spread, led}

func spread(ctx context.Context, client *kubelock.Client) error {
	// The locker begins.
	locker, err := locks.NewLocker(client, locks.LockerConfig{Window: 20 * time.Second})
	if err != nil {
		return err
	}
	scheduler, err := gocron.NewScheduler(gocron.WithDistributedLocker(locker), gocron.WithLocation(time.UTC))
	if err != nil {
		return err
	}
	_, err = scheduler.NewJob(gocron.CronJob("* * * * *", false), gocron.NewTask(report), gocron.WithName("report"))
	if err != nil {
		return err
	}
	scheduler.Start()
	<-ctx.Done()
	return scheduler.Shutdown() // Waits for the jobs. Their locks rest until the windows are over, without this program.
	// The locker ends.
}

func led(ctx context.Context, client *kubelock.Client) error {
	// The elector begins.
	elector := locks.NewElector(client, "jobs", kubelock.WithDuration(15*time.Second))
	ended := make(chan error, 1)
	leading, resign := context.WithCancel(context.WithoutCancel(ctx))
	go func() { ended <- elector.Run(leading) }()
	scheduler, err := gocron.NewScheduler(gocron.WithDistributedElector(elector))
	if err != nil {
		resign()
		return errors.Join(err, <-ended)
	}
	scheduler.Start()
	<-ctx.Done()
	err = scheduler.Shutdown() // Waits for the jobs. Only then another replica may lead.
	resign()
	if ran := <-ended; !errors.Is(ran, context.Canceled) {
		err = errors.Join(err, ran)
	}
	return err
	// The elector ends.
}

// TestGuideShowsThisCode compares the page with the code above.
func TestGuideShowsThisCode(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/guide/scheduler.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"locker", "elector"} {
		_, code, begun := strings.Cut(string(source), "\t// The "+name+" begins.\n")
		code, _, ended := strings.Cut(code, "\t// The "+name+" ends.\n")
		code = strings.ReplaceAll("\n"+code, "\n\t", "\n")
		if !begun || !ended || !strings.Contains(string(page), code+"```\n") {
			t.Errorf("scheduler.md does not show the code of the %s", name)
		}
	}
}
