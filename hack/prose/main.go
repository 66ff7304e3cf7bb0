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

// Command prose checks the project's documents and comments. It finds words that the project does not use
// (words.go), and references to files, headings, tests and targets of make that do not exist (references.go).
// It reads the files in the current folder that git tracks or would track.
//
// Text that is older than these rules is exempt: hack/prose/baseline.txt has a count per file. With -update
// the counts become the current ones, unless there would be more findings in all. After adding a rule, delete
// the file first. With -all every finding is printed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
)

const baselineFile = "hack/prose/baseline.txt"

func main() {
	update := flag.Bool("update", false, "Lower the counts in "+baselineFile+" to what they are now.")
	all := flag.Bool("all", false, "Print the findings that the baseline allows, too.")
	flag.Parse()
	if err := run(context.Background(), *update, *all); err != nil {
		fmt.Fprintln(os.Stderr, "prose:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, update, all bool) error {
	out, err := exec.CommandContext(ctx, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	files := os.DirFS(".")
	var paths []string
	for p := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if info, err := fs.Stat(files, p); err == nil && info.Mode().IsRegular() {
			paths = append(paths, p)
		}
	}
	wording, references, err := examine(files, paths)
	if err != nil {
		return err
	}

	before, err := load()
	if err != nil {
		return err
	}
	if update {
		return store(before, wording)
	}
	over, fewer := before.exceeded(wording)
	if all {
		over = wording
	}
	for _, f := range append(over, references...) {
		fmt.Fprintf(os.Stderr, "%s:%d: %s\n", f.path, f.line, f.text)
	}
	if len(over)+len(references) > 0 {
		return fmt.Errorf("%d findings; CONTRIBUTING.md has the rules for words", len(over)+len(references))
	}
	if fewer > 0 {
		fmt.Fprintf(os.Stderr, "prose: %d findings fewer than %s has: lower it by go run ./hack/prose -update\n", fewer, baselineFile)
	}
	return nil
}

// examine returns the wrong words and the wrong references in the files.
func examine(files fs.FS, paths []string) (wording, references []finding, err error) {
	r, err := newRepository(files, paths)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range paths {
		base := path.Base(p)
		if strings.HasPrefix(base, "zz_generated") || strings.Contains(p, "testdata/") || strings.HasPrefix(p, "hack/prose/") || strings.HasPrefix(p, "charts/kubelock/files/") || p == "docs/reference.md" {
			continue
		}
		switch path.Ext(base) {
		case ".md":
			text, err := fs.ReadFile(files, p)
			if err != nil {
				return nil, nil, err
			}
			wording = append(wording, judge(p, ofMarkdown(string(text)))...)
			references = append(references, r.check(p, string(text))...)
		case ".go", ".yaml", ".yml", ".sh", ".txt", ".json", "":
			text, err := fs.ReadFile(files, p)
			if err != nil {
				return nil, nil, err
			}
			switch path.Ext(base) {
			case ".go":
				wording = append(wording, judge(p, ofGo(text))...)
			case ".yaml", ".yml", ".sh", "": // Makefile, Dockerfile and the like, too.
				wording = append(wording, judge(p, ofScript(string(text)))...)
			}
			references = append(references, r.checkOther(p, text)...)
		}
	}
	return wording, references, nil
}

func load() (baseline, error) {
	f, err := os.Open(baselineFile)
	if errors.Is(err, fs.ErrNotExist) {
		return baseline{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // Nothing is lost: the file was only read.
	b, err := readBaseline(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", baselineFile, err)
	}
	return b, nil
}

func store(before baseline, wording []finding) error {
	after, err := before.next(wording)
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := after.write(&text); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "prose: %d findings in %d files, before %d in %d\n", after.total(), len(after), before.total(), len(before))
	return os.WriteFile(baselineFile, []byte(text.String()), 0o644)
}
