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

package cli_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			describe := func() result { return dlock(t, ns, "describe", "a/Key", "--backend", string(backend)) }
			describe().want(t, 66, `no lock "a/Key"`)
			c := of(t, ns, backend, "bad\x1b[31mname\nHolder: nobody")
			keep(t, c, "a/Key", `{"shard":{"n":3}}`)
			free := describe()
			free.want(t, 0)
			for _, want := range []string{`Holder: +<none>`, `Waiters: +<none>`, `Last release: +Released, .* ago, of the hold of "bad`, `Events: +<none>`, `"n": 3`} {
				if !regexp.MustCompile(want).MatchString(free.out) {
					t.Errorf("%s is not in\n%s", want, free.out)
				}
			}
			held, err := kubelock.NewLock[json.RawMessage](c, "a/Key").Acquire(within(t, patience))
			if err != nil {
				t.Fatal(err)
			}
			names := []string{"first", "second"}
			waiting := make([]chan error, 0, len(names))
			for _, name := range names {
				waiter := of(t, ns, backend, name)
				done := make(chan error, 1)
				waiting = append(waiting, done)
				go func() {
					h, err := kubelock.NewLock[any](waiter, "a/Key").Acquire(within(t, patience))
					if err == nil {
						err = h.Release(within(t, patience))
					}
					done <- err
				}()
				eventually(t, name+" queues", func() bool {
					return len(show(t, ns, "a/Key", "--backend", string(backend)).Waiters) == len(waiting)
				})
			}
			r := describe()
			r.want(t, 0)
			for _, want := range []string{`Key: +a/Key\n`, `Namespace: +` + ns, `Holder: +"bad`, `Lock ID: +` + held.ID(), `Lease: +1h0m0s, expires in [56]`,
				`1\. +first +\(lock ID`, `2\. +second +\(lock ID`, `Holds so far: +2`, `\n {6}"n": 3\n`} {
				if !regexp.MustCompile(want).MatchString(r.out) {
					t.Errorf("%s is not in\n%s", want, r.out)
				}
			}
			// Both holds, which were in the same second or not.
			if !regexp.MustCompile(`Last holds: +.* ago +now\n  "bad.*" +[·━]{32}  .*s, Released\n  "bad.*" +[·━]{32}  .*s, holds it\n`).MatchString(r.out) {
				t.Errorf("the last holds are not in\n%s", r.out)
			}
			if strings.Contains(r.out, "\x1b") || strings.Contains(r.out, "\nHolder: nobody") {
				t.Errorf("an identity controls the terminal: %q", r.out)
			}
			if err := held.Release(within(t, patience)); err != nil {
				t.Fatal(err)
			}
			for _, done := range waiting {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestDescribeEvents shows those of the object, and not of another of its name.
func TestDescribeEvents(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	keep(t, of(t, ns, kubelock.DistributedLocks, "me"), "k", "1")
	for note, uid := range map[string]string{"this one": string(object(t, ns, "k").UID), "one before": "other"} {
		_, err := env.Clientset(t).EventsV1().Events(ns).Create(within(t, patience), &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "k-", Namespace: ns}, EventTime: metav1.NowMicro(),
			Type: corev1.EventTypeWarning, Reason: "HolderExpired", Action: "FreeLock", Note: note,
			ReportingController: "test", ReportingInstance: "test",
			Regarding: corev1.ObjectReference{APIVersion: "kubelock.dev/v1alpha1", Kind: "DistributedLock", Namespace: ns, Name: "k", UID: types.UID(uid)},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	r := dlock(t, ns, "describe", "k")
	r.want(t, 0)
	if !regexp.MustCompile(`Warning +HolderExpired +.* ago +this one`).MatchString(r.out) || strings.Contains(r.out, "one before") {
		t.Errorf("it shows\n%s", r.out)
	}
	dlock(t, ns, "describe").want(t, 64, "one KEY")
}
