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

package main

import (
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
)

// TestWithoutTheCRD checks that a reaper on a cluster without the
// CustomResourceDefinition ends at once, and says what to do; and that doing it helps.
// The test runs alone, since nobody else finds the CRD meanwhile.
func TestWithoutTheCRD(t *testing.T) {
	config := account(t)
	// The API server removes a CRD in the end only if its first try works: after one
	// that fails, because nobody has read a lock yet and so they are still being loaded,
	// it tries again with the CRD that its own note of the failure has made an old one,
	// and then no more for minutes.
	if err := env.Client(t).List(t.Context(), &v1alpha1.DistributedLockList{}); err != nil {
		t.Fatal(err)
	}
	if out, err := env.Kubectl(within(t, patience), "", "delete", "-k", "config/crd", "--wait"); err != nil {
		t.Fatal(out)
	}
	defer func() { // For the tests that follow, whatever happens.
		admin := env.Client(t)
		eventually(t, "locks are known again", func() bool {
			return admin.List(t.Context(), &v1alpha1.DistributedLockList{}, client.Limit(1)) == nil
		})
	}()
	const remedy = "kubectl apply -k config/crd"
	defer func() {
		if out, err := env.Kubectl(within(t, patience), "", strings.Fields(remedy)[1:]...); err != nil {
			t.Error(out)
		}
	}()

	begun := time.Now()
	err := run(within(t, patience), config, options{metricsAddress: "0", probeAddress: "0", distributedLocks: true, concurrency: 1})
	if err == nil || !strings.Contains(err.Error(), `install the CustomResourceDefinition with "`+remedy+`"`) {
		t.Errorf("without the CRD the reaper ends with: %v", err)
	}
	t.Logf("ended after %v: %v", time.Since(begun), err)
}
