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

package kubelock_test

import (
	"testing"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest/conformance"
)

// TestConformance runs every behaviour with each kind of object on the real API server.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, func(t *testing.T) conformance.Environment {
				t.Helper()
				return conformance.Environment{Config: env.Config, Namespace: env.Namespace(t), Backend: backend}
			})
		})
	}
}
