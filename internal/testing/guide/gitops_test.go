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

package guide

import (
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestGitOps sends the requests of the tools, by the commands of the page, while the lock is held, and again.
func TestGitOps(t *testing.T) {
	lines := testenv.Page(t, "docs/guide/gitops.md", "Try what the tools do")
	ns := env.Namespace(t)
	const name = "nightly-report" // Of the sample.
	held := acquire(t, kubelock.NewLock[int](newClient(t, env, ns, kubelock.DistributedLocks), name), kubelock.WithDuration(time.Hour))
	save(t, held, 7)
	version := func() string {
		t.Helper()
		var lock v1alpha1.DistributedLock
		if err := env.Client(t).Get(within(t), client.ObjectKey{Namespace: ns, Name: name}, &lock); err != nil {
			t.Fatal(err)
		}
		if lock.Spec.ObjectExpiry == nil || lock.Spec.ObjectExpiry.Duration != 24*time.Hour {
			t.Errorf("the lock has the objectExpiry %v", lock.Spec.ObjectExpiry)
		}
		return lock.ResourceVersion
	}
	if len(lines) != 4 {
		t.Fatalf("the page has the commands %q; want two per tool", lines)
	}
	for _, tool := range [][]string{lines[:2], lines[2:]} {
		run := func() {
			t.Helper()
			for _, line := range tool { // diff fails if there is a difference.
				testenv.Shell(t, env.Root, env.Kubeconfig(), strings.Replace(line, "kubectl ", "kubectl -n "+ns+" ", 1))
			}
		}
		run()
		first := version()
		run()
		if second := version(); second != first {
			t.Errorf("sent again without a change, %q writes the object: version %s, then %s", tool[0], first, second)
		}
	}
	release(t, held, 8)
}
