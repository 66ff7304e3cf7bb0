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
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestWords has text with a finding, and text without one.
func TestWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Somebody else has the lock.":                              "Somebody",
		"The lock is taken by\nwhoever comes first.":               "whoever",
		"Who releases the lock reads it once.":                     "Who releases",
		"Locks are kept for ever.":                                 "for ever",
		"The client gives way to others.":                          "gives way",
		"It looks after the lock.":                                 "looks after",
		"The holder hands it on.":                                  "hands it on",
		"Callers go around 1,000 keys.":                            "go around",
		"The caller is told.":                                      "is told",
		"It lets in one client.":                                   "lets in",
		"It sends 10 a second.":                                    "10 a second",
		"Use another key, or else fail.":                           "or else",
		"It is known that who joins appends.":                      "that who",
		"| a cell | somebody |":                                    "somebody",
		"* an item: twice a lease":                                 "twice a lease",
		"Who holds the lock? The client that wrote it.":            "",
		"`somebody` is code, and so is\n\n```\nwhoever\n```":       "",
		"It shows who holds the lock, and hands over to a waiter.": "",
		"The kernel writes a lock, and nothing else.":              "",
	} {
		found := judge("a.md", ofMarkdown(text))
		if want == "" && len(found) > 0 || want != "" && (len(found) != 1 || !strings.Contains(found[0].text, want)) {
			t.Errorf("%q: found %v, want %q", text, found, want)
		}
	}
}

// TestComments checks that words are found in comments of Go, also across the ends of lines, and not in code.
func TestComments(t *testing.T) {
	t.Parallel()
	src := "package p\n\nconst s = \"somebody\" // nobody\n\n// f is kept for\n// ever.\n//go:noinline\nfunc f() {}\n"
	found := judge("a.go", ofGo([]byte(src)))
	if len(found) != 2 || found[0].line != 3 || found[1].line != 5 || !strings.Contains(found[1].text, "for ever") {
		t.Errorf("found %v", found)
	}
}

// TestScriptComments checks that words are found in comments of YAML, also across the ends of lines.
func TestScriptComments(t *testing.T) {
	t.Parallel()
	src := "#!/bin/whoever\n# It is kept for\n# ever.\nsomebody: nobody # anybody\n  # whoever\n"
	found := judge("a.yaml", ofScript(src))
	if len(found) != 2 || found[0].line != 2 || found[1].line != 5 {
		t.Errorf("found %v", found)
	}
}

// TestReferences has a document with correct references, and documents with wrong ones.
func TestReferences(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"Makefile":            {Data: []byte("test: build\n")},
		"docs/a.md":           {Data: []byte("# A title, with `code`\n\n[b](../b.md), [here](#a-title-with-code), `make test`, `TestOne`, `pkg/x_test.go`\n")},
		"README.md":           {Data: []byte(strings.Repeat("text\n", 151))},
		"pkg/kubelock/doc.go": {Data: []byte("/*\nA licence.\n*/\n\n" + strings.Repeat("// text\n", 61) + "package kubelock\n")},
		"b.md":                {Data: []byte("ä [a](docs/a.md#a-title-with-code) [web](https://example.com/x.md#y)\n```\n[no](link)\n```\n")},
		"pkg/x_test.go":       {Data: []byte("package x\n\nfunc TestOne(t *testing.T) {}\n\n// See docs/a.md.\n")},
		"docs/wrong/all.md":   {Data: []byte("[a](a.md)\n[b](../a.md#b)\n`make tset`\n`TestTwo`\n`pkg/y.go`\n```sh\nmake chaso\n```\n")},
		"config/wrong.yaml":   {Data: []byte("# See docs/c.md, and https://example.com/docs/c.md.\n")},
		"docs/testdata/x.md":  {Data: []byte("[a](nowhere)\n")},
	}
	_, found, err := examine(files, slices.Sorted(maps.Keys(files)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range found {
		got[f.path]++
	}
	if len(got) != 4 || got["README.md"] != 1 || got["pkg/kubelock/doc.go"] != 1 || got["docs/wrong/all.md"] != 6 || got["config/wrong.yaml"] != 1 {
		t.Errorf("found %v", found)
	}
}

// TestBaseline checks that counts may shrink, but not grow.
func TestBaseline(t *testing.T) {
	t.Parallel()
	b, err := readBaseline(strings.NewReader("# A comment.\n2 a.md\n1 b.go\n"))
	if err != nil {
		t.Fatal(err)
	}
	at := func(path string) finding { return finding{path, 1, "x"} }
	if over, fewer := b.exceeded([]finding{{"a.md", 1, "x"}, {"a.md", 2, "x"}}); len(over) != 0 || fewer != 1 {
		t.Errorf("within the counts: %v, %d fewer", over, fewer)
	}
	if over, _ := b.exceeded([]finding{at("b.go"), at("b.go"), at("new.md")}); len(over) != 3 {
		t.Errorf("more than before: %v", over)
	}
	if _, err := b.next([]finding{at("a.md"), at("a.md"), at("c.md"), at("c.md")}); err == nil {
		t.Error("the baseline has grown")
	}
	after, err := b.next([]finding{at("moved.md")})
	if err != nil || len(after) != 1 || after["moved.md"] != 1 {
		t.Errorf("after: %v, %v", after, err)
	}
	var text strings.Builder
	if err := after.write(&text); err != nil || !strings.HasSuffix(text.String(), "\n1 moved.md\n") {
		t.Errorf("%q, %v", text.String(), err)
	}
	if _, err := readBaseline(strings.NewReader("many a.md\n")); err == nil {
		t.Error("a count that is none was taken")
	}
}
