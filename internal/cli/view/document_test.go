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

// TestDocuments writes a lock as programs read it.
func TestDocuments(t *testing.T) {
	lock := Lock{Kind: "Leases", Namespace: "ns", Name: "k", Key: "a<b", Waiters: []Waiter{}, Transitions: 12345678, Resource: "leases.coordination.k8s.io", Version: "7"}
	template, err := NewTemplate("jsonpath={.items[0].key} {.items[0].transitions}")
	if err != nil {
		t.Fatal(err)
	}
	const fields = `{"kind":"Leases","namespace":"ns","name":"k","key":"a\u003cb","waiters":[],"transitions":12345678}`
	for _, tt := range []struct {
		name, want string
		write      func(out *bytes.Buffer) error
	}{
		{"JSON", `{
  "kind": "Leases",
  "namespace": "ns",
  "name": "k",
  "key": "a\u003cb",
  "waiters": [],
  "transitions": 12345678
}
`, func(out *bytes.Buffer) error { return JSON(out, lock, false) }},
		{"a line of JSON", fields + "\n", func(out *bytes.Buffer) error { return JSON(out, lock, true) }},
		{"YAML", "key: a<b\nkind: Leases\nname: k\nnamespace: ns\ntransitions: 12345678\nwaiters: []\n", func(out *bytes.Buffer) error { return YAML(out, lock, false) }},
		{"one of several in YAML", "---\n1\n", func(out *bytes.Buffer) error { return YAML(out, 1, true) }},
		{"a List", `{"apiVersion":"v1","kind":"List","items":[` + fields + "]}\n", func(out *bytes.Buffer) error { return JSON(out, ListOf([]Lock{lock}), true) }},
		{"a template", "a<b 12345678", func(out *bytes.Buffer) error { return template.Write(out, ListOf([]Lock{lock})) }},
		{"names", "leases.coordination.k8s.io/k\n", func(out *bytes.Buffer) error { return Names(out, []Lock{lock}) }},
	} {
		var out bytes.Buffer
		if err := tt.write(&out); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if out.String() != tt.want {
			t.Errorf("%s is\n%s, want\n%s", tt.name, out.String(), tt.want)
		}
	}
	if _, err := NewTemplate("go-template={{"); err == nil {
		t.Error("a template without an end is no error")
	}
}
