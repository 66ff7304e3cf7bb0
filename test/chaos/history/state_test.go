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

package history

import (
	"slices"
	"strconv"
	"testing"
)

// TestStateSince checks which writes Since returns, and for which states it returns an error.
func TestStateSince(t *testing.T) {
	write := func(s State, from, to int) State {
		for i := from; i < to; i++ {
			s = s.Next(strconv.Itoa(i))
		}
		return s
	}
	full := write(State{}, 0, 2*kept)
	other := write(State{}, 0, 2)
	other.Changes[0] = "another"
	for name, tc := range map[string]struct {
		before, after State
		want          []string
		fails         bool
	}{
		"nothing":                    {before: full, after: full},
		"the first":                  {after: write(State{}, 0, 1), want: []string{"0"}},
		"several":                    {before: write(State{}, 0, 3), after: write(State{}, 0, 5), want: []string{"3", "4"}},
		"beyond the list":            {before: full, after: write(full, 500, 502), want: []string{"500", "501"}},
		"as many as listed":          {before: full, after: write(full, 500, 500+kept), want: write(State{}, 500, 500+kept).Changes},
		"too many":                   {before: full, after: write(full, 500, 501+kept), fails: true},
		"one lost":                   {before: full, after: write(write(State{}, 0, 2*kept-1), 500, 501), fails: true},
		"one exchanged":              {before: other, after: write(State{}, 0, 3), fails: true},
		"an old one":                 {before: write(State{}, 0, 3), after: write(State{}, 0, 2), fails: true},
		"by a client that names one": {before: write(State{}, 0, 3), after: State{Count: 4, Write: "x"}, want: []string{"x"}},
		"two by such a client":       {before: write(State{}, 0, 3), after: State{Count: 5, Write: "x"}, fails: true},
		"none by such a client":      {before: write(State{}, 0, 3), after: State{Count: 3, Write: "x"}, fails: true},
		"on top of such a client's":  {before: State{Count: 4, Write: "x"}, after: State{Count: 4, Write: "x"}.Next("y").Next("z"), want: []string{"y", "z"}},
		"not on top of that":         {before: State{Count: 4, Write: "x"}, after: State{Count: 4, Write: "w"}.Next("y"), fails: true},
		"another as the last": {
			before: write(State{}, 0, 3), after: State{Count: 4, Write: "x", Changes: write(State{}, 0, 4).Changes}, fails: true,
		},
	} {
		if got, err := tc.after.Since(tc.before); !slices.Equal(got, tc.want) || (err != nil) != tc.fails {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if first := write(State{}, 0, 1); first.Below() != "" || full.Below() != strconv.Itoa(2*kept-2) {
		t.Errorf("below are %q and %q", first.Below(), full.Below())
	}
}
