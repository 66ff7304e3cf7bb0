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
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"unicode"
)

// longest has the largest number of lines of documents that newcomers read first. In Go code only lines of
// comments count.
var longest = map[string]int{"README.md": 150, "ARCHITECTURE.md": 120, "pkg/kubelock/doc.go": 60}

// repository has everything to which documents may refer.
type repository struct {
	files   fs.FS
	targets map[string]bool // targets of make
	tests   map[string]bool // test functions
}

var (
	target   = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz|Example)\w*)\(`)
)

// newRepository reads the headings, targets and tests of the files. paths has all files.
func newRepository(files fs.FS, paths []string) (*repository, error) {
	r := &repository{files: files, targets: map[string]bool{}, tests: map[string]bool{}}
	for _, p := range paths {
		into, pattern := r.tests, testFunc
		if p == "Makefile" {
			into, pattern = r.targets, target
		} else if !strings.HasSuffix(p, "_test.go") {
			continue
		}
		text, err := fs.ReadFile(files, p)
		if err != nil {
			return nil, err
		}
		for _, m := range pattern.FindAllSubmatch(text, -1) {
			into[string(m[1])] = true
		}
	}
	return r, nil
}

func (r *repository) exists(name string) bool {
	_, err := fs.Stat(r.files, path.Clean(name))
	return err == nil
}

var (
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced = regexp.MustCompile("(?ms)^\\s*```.*?^\\s*```") //nolint:gocritic // A fence is at the beginning of a line.
	span   = regexp.MustCompile("`([^`\n]+)`")
	inRepo = regexp.MustCompile(`^(?:api|charts|cmd|config|controllers|dist|docs|examples|hack|internal|pkg|\.github|\.ci)/[\w./-]*\w$`)
	aTest  = regexp.MustCompile(`^Test[A-Z]\w*$`)
	aMake  = regexp.MustCompile(`(?:^|\s)make ([a-z][a-z-]*)`)
	aDoc   = regexp.MustCompile(`\b(?:docs/[\w/-]+|[A-Z]{4,}[A-Z_]*)\.md\b`)
	// commentLine is a line of a comment that is not the licence.
	commentLine = regexp.MustCompile(`(?m)^//`)
	heading     = regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
)

// check returns the wrong references of a document: links to missing files and headings, and missing files,
// tests and targets of make that it names as code. It also reports a document that is too long.
func (r *repository) check(name, text string) []finding {
	var found []finding
	missing := func(at int, what string) {
		found = append(found, finding{name, 1 + strings.Count(text[:at], "\n"), what})
	}
	if lines, most := strings.Count(text, "\n"), longest[name]; most > 0 && lines > most {
		missing(0, fmt.Sprintf("has %d lines, more than %d", lines, most))
	}
	prose := blank(text, fenced)
	for _, m := range link.FindAllStringSubmatchIndex(blank(prose, span), -1) {
		to := text[m[2]:m[3]]
		if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
			continue
		}
		file, anchor, _ := strings.Cut(to, "#")
		file = path.Join(path.Dir(name), file)
		if path.Base(to) == to && strings.HasPrefix(to, "#") {
			file = name
		}
		switch {
		case !r.exists(file):
			missing(m[2], "links to "+to+", which does not exist")
		case anchor != "" && !r.hasHeading(file, anchor):
			missing(m[2], "links to "+to+", where no heading is called so")
		}
	}
	for _, m := range span.FindAllStringSubmatchIndex(prose, -1) {
		switch code := text[m[2]:m[3]]; {
		case inRepo.MatchString(code) && !r.exists(code):
			missing(m[2], "names "+code+", which does not exist")
		case aTest.MatchString(code) && !r.tests[code]:
			missing(m[2], "names "+code+", and there is no such test")
		}
	}
	for _, code := range append(fenced.FindAllStringIndex(text, -1), span.FindAllStringIndex(prose, -1)...) {
		for _, m := range aMake.FindAllStringSubmatch(strings.Trim(text[code[0]:code[1]], "`"), -1) {
			if !r.targets[m[1]] {
				missing(code[0], "names make "+m[1]+", and there is no such target")
			}
		}
	}
	return found
}

// checkOther returns the references of a file that is no document to missing documents.
func (r *repository) checkOther(name string, text []byte) []finding {
	var found []finding
	if lines, most := len(commentLine.FindAll(text, -1)), longest[name]; most > 0 && lines > most {
		found = append(found, finding{name, 1, fmt.Sprintf("has %d lines of comments, more than %d", lines, most)})
	}
	for _, m := range aDoc.FindAllIndex(text, -1) {
		if m[0] > 0 && text[m[0]-1] == '/' {
			continue // The name is part of a longer address.
		}
		if doc := string(text[m[0]:m[1]]); !r.exists(doc) {
			found = append(found, finding{name, 1 + bytes.Count(text[:m[0]], []byte("\n")), "names " + doc + ", which does not exist"})
		}
	}
	return found
}

// blank overwrites each match with spaces, so that the positions of all other text stay the same.
func blank(text string, what *regexp.Regexp) string {
	return what.ReplaceAllStringFunc(text, func(s string) string {
		return strings.Map(func(c rune) rune {
			if c == '\n' {
				return c
			}
			return ' '
		}, strings.ToValidUTF8(asBytes(s), " "))
	})
}

// asBytes returns s with one character for each of its bytes.
func asBytes(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 0x80 {
			b[i] = '?'
		}
	}
	return string(b)
}

func (r *repository) hasHeading(file, anchor string) bool {
	text, err := fs.ReadFile(r.files, file)
	if err != nil || !strings.HasSuffix(file, ".md") {
		return false
	}
	for _, m := range heading.FindAllStringSubmatch(blank(string(text), fenced), -1) {
		if slug(m[1]) == anchor {
			return true
		}
	}
	return false
}

// slug returns the name that GitHub gives a heading in addresses.
func slug(title string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == ' ':
			return '-'
		case c == '-' || c == '_' || unicode.IsLetter(c) || unicode.IsDigit(c):
			return unicode.ToLower(c)
		}
		return -1
	}, title)
}
