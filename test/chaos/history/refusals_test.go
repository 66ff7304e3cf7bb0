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

package history

import "testing"

// TestLockAt checks which paths of the API belong to locks.
func TestLockAt(t *testing.T) {
	for path, want := range map[string]Lock{
		"/apis/kubelock.dev/v1alpha1/namespaces/chaos/distributedlocks/a": {DistributedLocks, "a"},
		"/apis/coordination.k8s.io/v1/namespaces/chaos/leases/long-b":     {Leases, "long-b"},
		"/api/v1/namespaces/chaos/configmaps":                             {ConfigMaps, ""},
		"/api/v1/namespaces/chaos/configmapsets/a":                        {},
		"/api/v1/namespaces/other/configmaps/a":                           {},
		"/api/v1/namespaces/chaos":                                        {},
	} {
		if got, ok := LockAt(path); got != want || ok != (want != Lock{}) {
			t.Errorf("%s is %v, %v, want %v", path, got, ok, want)
		}
	}
	for key, long := range map[string]bool{"long-b": true, "passing-0": false, "a": false} {
		if (Lock{Leases, key}).Long() != long {
			t.Errorf("%s is taken for another kind of lock", key)
		}
	}
}
