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

// Command seededruntime writes a file for go build's -overlay. A program that is built with it is deterministic
// within a bubble of testing/synctest.
//
// Go's runtime makes random choices, and accepts no seed for them: which of several ready channels a select
// takes, where a range over a map begins, and which of two timers fires first that are due at the same instant.
// It also preempts a goroutine after some milliseconds of real time. With the overlay, the choices in a bubble
// follow from the bubble's time, maps hash equally in each process, and a goroutine is preempted only after a
// minute. The overlay is for tests only: an attacker who knows how maps hash can make them slow.
//
// The order of large maps whose keys are pointers remains random.
//
// The command takes a folder, writes its files there, and prints the path of the file for -overlay.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// change is a change of one file of Go's source. Each replaced text occurs in it once.
type change struct {
	file  string
	texts []text
}

type text struct{ old, new string }

var changes = []change{
	{"runtime/synctest.go", []text{
		{"type synctestBubble struct {", `// draw returns a number that follows from the bubble's time and from how many were drawn
// since the time has changed, so that one more or less, as of what is done once in a
// process, changes little; or chance outside of any bubble.
//
//go:nosplit
func (gp *g) draw() uint32 {
	b := gp.bubble
	if b == nil {
		return cheaprand()
	}
	if b.drawnAt != b.now {
		b.drawnAt = b.now
		b.drawn = uint32(uint64(b.now)*0x9e3779b97f4a7c15>>32) | 1
	}
	b.drawn ^= b.drawn << 13
	b.drawn ^= b.drawn >> 17
	b.drawn ^= b.drawn << 5
	return b.drawn
}

type synctestBubble struct {
	drawn   uint32 // never 0, once anything was drawn
	drawnAt int64`},
	}},
	{"runtime/select.go", []text{{"cheaprandn(uint32(norder + 1))", "getg().draw() % uint32(norder+1)"}}},
	{"runtime/time.go", []text{{"t.rand = cheaprand()", "t.rand = getg().draw()"}}},
	// The start of a range is a seeded choice. The hash seed of a new map is constant, because the number of
	// maps may depend on the contents of sync.Pools.
	{"internal/runtime/maps/runtime.go", []text{{"func rand() uint64", `func rand() uint64

//go:linkname iterRand
func iterRand() uint64`}}},
	{"internal/runtime/maps/table.go", []text{
		{"it.entryOffset = rand()", "it.entryOffset = iterRand()"},
		{"it.dirOffset = rand()", "it.dirOffset = iterRand()"},
	}},
	{"runtime/rand.go", []text{
		{"func maps_rand() uint64 {", `func maps_rand() uint64 {
	if b := getg().bubble; b != nil {
		return uint64(b.now) * 0x9e3779b97f4a7c15
	}`},
		{"// mrandinit initializes", `//go:linkname maps_iterRand internal/runtime/maps.iterRand
func maps_iterRand() uint64 {
	if gp := getg(); gp.bubble != nil {
		return uint64(gp.draw())<<32 | uint64(gp.draw())
	}
	return rand()
}

// mrandinit initializes`},
		{"globalRand.state.Init(*seed)", "globalRand.state.Init([32]byte{})"}, // The hash of maps depends on it.
	}},
	{"runtime/proc.go", []text{{"const forcePreemptNS = 10 * 1000 * 1000", "const forcePreemptNS = 60 * 1000 * 1000 * 1000"}}},
}

func main() {
	flag.Usage = func() { fmt.Fprintln(os.Stderr, "usage: seededruntime DIR") }
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	path, err := write(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "seededruntime:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}

func write(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	root, err := exec.CommandContext(context.Background(), "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src")
	replace := map[string]string{}
	for _, c := range changes {
		original := filepath.Join(source, c.file)
		code, err := c.apply(original)
		if err != nil {
			return "", err
		}
		replace[original] = filepath.Join(dir, strings.ReplaceAll(c.file, "/", "_"))
		if err := os.WriteFile(replace[original], code, 0o600); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, overlay, 0o600)
}

func (c change) apply(path string) ([]byte, error) {
	code, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	changed := string(code)
	for _, t := range c.texts {
		if n := strings.Count(changed, t.old); n != 1 {
			return nil, fmt.Errorf("%s of %s has %q %d times, want once: this knows the runtime of Go 1.26; "+
				"use that (GOTOOLCHAIN=go1.26.8), or see what the newer one does instead and change it here", path, runtime.Version(), t.old, n)
		}
		changed = strings.Replace(changed, t.old, t.new, 1)
	}
	return []byte(changed), nil
}
