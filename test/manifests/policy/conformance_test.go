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

package policy_test

import (
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest/conformance"
)

// TestConformance runs every promise of the library with the policies in force. Each
// identity is a Pod, and each test has one service account, so that it is the Pods that
// are told apart.
func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(t *testing.T) conformance.Environment {
		t.Helper()
		ns := namespace(t, "programs")
		var mu sync.Mutex
		pods := map[string]*rest.Config{}
		return conformance.Environment{
			Config:    env.Config, // For what administrators do.
			Namespace: ns,
			Backend:   kubelock.DistributedLocks,
			As: func(t testing.TB, identity string) *rest.Config {
				t.Helper()
				mu.Lock()
				defer mu.Unlock()
				if pods[identity] == nil {
					pods[identity], _ = pod(t, ns, "programs", identity)
				}
				return pods[identity]
			},
		}
	})
}
