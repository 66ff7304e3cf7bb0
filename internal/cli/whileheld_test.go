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
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestRunSeesItsLockGo takes the lock away from a command whose next renewal is twenty minutes
// away. The plugin has to end the command nevertheless.
func TestRunSeesItsLockGo(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(t *testing.T, ns string){
		"freed by hand": force,
		"deleted": func(t *testing.T, ns string) {
			t.Helper()
			if err := env.Client(t).Delete(t.Context(), object(t, ns, "k")); err != nil {
				t.Fatal(err)
			}
		},
		"deleted, and kept by a finalizer": func(t *testing.T, ns string) {
			t.Helper()
			obj := object(t, ns, "k")
			patch := client.MergeFrom(obj.DeepCopy())
			obj.Finalizers = []string{"example.com/keeps"}
			if err := env.Client(t).Patch(t.Context(), obj, patch); err != nil {
				t.Fatal(err)
			}
			if err := env.Client(t).Delete(t.Context(), obj); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			r := start(t, ns, obedient, "--duration", "1h", "--grace", "1h")
			take(t, ns)
			r.end(t, 76, "told", "lock lost")
			r.gone(t)
		})
	}
}
