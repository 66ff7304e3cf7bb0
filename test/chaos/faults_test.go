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
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// TestFaultsAreDocumented checks that the documentation has the name of each fault.
func TestFaultsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		if !strings.Contains(string(text), "`"+f.name+"`") {
			t.Errorf("docs/reliability.md does not have %q", f.name)
		}
	}
}

// TestPlan checks that a plan has each fault equally often, and that each begins and ends in time.
func TestPlan(t *testing.T) {
	var deck []fault
	planned := plan(rand.New(rand.NewPCG(1, 99)), &deck, faults, time.Hour)
	times := map[string]int{}
	for _, p := range planned {
		times[p.fault.name]++
		if cut := p.at+p.lasts == time.Hour; p.lasts < p.fault.shortest && !cut || p.lasts > p.fault.longest {
			t.Errorf("%s lasts %v", p.fault.name, p.lasts)
		}
	}
	for _, f := range faults {
		if n, want := times[f.name], len(planned)/len(faults); n < want || n > want+1 {
			t.Errorf("%s is planned %d times, want %d or one more", f.name, n, want)
		}
	}
}

// TestChosen checks that faultsNamed finds faults by name, and refuses an unknown name.
func TestChosen(t *testing.T) {
	if all, err := faultsNamed(""); err != nil || len(all) != len(faults) {
		t.Errorf("no names: %d faults, %v", len(all), err)
	}
	if some, err := faultsNamed("deny-proxy,retry-after"); err != nil || len(some) != 2 || some[0].name != "deny-proxy" {
		t.Errorf("two names: %v, %v", some, err)
	}
	if _, err := faultsNamed("none-such"); err == nil {
		t.Error("a name of no fault is accepted")
	}
}
