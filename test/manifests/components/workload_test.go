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

package components_test

import (
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest/conformance"
)

// TestConformance runs every promise of the library as a service account that has the role
// of programs and nothing else, for each kind of object.
func TestConformance(t *testing.T) {
	t.Parallel()
	if installed != nil {
		t.Fatal(installed)
	}
	for _, b := range backends {
		t.Run(string(b.backend), func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, func(t *testing.T) conformance.Environment {
				t.Helper()
				ns := env.Namespace(t)
				may := authorizationv1.ResourceAttributes{Verb: "create", Group: b.resource.Group, Resource: b.resource.Resource}
				return conformance.Environment{Config: env.AccountIn(t, ns, b.role, may), Namespace: ns, Backend: b.backend}
			})
		})
	}
}
