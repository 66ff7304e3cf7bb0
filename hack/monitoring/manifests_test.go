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

// Package monitoring tests the manifests for Prometheus with Prometheus's own code and with the types of its
// operator. It is a separate module, because nothing else needs these dependencies.
package monitoring

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// read decodes a manifest of config into the operator's type. An unknown field is an error.
func read(t *testing.T, into any, path ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "config"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%v: %v", path, err)
	}
}

// rules reads the alerts by Prometheus's own parser, which also checks them.
func rules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	var manifest monitoringv1.PrometheusRule
	read(t, &manifest, "monitoring", "prometheus_rule.yaml")
	if manifest.APIVersion != monitoringv1.SchemeGroupVersion.String() || manifest.Kind != monitoringv1.PrometheusRuleKind {
		t.Errorf("the alerts are in a %s %s", manifest.APIVersion, manifest.Kind)
	}
	text, err := yaml.Marshal(manifest.Spec)
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.Fatal("there are no rules")
	}
	var all []rulefmt.Rule
	for _, group := range groups.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// TestServiceMonitor checks the ServiceMonitor, the other manifest for the operator.
func TestServiceMonitor(t *testing.T) {
	var manifest monitoringv1.ServiceMonitor
	read(t, &manifest, "components", "prometheus", "service_monitor.yaml")
	if manifest.APIVersion != monitoringv1.SchemeGroupVersion.String() || manifest.Kind != monitoringv1.ServiceMonitorsKind {
		t.Errorf("it is a %s %s", manifest.APIVersion, manifest.Kind)
	}
	if len(manifest.Spec.Endpoints) != 1 || manifest.Spec.Endpoints[0].Port == "" {
		t.Errorf("its endpoints are %+v", manifest.Spec.Endpoints)
	}
}
