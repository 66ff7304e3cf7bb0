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
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// baseline has the number of findings that each file may still have. Files that it does not list may have
// none.
type baseline map[string]int

func readBaseline(in io.Reader) (baseline, error) {
	b := baseline{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		count, file, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(count)
		if err != nil || n <= 0 || file == "" {
			return nil, fmt.Errorf("%q is not a count and a file", line)
		}
		b[file] = n
	}
	return b, lines.Err()
}

func (b baseline) write(out io.Writer) error {
	if _, err := fmt.Fprintln(out, "# How many words each file has that hack/prose/words.go warns of. A count may only shrink:\n"+
		"# go run ./hack/prose -update lowers it after a file was rewritten."); err != nil {
		return err
	}
	for _, file := range slices.Sorted(maps.Keys(b)) {
		if _, err := fmt.Fprintln(out, b[file], file); err != nil {
			return err
		}
	}
	return nil
}

func (b baseline) total() int {
	sum := 0
	for _, n := range b {
		sum += n
	}
	return sum
}

// exceeded returns the findings in files that have more of them than the baseline allows, and by how many
// findings all other files are below it.
func (b baseline) exceeded(found []finding) (over []finding, fewer int) {
	counts := count(found)
	for file, n := range b {
		fewer += max(n-counts[file], 0)
	}
	for _, f := range found {
		if n := counts[f.path]; n > b[f.path] {
			if b[f.path] > 0 {
				f.text += fmt.Sprintf(" (the file may have %d findings and has %d)", b[f.path], n)
			}
			over = append(over, f)
		}
	}
	return over, fewer
}

// next returns the baseline for these findings. It may list other files, since files may be renamed, but not
// more findings in all. If b is empty, next accepts any number of findings.
func (b baseline) next(found []finding) (baseline, error) {
	after := count(found)
	if len(b) > 0 && after.total() > b.total() {
		return nil, fmt.Errorf("%d findings are more than the %d before: rewrite the new text", after.total(), b.total())
	}
	return after, nil
}

func count(found []finding) baseline {
	b := baseline{}
	for _, f := range found {
		b[f.path]++
	}
	return b
}
