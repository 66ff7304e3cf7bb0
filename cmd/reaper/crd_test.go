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

// TestWithoutTheCRD checks that a reaper ends at once on a cluster without the
// CustomResourceDefinition, and that its error names the command that installs it. The test then
// runs that command, and a reaper works. It runs alone, since other tests need the CRD.
func TestWithoutTheCRD(t *testing.T) {
	config := account(t)
	// The API server must have loaded the locks before the CRD is deleted. Otherwise its first
	// attempt to remove the CRD fails, and it records that in the CRD's status. Its second attempt
	// then fails with a conflict, because of that write, and the next one follows minutes later.
	if err := env.Client(t).List(t.Context(), &v1alpha1.DistributedLockList{}); err != nil {
		t.Fatal(err)
	}
	if out, err := env.Kubectl(within(t, patience), "", "delete", "-k", "config/crd", "--wait"); err != nil {
		t.Fatal(out)
	}
	defer func() { // The tests that follow need the CRD, even if this one fails.
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
