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
	"flag"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
)

// parse returns the options of a command line.
func parse(t *testing.T, args ...string) options {
	t.Helper()
	var o options
	flags := flag.NewFlagSet("reaper", flag.ContinueOnError)
	o.bind(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestWrongOptionsAreAllNamed(t *testing.T) {
	t.Parallel()
	o := parse(t, "--concurrency=0", "--namespaces=orders,,Invoices",
		"--leader-elect", "--leader-elect-lease-duration=2s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=1700ms")
	err := o.check()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"--concurrency", `""`, `"Invoices"`, "--leader-elect-renew-deadline must be less", "--leader-elect-retry-period must be positive"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not name %s: %v", part, err)
		}
	}
	if strings.Contains(err.Error(), `"orders"`) {
		t.Errorf("the error names what is right: %v", err)
	}
	if err := run(t.Context(), nil, o); err == nil || !strings.Contains(err.Error(), "--concurrency") {
		t.Errorf("run with wrong options: %v", err)
	}
	if err := start(options{}, []string{"false"}); err == nil || !strings.Contains(err.Error(), `"false"`) {
		t.Errorf("with an argument that is no flag: %v", err)
	}
}

// TestOptions checks which options of the manager the flags set.
func TestOptions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args       []string
		namespaces []string
		election   bool
		protected  bool
	}{
		{nil, nil, false, true},
		{[]string{"--namespaces=orders"}, []string{"orders"}, false, true},
		{[]string{"--namespaces=orders, invoices", "--leader-elect"}, []string{"orders", "invoices"}, true, true},
		{[]string{"--metrics-secure=false"}, nil, false, false},
	} {
		o := parse(t, tc.args...)
		if err := o.check(); err != nil {
			t.Errorf("%q: %v", tc.args, err)
		}
		got := o.manager(runtime.NewScheme())
		namespaces := o.reaped()
		if !slices.Equal(namespaces, tc.namespaces) || got.LeaderElection != tc.election {
			t.Errorf("%q: reaps in %q, election %v; want %q, %v", tc.args, namespaces, got.LeaderElection, tc.namespaces, tc.election)
		}
		if protected := got.Metrics.SecureServing && got.Metrics.FilterProvider != nil; protected != tc.protected {
			t.Errorf("%q: metrics protected is %v, want %v", tc.args, protected, tc.protected)
		}
	}
}
