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

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/kubelock/kubelock/internal/cli/view"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// clockTolerance is how far apart clocks may be before a person is told.
const clockTolerance = 2 * time.Second

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// clock compares the API server's clock with this machine's. Locks do not depend on the
// latter, but on being told the former.
func (c *check) clock(ctx context.Context) view.Finding {
	problem := c.askTime(ctx)
	now := time.Now()
	lower, upper, ok := c.reader.clock.Reading().Bounds(now)
	if !ok || !c.reader.clock.Reading().Hinted() {
		return warn("clock", "the API server's responses have no Date header: leases are judged only by watching them",
			"Let whatever stands between here and the API server pass the header on.")
	}
	if off := c.reader.clock.Reading().HintContradicts(now); off > 0 {
		return warn("clock", fmt.Sprintf("the Date of the API server's responses is %v off the time that the server itself stamps into objects: "+
			"what stands between writes its own; locks go by the server's stamps, and some take one more request", off.Round(10*time.Millisecond)),
			"Let it pass the header on (nginx: proxy_pass_header Date), and set its clock by NTP.")
	}
	if problem != nil {
		return warn("clock", "the API server does not tell its time by what it stamps into objects: leases are judged only by watching them: "+problem.Error(),
			"Ask who runs the cluster to allow selfsubjectaccessreviews (ClusterRole system:basic-user).")
	}
	now = now.Round(0)
	ahead, behind := now.Sub(upper), lower.Sub(now)
	offset := now.Sub(lower.Add(upper.Sub(lower) / 2)).Round(10 * time.Millisecond)
	text := fmt.Sprintf("this machine's is %v ahead of the API server's", offset)
	if offset < 0 {
		text = fmt.Sprintf("this machine's is %v behind the API server's", -offset)
	}
	text += fmt.Sprintf(", ±%v", (upper.Sub(lower) / 2).Round(10*time.Millisecond))
	if max(ahead, behind) > clockTolerance {
		return warn("clock", text+"; locks go by the API server's", "Set both by NTP: tokens and certificates, for example, go by this machine's.")
	}
	return fine("clock", text)
}

// askTime asks the API server for the time by its own clock, which no proxy changes.
func (c *check) askTime(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	asker, err := servertime.NewAsker(c.reader.config, c.reader.http, c.reader.clock, time.Now)
	if err != nil {
		return err
	}
	return asker.Ask(ctx)
}

// roundTrip makes a trip as the identity that other commands have.
func (c *check) roundTrip(ctx context.Context) (f view.Finding) {
	client, err := c.admitted(ctx, func(client *kubelock.Client) (err error) {
		f, err = c.trip(ctx, client)
		return err
	})
	if client == nil {
		return fail("round trip", err.Error(), "See \"kubectl dlock --help\" for --identity.")
	}
	client.Close()
	if err != nil && refusedByPolicy(err) {
		f.Text = inFlags(err) // It names the user, too.
	}
	return f
}

// trip acquires, releases and deletes a lock that nobody else knows. The error is that of the
// finding.
func (c *check) trip(ctx context.Context, client *kubelock.Client) (view.Finding, error) {
	key := "kubectl-dlock-check-" + rand.String(10)
	lock := kubelock.NewLock[struct{}](client, key)
	var held *kubelock.Held[struct{}]
	text := "a lock was"
	for _, step := range []struct {
		done string
		do   func(ctx context.Context) error
	}{
		{" acquired", func(ctx context.Context) (err error) {
			held, err = lock.Acquire(ctx)
			return err
		}},
		{", released", func(ctx context.Context) error { return held.Release(ctx) }},
		{" and deleted", lock.Delete},
	} {
		began := time.Now()
		if err := c.step(ctx, step.do); err != nil {
			f := fail("round trip", fmt.Sprintf("%s, and then: %v", text, err), c.remedy(err))
			if held == nil {
				f.Text = err.Error()
			}
			// Also if it is not known whether there is one.
			left := held != nil || errors.Is(err, kubelock.ErrUnknownOutcome)
			if err := c.step(context.WithoutCancel(ctx), lock.Delete); err != nil && left {
				f.Remedy += fmt.Sprintf("\nThe lock %s may be left, delete it: %v", key, err)
			}
			return f, err
		}
		text += fmt.Sprintf("%s in %v", step.done, time.Since(began).Round(time.Millisecond/10))
	}
	return fine("round trip", fmt.Sprintf("%s; its token was %d", text, held.Token())), nil
}

func (c *check) step(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return do(ctx)
}

// remedy is what to do about an error of the lock that was tried.
func (c *check) remedy(err error) string {
	switch {
	case store.NoSuchNamespace(err):
		return fmt.Sprintf("Create the namespace, kubectl create namespace %s, or choose another with -n.", c.namespace)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		return "You have the permissions, so a quota or an admission policy refuses it. If that is kubelock's, see docs/security.md for the identity that it asks for."
	case errors.Is(err, context.DeadlineExceeded):
		return "The API server is too slow: try again with a longer --timeout, and see config/components/flowcontrol."
	default:
		return "Try again; if it stays, look at the API server's log."
	}
}
