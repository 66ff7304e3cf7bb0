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

package view

import (
	"bytes"
	"testing"
)

// TestFindings writes a remedy of two findings once.
func TestFindings(t *testing.T) {
	var out bytes.Buffer
	if err := Findings(&out, []Finding{
		{Good, "API server", "v1\nat x", ""},
		{Fault, "permission", "none to get", "bind\nthe role"},
		{Fault, "permission", "none to list", "bind\nthe role"},
		{Warning, "clock", "ahead", "set it"},
	}); err != nil {
		t.Fatal(err)
	}
	const want = `ok       API server  v1 at x
fault    permission  none to get
fault    permission  none to list
                     bind
                     the role
warning  clock       ahead
                     set it
`
	if out.String() != want {
		t.Errorf("it is\n%s, want\n%s", out.String(), want)
	}
}
