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

	"github.com/kubelock/kubelock/config/crd"
)

// TestReference checks that the reference has nested fields, bounds, enumerations and rules, and that
// input without a CustomResourceDefinition is refused.
func TestReference(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := write(&out, crd.DistributedLocks); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## DistributedLock, kubelock.dev/v1alpha1\n",
		"\n### spec.holder\n",
		"\n### spec.holder.pod\n",
		"| `waiters` | array of (string, ",
		"at most 128 items",
		"`HandedOff`",
		"required |",
		"must be a positive duration such as 30s",
		"must not decrease",
		"| Lock ID | `-o wide` |",
		"| Holder | always | The holder of the lock; &lt;resting>",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the reference does not have %q", want)
		}
	}
	if err := write(&out, []byte("spec: {fields: 1}")); err == nil {
		t.Error("an unknown field was accepted")
	}
}
