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
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// metricName matches the metrics that an expression reads.
var metricName = regexp.MustCompile(`\b(?:kubelock|leader_election)_[a-z_]+`)

// registered returns the metrics of the reaper and of the library. For a histogram it has the names
// of all its series.
func registered(t *testing.T) map[string]bool {
	t.Helper()
	library := prometheus.NewRegistry()
	c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: "default", Metrics: library})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"leader_election_master_status": true} // client-go registers it with the first election.
	described := func(r prometheus.Collector) {
		descriptions := make(chan *prometheus.Desc, 1000)
		r.Describe(descriptions)
		close(descriptions)
		for d := range descriptions {
			_, name, _ := strings.Cut(d.String(), `fqName: "`)
			name, _, _ = strings.Cut(name, `"`)
			for _, suffix := range []string{"", "_bucket", "_count", "_sum"} {
				names[name+suffix] = true
			}
		}
	}
	described(library)
	reaper, ok := metrics.Registry.(prometheus.Collector)
	if !ok {
		t.Fatalf("the reaper's registry is a %T, which cannot be described", metrics.Registry)
	}
	described(reaper)
	return names
}

// TestMonitoringKnowsTheMetrics checks that the alerts and the dashboard use only metrics that
// exist, and that the dashboard shows each of kubelock's metrics.
func TestMonitoringKnowsTheMetrics(t *testing.T) {
	t.Parallel()
	names := registered(t)
	dir := filepath.Join(env.Root, "config", "monitoring")
	read := func(file string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	check := func(where, expression string) {
		t.Helper()
		used := metricName.FindAllString(expression, -1)
		if len(used) == 0 {
			t.Errorf("%s asks for no metric: %q", where, expression)
		}
		for _, name := range used {
			if !names[name] {
				t.Errorf("%s asks for %s, which there is not", where, name)
			}
		}
	}

	var rule struct {
		Spec struct {
			Groups []struct {
				Rules []struct{ Alert, Expr string }
			}
		}
	}
	if err := yaml.Unmarshal(read("prometheus_rule.yaml"), &rule); err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for _, group := range rule.Spec.Groups {
		for _, r := range group.Rules {
			check(r.Alert, r.Expr)
			alerts++
		}
	}
	if alerts == 0 {
		t.Error("there are no alerts")
	}

	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(read("kubelock.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			check(panel.Title, target.Expr)
			shown.WriteString(target.Expr + "\n")
		}
	}
	for name := range names {
		family := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
		if strings.HasPrefix(family, "kubelock_") && !strings.Contains(shown.String(), family) {
			t.Errorf("no panel shows %s", family)
		}
	}
}
