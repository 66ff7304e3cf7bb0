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
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// span is a range of time that is evaluated at each step.
type span struct {
	from, to time.Time
	step     time.Duration
}

// server is the URL of Prometheus.
type server string

// result is a series of an answer.
type result struct {
	labels map[string]string
	points []point
}

type point struct {
	at    float64 // seconds since 1970
	value float64 // may be NaN or infinite
}

// UnmarshalJSON implements json.Unmarshaler: a point is [seconds, "value"].
func (p *point) UnmarshalJSON(text []byte) error {
	var value string
	pair := [2]any{&p.at, &value}
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	var err error
	p.value, err = strconv.ParseFloat(value, 64)
	return err
}

func (p point) finite() bool { return !math.IsNaN(p.value) && !math.IsInf(p.value, 0) }

// query evaluates an expression at each step of a span.
func (s server) query(ctx context.Context, expression string, over span) (_ []result, err error) {
	seconds := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	values := url.Values{
		"query": {expression}, "start": {seconds(over.from)}, "end": {seconds(over.to)},
		"step": {strconv.FormatFloat(over.step.Seconds(), 'f', -1, 64)},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, string(s)+"/api/v1/query_range?"+values.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
				Values []point           `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("Prometheus answers %s: %w", response.Status, err) //nolint:staticcheck // A name.
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("Prometheus answers %s to %q: %s", response.Status, expression, answer.Error) //nolint:staticcheck // A name.
	}
	found := make([]result, 0, len(answer.Data.Result))
	for _, r := range answer.Data.Result {
		found = append(found, result{labels: r.Metric, points: r.Values})
	}
	return found, nil
}

// drawn is a panel with what it shows.
type drawn struct {
	panel
	series []series
}

type series struct {
	legend string
	points []point
}

// hasData returns whether there is a value to draw. A quantile of no observations is NaN.
func (s series) hasData() bool { return slices.ContainsFunc(s.points, point.finite) }

// evaluate asks Prometheus for what each panel shows.
func evaluate(ctx context.Context, from server, board *dashboard, over span) ([]drawn, error) {
	all := make([]drawn, 0, len(board.Panels))
	for _, p := range board.Panels {
		d := drawn{panel: p}
		for _, t := range p.Targets {
			expression, err := board.expand(t.Expr, over)
			if err != nil {
				return nil, fmt.Errorf("the panel %q: %w", p.Title, err)
			}
			found, err := from.query(ctx, expression, over)
			if err != nil {
				return nil, fmt.Errorf("the panel %q: %w", p.Title, err)
			}
			for _, r := range found {
				if s := (series{legend: t.legend(r.labels), points: r.points}); s.hasData() {
					d.series = append(d.series, s)
				}
			}
		}
		all = append(all, d)
	}
	return all, nil
}
