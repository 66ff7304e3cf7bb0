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

package cli

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/store"
)

// TestListedAnew checks what is told when a reflector has missed changes and lists again.
func TestListedAnew(t *testing.T) {
	var got []string
	watched := &told{kind: store.DistributedLocks, decode: (&reader{}).decode, send: func(c change) {
		for _, r := range c.rows {
			text := r.Key + " " + r.Version
			if r.Deleted {
				text += " deleted"
			}
			got = append(got, text)
		}
	}}
	list := func(versions map[string]string, want ...string) {
		t.Helper()
		objs := make([]any, 0, len(versions))
		for name, version := range versions {
			objs = append(objs, &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, ResourceVersion: version}})
		}
		got = nil
		if err := watched.Replace(objs, ""); err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	list(map[string]string{"same": "1", "changed": "2", "gone": "3"}, "changed 2", "gone 3", "same 1")
	list(map[string]string{"same": "1", "changed": "5", "new": "6"}, "changed 5", "gone 3 deleted", "new 6")
	list(nil, "changed 5 deleted", "new 6 deleted", "same 1 deleted")
}
