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
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// dashboard is what this program reads of a dashboard of Grafana.
type dashboard struct {
	Title      string  `json:"title"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []variable `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	GridPos     struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	} `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit string   `json:"unit"`
			Min  *float64 `json:"min"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []target `json:"targets"`
}

type target struct {
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
}

// variable is a template variable. Its value is text, a list, or absent.
type variable struct {
	Name    string `json:"name"`
	Current struct {
		Value any `json:"value"`
	} `json:"current"`
}

// readDashboard reads and checks a dashboard.
func readDashboard(path string) (*dashboard, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := &dashboard{}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var wrong []error
	for _, p := range d.Panels {
		if p.Type != "timeseries" {
			wrong = append(wrong, fmt.Errorf("the panel %q is a %q, and hack/dashboard draws only timeseries: extend draw", p.Title, p.Type))
		}
		if _, err := format(p.FieldConfig.Defaults.Unit, 0); err != nil {
			wrong = append(wrong, fmt.Errorf("the panel %q: %w", p.Title, err))
		}
	}
	return d, errors.Join(wrong...)
}

// reference matches a variable in an expression: $name, ${name} or ${name:format}.
var reference = regexp.MustCompile(`\$(?:(\w+)|\{(\w+)(?::\w+)?\})`)

// expand replaces the variables of an expression as Grafana does, for a data source that knows scrapeInterval.
func (d *dashboard) expand(expression string, s span) (string, error) {
	length := s.to.Sub(s.from).Round(time.Second)
	values := map[string]string{
		"__interval":      promDuration(s.step),
		"__interval_ms":   strconv.FormatInt(s.step.Milliseconds(), 10),
		"__rate_interval": promDuration(max(s.step+scrapeInterval, rateInterval)),
		"__range":         promDuration(length),
		"__range_s":       strconv.FormatInt(int64(length.Seconds()), 10),
		"__range_ms":      strconv.FormatInt(length.Milliseconds(), 10),
	}
	for _, v := range d.Templating.List {
		if value, ok := v.Current.Value.(string); ok && !strings.HasPrefix(value, "$__") {
			values[v.Name] = value
		}
	}
	var wrong []error
	expanded := reference.ReplaceAllStringFunc(expression, func(found string) string {
		parts := reference.FindStringSubmatch(found)
		value, ok := values[parts[1]+parts[2]]
		if !ok {
			wrong = append(wrong, fmt.Errorf("%s in %q has no value: give the variable a current value that is one text", found, expression))
		}
		return value
	})
	return expanded, errors.Join(wrong...)
}

func promDuration(d time.Duration) string {
	if d%time.Second != 0 {
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// inLegend matches a label in a legend: {{name}}.
var inLegend = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// legend returns the name of a series. A series whose name would be empty is named by its labels.
func (t target) legend(labels map[string]string) string {
	text := inLegend.ReplaceAllStringFunc(t.LegendFormat, func(found string) string {
		return labels[inLegend.FindStringSubmatch(found)[1]]
	})
	if text = strings.TrimSpace(text); text != "" && t.LegendFormat != "__auto" {
		return text
	}
	encoded, err := json.Marshal(labels)
	if err != nil { // A map of texts can always be encoded.
		panic(err)
	}
	return string(encoded)
}
