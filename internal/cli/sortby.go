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

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/util/jsonpath"

	"github.com/kubelock/kubelock/internal/cli/view"
)

// sortBy sorts rows by what a JSONPath expression finds in each, as kubectl's --sort-by does:
// numbers by their size, times and durations by theirs, other texts by their characters. Rows in
// which it finds nothing are last.
func sortBy(rows []view.Lock, expression string) error {
	path, err := parsePath(expression)
	if err != nil {
		return err
	}
	type keyed struct {
		row view.Lock
		key any
	}
	all := make([]keyed, 0, len(rows))
	for _, r := range rows {
		fields, err := view.Fields(r)
		if err != nil {
			return err
		}
		found, err := path.FindResults(fields)
		if err != nil {
			return usage("--sort-by %q: %w", expression, err)
		}
		k := keyed{row: r}
		if len(found) > 0 && len(found[0]) > 0 {
			k.key = found[0][0].Interface()
		}
		all = append(all, k)
	}
	slices.SortStableFunc(all, func(a, b keyed) int { return compareKeys(a.key, b.key) })
	for i := range all {
		rows[i] = all[i].row
	}
	return nil
}

// parsePath reads a JSONPath expression; its braces and first dot may be absent.
func parsePath(expression string) (*jsonpath.JSONPath, error) {
	text := strings.TrimSpace(expression)
	if !strings.HasPrefix(text, "{") {
		text = "{." + strings.TrimPrefix(text, ".") + "}"
	}
	path := jsonpath.New("sort-by").AllowMissingKeys(true)
	if err := path.Parse(text); err != nil {
		return nil, usage("--sort-by %q is no JSONPath expression, such as .holder.acquireTime: %w", expression, err)
	}
	return path, nil
}

func compareKeys(a, b any) int {
	if a == nil || b == nil {
		return cmp.Compare(rank(a), rank(b))
	}
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			return cmp.Compare(x, y)
		}
	}
	return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

// rank has what is not there last.
func rank(key any) int {
	if key == nil {
		return 1
	}
	return 0
}

// number is a key's size, if it has one.
func number(key any) (float64, bool) {
	switch n := key.(type) {
	case int64:
		return float64(n), true
	case float64:
		return n, true
	case string:
		if at, err := time.Parse(time.RFC3339, n); err == nil {
			return float64(at.UnixMicro()), true
		}
		if d, err := time.ParseDuration(n); err == nil {
			return float64(d), true
		}
	}
	return 0, false
}
