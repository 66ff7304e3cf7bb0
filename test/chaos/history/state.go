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
	"fmt"
	"slices"
)

// State is the state of every lock in a run: the number of writes, and the unique names of the last
// ones.
type State struct {
	Count int    `json:"count"`
	Write string `json:"write"`
	// Changes are the last writes, the newest last. A client of a version before Apply does not know the field: each
	// of its writes has one change, and drops the names of the writes before.
	Changes []string `json:"changes,omitempty"`
}

// kept is how many changes a state names. It is more than one client has callers, because the changes
// of all of them may share a write.
const kept = 64

// names returns the names of the last writes, the newest last.
func (s State) names() []string {
	if len(s.Changes) == 0 && s.Write != "" {
		return []string{s.Write}
	}
	return s.Changes
}

// Next returns the state after one more write.
func (s State) Next(write string) State {
	changes := append(slices.Clone(s.names()), write)
	return State{Count: s.Count + 1, Write: write, Changes: changes[max(0, len(changes)-kept):]}
}

// Below returns the write before the last one, or "" if there was none.
func (s State) Below() string {
	if len(s.Changes) < 2 {
		return ""
	}
	return s.Changes[len(s.Changes)-2]
}

// Since returns the writes that lead from before to s, in order. It returns an error if no writes can.
func (s State) Since(before State) ([]string, error) {
	n := s.Count - before.Count
	if n == 0 && s.Write == before.Write {
		return nil, nil
	}
	if len(s.Changes) == 0 && n == 1 {
		return s.names(), nil
	}
	if n < 1 || n > len(s.Changes) || s.Changes[len(s.Changes)-1] != s.Write {
		return nil, fmt.Errorf("%s counts %d on top of %d: an update was lost", s.Write, s.Count, before.Count)
	}
	at := len(s.Changes) - n
	below := before.names()
	if want := below[max(0, len(below)+n-kept):]; !slices.Equal(s.Changes[:at], want) {
		return nil, fmt.Errorf("%s is on top of %v, not of %v: an update was lost", s.Write, s.Changes[:at], want)
	}
	return s.Changes[at:], nil
}
