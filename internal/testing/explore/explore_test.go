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

package explore

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	full   = flag.Bool("full", false, "go through all scopes, as far as they go, and plant faults")
	only   = flag.String("scope", "", "explore the scopes only whose name has this in it")
	within = flag.Duration("within", 0, "for how long each scope is explored at most; 0: until it is complete")
	steps  = flag.Int("walk", 0, "how many random steps to take beyond the scopes that are gone through; 0: a few")
	write  = flag.Bool("write", false, "write what was measured to docs")
)

func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// atFirst is how many states of each scope a short exploration has. The race detector makes it ten times
// as slow, and finds nothing, since there is only one goroutine.
const atFirst = 700 / slower

// TestExplore explores each scope: completely, or a part that is large enough to find most faults.
func TestExplore(t *testing.T) {
	limits := Limits{States: atFirst}
	if testing.Short() {
		limits.States /= 2
	}
	if *full || *only != "" {
		limits = Limits{Time: *within}
	}
	measured := newTable("scopes")
	for _, sc := range scopes() {
		if strings.Contains(sc.Name, *only) {
			explore(t, sc, limits, measured)
		}
	}
	if *full || *only != "" {
		for _, sc := range larger() {
			if strings.Contains(sc.Name, *only) {
				explore(t, sc, Limits{Time: *within, States: sc.most}, measured)
			}
		}
		measured.write(t)
	}
}

func explore(t *testing.T, sc *Scope, limits Limits, measured *table) {
	t.Helper()
	t.Run(sc.Name, func(t *testing.T) {
		f := Explore(sc, limits)
		t.Log(f.summary())
		if f.Bad != "" {
			t.Errorf("%s\n%s", f.Bad, Transcript(sc, f))
			return
		}
		complete := "all"
		if !f.Complete {
			complete = "to depth " + strconv.Itoa(f.Depth)
		}
		measured.set(sc.Name, strconv.Itoa(f.States), complete, strconv.Itoa(f.Depth), strconv.Itoa(f.Fair), f.Took.Round(100*time.Millisecond).String(), f.Memory)
	})
}

func (f Found) summary() string {
	complete := "complete"
	if !f.Complete {
		complete = "not complete"
	}
	return fmt.Sprintf("%d states, %d steps, depth %d, %s, fair %d ticks, %v, %s", f.States, f.Steps, f.Depth, complete, f.Fair, f.Took.Round(10*time.Millisecond), f.Memory)
}

// TestWalks takes random steps in scopes that are too large to explore.
func TestWalks(t *testing.T) {
	most := 5_000
	if *full || *steps > 0 {
		most = max(*steps, 1_000_000)
	}
	for _, sc := range forWalks() {
		if !strings.Contains(sc.Name, *only) {
			continue
		}
		t.Run(sc.Name, func(t *testing.T) {
			f := Walk(sc, 1, most, *within)
			t.Logf("%d steps in %d walks, %v", f.Steps, f.States, f.Took.Round(10*time.Millisecond))
			if f.Bad != "" {
				t.Errorf("%s\n%s", f.Bad, Transcript(sc, f))
			}
		})
	}
}

// TestTranscripts replays earlier findings. The files in testdata are transcripts that the explorer has
// printed.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(data), "# scope: ")
			scope, _, ok := strings.Cut(rest, "\n")
			if !ok {
				t.Fatal("it names no scope")
			}
			bad, impossible := Replay(scopeNamed(t, scope), string(data))
			if bad != "" {
				t.Error(bad)
			}
			if impossible != "" {
				t.Errorf("this cannot happen any more, so the transcript shows nothing: %s", impossible)
			}
		})
	}
}

// TestTables compares the tables in docs/explorer.md with the code. Each planted fault must have a row, and
// each row must belong to a fault or a scope that exists. Scopes that take hours may have no row.
func TestTables(t *testing.T) {
	if *write {
		t.Skip("they are being written")
	}
	all := append(scopes(), larger()...)
	scoped, planted := make([]string, 0, len(all)), make([]string, 0, len(mutants))
	for _, sc := range all {
		scoped = append(scoped, sc.Name)
	}
	for _, m := range mutants {
		planted = append(planted, m.name)
	}
	_, rows, _ := newTable("scopes").lines(t)
	for _, row := range rows {
		if !slices.Contains(scoped, nameOf(row)) {
			t.Errorf("%s has a row for the scope %q, which there is no more", page, nameOf(row))
		}
	}
	_, rows, _ = newTable("faults").lines(t)
	have := make([]string, 0, len(rows))
	for _, row := range rows {
		have = append(have, nameOf(row))
	}
	slices.Sort(have)
	slices.Sort(planted)
	if !slices.Equal(have, planted) {
		t.Errorf("%s has the planted faults %q, and there are %q: run make explore", page, have, planted)
	}
}

// table is one of the tables of docs/explorer.md. A comment before the table names it.
type table struct {
	mark string
	rows map[string]string // rows by their first cell
}

const page = "../../../docs/explorer.md"

func newTable(name string) *table {
	return &table{mark: "<!-- " + name + " -->", rows: map[string]string{}}
}

func (x *table) set(cells ...string) {
	x.rows[cells[0]] = "| " + strings.Join(cells, " | ") + " |"
}

// lines returns the lines of the page before the table's rows, these rows, and the lines behind them.
func (x *table) lines(t *testing.T) (before, rows, after []string) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	at := 0
	for at < len(lines) && lines[at] != x.mark {
		at++
	}
	at += 4 // Skip the comment, an empty line, and the two lines of the head.
	if at > len(lines) {
		t.Fatalf("%s has no %s", page, x.mark)
	}
	end := at
	for end < len(lines) && strings.HasPrefix(lines[end], "| ") {
		end++
	}
	return lines[:at], slices.Clone(lines[at:end]), lines[end:]
}

func nameOf(row string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
	return name
}

// write replaces the rows that were measured again.
func (x *table) write(t *testing.T) {
	t.Helper()
	if !*write {
		return
	}
	before, rows, after := x.lines(t)
	for i, row := range rows {
		if measured, ok := x.rows[nameOf(row)]; ok {
			rows[i] = measured
			delete(x.rows, nameOf(row))
		}
	}
	var names []string
	for _, sc := range append(scopes(), larger()...) {
		names = append(names, sc.Name)
	}
	for _, m := range mutants {
		names = append(names, m.name)
	}
	for _, name := range names {
		if row, ok := x.rows[name]; ok {
			rows = append(rows, row)
		}
	}
	text := strings.Join(append(append(append([]string{}, before...), rows...), after...), "\n")
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
