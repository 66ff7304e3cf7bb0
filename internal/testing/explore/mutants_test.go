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
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	one     = flag.String("one", "", "explore the scope of this name only, and print what is found in one line")
	within1 = flag.Int("fair", 0, "how many ticks may pass from any state until all is done")
	depth   = flag.Int("depth", 0, "how deep to explore")
	planted = flag.String("planted", "", "plant those faults only whose name has this in it")
	states  = flag.Int("states", 0, "how many states to explore at most")
	keep    = flag.String("keep", "", "the folder that transcripts of planted faults are written to")
)

// mutant is a fault that is planted in the code.
type mutant struct {
	name     string
	file     string // path from the module's root
	old, new string // the original text, which occurs once, and the text that replaces it
	scope    string // the scope in which the fault is found
}

// TestOne explores one scope, for TestMutants.
func TestOne(t *testing.T) {
	if *one == "" {
		t.Skip("explores the scope of -one")
	}
	sc := scopeNamed(t, *one)
	if *within1 > 0 {
		sc.Fair = *within1
	}
	f := Explore(sc, Limits{Depth: *depth, Time: *within, States: *states})
	fmt.Printf("RESULT depth=%d states=%d complete=%v fair=%d then=%v bad=%s\n", f.Depth, f.States, f.Complete, f.Fair, f.Then, f.Bad)
	if f.Bad != "" && testing.Verbose() {
		fmt.Println(Transcript(sc, f))
	}
}

func scopeNamed(t *testing.T, name string) *Scope {
	t.Helper()
	for _, sc := range allScopes() {
		if sc.Name == name {
			return sc
		}
	}
	t.Fatalf("there is no scope %q", name)
	return nil
}

type outcome struct {
	depth, states, fair int
	complete, then      bool
	bad                 string
	took                time.Duration
}

var result = regexp.MustCompile(`RESULT depth=(\d+) states=(\d+) complete=(\w+) fair=(\d+) then=(\w+) bad=(.*)`)

// runExplorer runs an explorer that was built with a fault, and returns its result.
func runExplorer(ctx context.Context, t *testing.T, binary string, args ...string) outcome {
	t.Helper()
	begun := time.Now()
	out, err := exec.CommandContext(ctx, binary, append([]string{"-test.run", "^TestOne$", "-test.timeout", "1h", "-test.v"}, args...)...).CombinedOutput()
	m := result.FindStringSubmatch(string(out))
	if m == nil {
		if strings.Contains(string(out), "panic:") {
			return outcome{bad: "panic: " + firstLine(string(out), "panic:"), took: time.Since(begun)}
		}
		t.Fatalf("the explorer failed otherwise: %v\n%s", err, out[:min(len(out), 3000)])
	}
	if _, transcript, ok := strings.Cut(string(out), "# scope:"); ok && *keep != "" {
		transcript, _, _ = strings.Cut(transcript, "\n\n---")
		name := filepath.Join(*keep, strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(filepath.Base(t.Name()))+".txt")
		if err := os.WriteFile(name, []byte("# scope:"+transcript+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	return outcome{number(m[1]), number(m[2]), number(m[4]), m[3] == "true", m[5] == "true", m[6], time.Since(begun)}
}

func firstLine(out, with string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, with) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// build builds the explorer with the fault. No source file changes: the compiler gets the changed file as
// an overlay.
func (m mutant) build(ctx context.Context, t *testing.T, root string) (binary string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(root, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s has this %d times, want once: %s", m.file, n, m.old)
	}
	changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(changed, []byte(strings.Replace(string(source), m.old, m.new, 1)))
	data, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	write(overlay, data)
	binary = filepath.Join(dir, "explore.test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// TestMutants plants each fault, and checks that the explorer finds it. It also checks that the explorer
// finds nothing in the same scope, to the same depth, without the fault.
func TestMutants(t *testing.T) {
	if !*full {
		t.Skip("takes long: run it by make explore")
	}
	root, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	measured, controls := newTable("faults"), map[string]int{}
	for _, m := range mutants {
		if !strings.Contains(m.name, *planted) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			o := runExplorer(t.Context(), t, m.build(t.Context(), t, root), "-one", m.scope, "-fair", strconv.Itoa(fairOf[m.scope]), "-within", "10m")
			if o.bad == "" {
				t.Fatalf("not found: %d states to depth %d", o.states, o.depth)
			}
			t.Logf("depth %d, %d states, %v: %s", o.depth, o.states, o.took.Round(10*time.Millisecond), o.bad)
			if o.depth > controls[m.scope] {
				sc := scopeNamed(t, m.scope)
				sc.Fair = fairOf[m.scope]
				if f := Explore(sc, Limits{Depth: o.depth}); f.Bad != "" {
					t.Fatalf("found without the fault, too: %s\n%s", f.Bad, Transcript(sc, f))
				}
				controls[m.scope] = o.depth
			}
			depth := strconv.Itoa(o.depth)
			if o.then {
				depth += ", then fairly"
			}
			measured.set(m.name, "`"+m.file+"`", m.scope, depth, strconv.Itoa(o.states), text2(o.bad))
		})
	}
	measured.write(t)
}

func text2(bad string) string { return strings.ReplaceAll(bad, "|", ",") }

// TestPlantedText checks that each fault can be planted: the text that it replaces occurs once.
func TestPlantedText(t *testing.T) {
	for _, m := range mutants {
		source, err := os.ReadFile(filepath.Join("..", "..", "..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), m.old); n != 1 {
			t.Errorf("%s: %s has this %d times, want once: %s", m.name, m.file, n, m.old)
		}
	}
}
