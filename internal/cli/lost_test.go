//go:build unix

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
	"errors"
	"strings"
	"syscall"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// force takes the lock away by hand.
func force(t *testing.T, ns string) {
	t.Helper()
	obj := object(t, ns, "k")
	patch := client.MergeFrom(obj.DeepCopy())
	obj.Spec.Holder = nil
	obj.Spec.Value = new(`"mine"`)
	if err := env.Client(t).Patch(t.Context(), obj, patch); err != nil {
		t.Fatal(err)
	}
}

func TestRunLost(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	r := start(t, ns, `echo '"late"' >"$KUBELOCK_VALUE_FILE"; `+strings.Replace(obedient, "exit 9", "exit 0", 1), "--duration", "2s", "--grace", "1h")
	force(t, ns)
	r.end(t, 76, "told", "lock lost")
	r.gone(t)
	if v := object(t, ns, "k").Spec.Value; v == nil || *v != `"mine"` {
		t.Errorf("the state of a lock that was lost was written")
	}
}

func TestRunLostByADeafCommand(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r := start(t, ns, deaf, "--duration", "2s", "--grace", "100ms")
	force(t, ns)
	r.end(t, 76, "was killed")
	r.gone(t)
}

// TestRunLostPassesSignalsOn sends what the command understands while it does not heed
// SIGTERM.
func TestRunLostPassesSignalsOn(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r := start(t, ns, `trap 'echo not yet' TERM; trap 'echo now; exit 9' USR1; sleep 1000 & echo $$ $! ready >"$PIDS"; while :; do wait; done`,
		"--duration", "2s", "--grace", "1h")
	force(t, ns)
	r.until(t, "not yet")
	if err := r.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	r.end(t, 76, "now", "ended when told")
	r.gone(t)
}

// TestRunLostByADeafDescendant ends what the command leaves when it is told to end.
func TestRunLostByADeafDescendant(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r := start(t, ns, `(trap '' TERM; exec sleep 1000) & echo $$ $! ready >"$PIDS"; wait`, "--duration", "2s", "--grace", "100ms")
	force(t, ns)
	r.end(t, 76)
	r.gone(t)
}

func TestRunWithoutRenewal(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	r := start(t, ns, obedient, "--duration", "2s", "--no-renew")
	r.end(t, 76, "told", "lock lost")
	r.gone(t)
}

// forever is a script that ends at the first signal, and leaves a state. It is one process: a shell that is frozen while it starts
// another may lose a signal.
const forever = `echo '"late"' >"$KUBELOCK_VALUE_FILE"; echo $$ $$ ready >"$PIDS"; exec sleep 1000`

// TestRunStopped stops the plugin, its guard and its command for longer than the lease. Another
// holder works meanwhile. When they go on, the command ends and its state is not written.
func TestRunStopped(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r := start(t, ns, forever, "--duration", "2s", "--grace", "1h")
	group, err := syscall.Getpgid(r.pids[0])
	if err != nil {
		t.Fatal(err)
	}
	signal := func(s syscall.Signal, ids ...int) error {
		errs := make([]error, 0, len(ids))
		for _, id := range ids {
			errs = append(errs, syscall.Kill(id, s))
		}
		return errors.Join(errs...)
	}
	// The guard is in the group. The plugin goes on last, as it ends the group.
	freeze := func() error { return signal(syscall.SIGSTOP, r.Process.Pid, -group) }
	thaw := func() error { return signal(syscall.SIGCONT, -group, r.Process.Pid) }
	t.Cleanup(func() { _ = thaw() }) // It has gone, or must not stay stopped.
	r.outlasts(t, ns, freeze, thaw)
}

// outlasts has the plugin and its command not run until another holder has left a state. Then their hold is lost.
func (r *running) outlasts(t *testing.T, ns string, freeze, thaw func() error) {
	t.Helper()
	if err := freeze(); err != nil {
		t.Fatal(err)
	}
	dlock(t, ns, "run", "k", "--", "sh", "-c", `echo '"next"' >"$KUBELOCK_VALUE_FILE"`).want(t, 0)
	if err := thaw(); err != nil {
		t.Fatal(err)
	}
	r.end(t, 76, "lock lost", "ended when told", "its value was not written")
	r.gone(t)
	if v := object(t, ns, "k").Spec.Value; v == nil || *v != `"next"` {
		t.Errorf("the state is %v, want that of the next holder", v)
	}
}
