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
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		unit  string
		value float64
		want  string
	}{
		{"s", 0, "0 s"},
		{"s", 0.00025, "250 µs"},
		{"s", 0.5, "500 ms"},
		{"s", 1.5, "1.5 s"},
		{"s", 90, "1.5 min"},
		{"ops", 0.25, "0.25 ops/s"},
		{"ops", 1500, "1.5 K ops/s"},
		{"short", 12, "12"},
		{"short", 2.5e6, "2.5 Mil"},
		{"", 0.1 + 0.2, "0.3"},
	} {
		if got, err := format(c.unit, c.value); err != nil || got != c.want {
			t.Errorf("%v in %q is %q, %v; want %q", c.value, c.unit, got, err, c.want)
		}
	}
	if got, err := format("furlongs", 1); err == nil {
		t.Errorf("an unknown unit gives %q", got)
	}
}

func TestScale(t *testing.T) {
	for _, c := range []struct {
		values []float64
		least  *float64
		want   scale
	}{
		{[]float64{1, 7}, new(float64(0)), scale{0, 8, 2}},
		{[]float64{1000, 1003}, nil, scale{1000, 1003, 1}},
		{[]float64{0, 0}, new(float64(0)), scale{0, 1, 0.2}},
		{nil, nil, scale{0, 1, 0.2}},
		{[]float64{-3, -1}, new(float64(0)), scale{0, 1, 0.2}},
	} {
		if got := scaleOf([]series{values("", c.values...)}, c.least); got != c.want {
			t.Errorf("the axis of %v is %v, want %v", c.values, got, c.want)
		}
	}
}

func TestTimeStep(t *testing.T) {
	for length, want := range map[time.Duration]time.Duration{
		30 * time.Second: 5 * time.Second, 150 * time.Second: 30 * time.Second, time.Hour: 10 * time.Minute, 48 * time.Hour: 7 * time.Hour,
	} {
		if got := timeStep(length); got != want {
			t.Errorf("the marks of %v are %v apart, want %v", length, got, want)
		}
	}
}

func TestExpand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "board.json")
	text := `{"templating": {"list": [
		{"name": "datasource", "type": "datasource"},
		{"name": "namespace", "current": {"value": "team-a"}},
		{"name": "job", "current": {"value": ["a", "b"]}},
		{"name": "pod", "current": {"value": "$__all"}}]}}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	board, err := readDashboard(path)
	if err != nil {
		t.Fatal(err)
	}
	over := span{from: time.Unix(0, 0), to: time.Unix(150, 0), step: scrapeInterval}
	for expression, want := range map[string]string{
		"rate(a[$__rate_interval])":             "rate(a[12s])",
		"rate(a[${__interval}])":                "rate(a[3s])",
		"a / $__interval_ms":                    "a / 3000",
		"increase(a[$__range]) / $__range_s":    "increase(a[150s]) / 150",
		`a{namespace=~"${namespace:regex}"}`:    `a{namespace=~"team-a"}`,
		`a{namespace="$namespace",b=~"c.*$"}`:   `a{namespace="team-a",b=~"c.*$"}`,
		"sum by (resource) (kubelock_no_rates)": "sum by (resource) (kubelock_no_rates)",
	} {
		if got, err := board.expand(expression, over); err != nil || got != want {
			t.Errorf("%s is expanded to %s, %v; want %s", expression, got, err, want)
		}
	}
	for _, expression := range []string{"$unknown", "${datasource}", "$job", "$pod"} {
		if got, err := board.expand(expression, over); err == nil || !strings.Contains(err.Error(), expression) {
			t.Errorf("%s is expanded to %q, %v; want an error that names it", expression, got, err)
		}
	}
}

func TestLegend(t *testing.T) {
	labels := map[string]string{"resource": "leases", "state": "held"}
	for text, want := range map[string]string{
		"{{resource}} {{ state }}": "leases held",
		"median":                   "median",
		"{{resource}} {{other}}":   "leases",
		"{{other}}":                `{"resource":"leases","state":"held"}`,
		"":                         `{"resource":"leases","state":"held"}`,
	} {
		if got := (target{LegendFormat: text}).legend(labels); got != want {
			t.Errorf("the legend %q is %q, want %q", text, got, want)
		}
	}
}

func TestReadDashboardRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "board.json")
	text := `{"panels": [{"title": "round", "type": "piechart"}, {"title": "long", "type": "timeseries", "fieldConfig": {"defaults": {"unit": "furlongs"}}}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := readDashboard(path)
	for _, part := range []string{"round", "piechart", "long", "furlongs"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %v, and does not say %s", err, part)
		}
	}
}

func TestEvaluate(t *testing.T) {
	prometheus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch q := r.URL.Query(); q.Get("query") {
		case "rate(a[12s])":
			if r.URL.Path != "/api/v1/query_range" || q.Get("start") != "1000.000" || q.Get("end") != "1060.000" || q.Get("step") != "10" {
				t.Errorf("the request is %v", r.URL)
			}
			_, _ = w.Write([]byte(`{"status": "success", "data": {"resultType": "matrix", "result": [
				{"metric": {"name": "x"}, "values": [[1000, "0.5"], [1010.5, "NaN"], [1020, "+Inf"]]},
				{"metric": {"name": "y"}, "values": [[1000, "NaN"]]}]}}`))
		default:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"status": "error", "errorType": "bad_data", "error": "what is this"}`))
		}
	}))
	defer prometheus.Close()
	over := minute
	board := &dashboard{Panels: []panel{{Title: "p", Targets: []target{{Expr: "rate(a[12s])", LegendFormat: "{{name}}"}}}}}
	found, err := evaluate(t.Context(), server(prometheus.URL), board, over)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || len(found[0].series) != 1 { // The other series has no value.
		t.Fatalf("the panels are %+v", found)
	}
	s := found[0].series[0]
	if s.legend != "x" || len(s.points) != 3 || s.points[0] != (point{1000, 0.5}) || s.points[1].at != 1010.5 || s.points[1].finite() || s.points[2].finite() {
		t.Errorf("the series is %+v", s)
	}
	board.Panels[0].Targets[0].Expr = "rate("
	if _, err := evaluate(t.Context(), server(prometheus.URL), board, over); err == nil || !strings.Contains(err.Error(), "what is this") {
		t.Errorf("a refused query gives %v", err)
	}
}
