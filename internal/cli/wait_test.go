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
	"os/exec"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

func TestWait(t *testing.T) {
	t.Parallel()
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			wait := func(timeout string) *exec.Cmd {
				return command(t, ns, "wait", "k", "--backend", string(backend), "--timeout", timeout)
			}
			finish(t, wait("1m")).want(t, 0) // There is no such lock, so it is free.
			held, err := kubelock.NewLock[any](of(t, ns, backend, "somebody"), "k").Acquire(within(t, patience))
			if err != nil {
				t.Fatal(err)
			}
			finish(t, wait("300ms")).want(t, 75, `held by "somebody"`)
			cmd := wait("0")
			ended := make(chan result, 1)
			go func() { ended <- finish(t, cmd) }()
			if err := held.Release(within(t, patience)); err != nil {
				t.Fatal(err)
			}
			r := <-ended
			r.want(t, 0)
			if r.out != "" {
				t.Errorf("it prints %q", r.out)
			}
			finish(t, wait("1m")).want(t, 0)
		})
	}
	dlock(t, env.Namespace(t), "wait", "k", "--timeout", "-1s").want(t, 64, "negative")
	dlock(t, env.Namespace(t), "wait", "a", "b").want(t, 64, "one KEY")
	dlock(t, env.Namespace(t), "wait", "").want(t, 64, "empty")
}

func TestDelete(t *testing.T) {
	t.Parallel()
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			remove := []string{"delete", "k", "--backend", string(backend), "--timeout"}
			dlock(t, ns, append(remove, "1m")...).want(t, 0)
			c := of(t, ns, backend, "somebody")
			keep(t, c, "k", `"state"`)
			held, err := kubelock.NewLock[any](c, "k").Acquire(within(t, patience))
			if err != nil {
				t.Fatal(err)
			}
			dlock(t, ns, append(remove, "300ms")...).want(t, 75, `held by "somebody"`)
			if r := dlock(t, ns, "get", "k", "--backend", string(backend)); strings.TrimSpace(r.out) != `"state"` {
				t.Errorf("the state of a lock that is held is %+v", r)
			}
			if err := held.Release(within(t, patience)); err != nil {
				t.Fatal(err)
			}
			dlock(t, ns, append(remove, "1m")...).want(t, 0)
			dlock(t, ns, "get", "k", "--backend", string(backend)).want(t, 66, "no lock")
		})
	}
	ns := env.Namespace(t)
	dlock(t, ns, "delete").want(t, 64, "one KEY")
	keep(t, of(t, ns, kubelock.DistributedLocks, "me"), "k", "1")
	dlock(t, ns, "delete", "k").want(t, 0)
	err := env.Client(t).Get(within(t, patience), types.NamespacedName{Namespace: ns, Name: "k"}, &v1alpha1.DistributedLock{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the object is left: %v", err)
	}
}
