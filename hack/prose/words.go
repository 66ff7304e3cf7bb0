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
	"go/scanner"
	"go/token"
	"regexp"
	"strings"
)

// rule is a way to write that this project avoids, and what to write instead.
type rule struct {
	pattern *regexp.Regexp
	instead string
}

// rules are applied to one paragraph at a time, without code.
var rules = []rule{
	{words(`(some|no|any|every)body|who(m)?ever`), "name the role: holder, waiter, client, caller, reaper, account"},
	{regexp.MustCompile(`(?:^|[.;:!?)] +)Who [^?.]*(?:[.;:]|$)`), `give "who" a noun: a client that ...`},
	{words(`(that|so|but|than|because|since|if|when|while|then|until|for|to) who`), `give "who" a noun: a client that ...`},
	{words(`for ever`), "without end, or say for how long"},
	{words(`(give|gives|gave|giving) way`), "back off"},
	{words(`look(s|ed|ing)? after`), "watch, or check; say what is checked"},
	{words(`hand(s|ed|ing)? (it |them |one |this |the lock |a lock |locks )?on`), "hand over"},
	{words(`(go|goes|going|went) around`), "say what is repeated"},
	{words(`(be|is|are|was|were|been) told`), "say who learns what, and how"},
	{words(`lets? in`), "accept, or admit; say what"},
	{words(`([0-9]+|one|two|three|once|twice|requests?|acquisitions?|cycles|bytes|[KMG]i?B|B) an? (second|minute|hour|day|week|month|year|cycle|lease|lock|key|hold|client|caller|waiter|release|increment|object|machine)`), `"per" instead of "a"`},
	{regexp.MustCompile(`(?i)(\bor|[,;]) else\b`), "otherwise"},
}

func words(alternatives string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(?:` + alternatives + `)\b`)
}

// finding is one violation of a rule in a file.
type finding struct {
	path string
	line int
	text string
}

// paragraph is text that belongs together, without line breaks.
type paragraph struct {
	line int // the line of its beginning
	text string
}

// judge returns the findings in a file's paragraphs.
func judge(path string, paragraphs []paragraph) []finding {
	var found []finding
	for _, p := range paragraphs {
		for _, r := range rules {
			for _, match := range r.pattern.FindAllString(p.text, -1) {
				found = append(found, finding{path, p.line, quote(match) + ": " + r.instead})
			}
		}
	}
	return found
}

func quote(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return `"` + s + `"`
}

var (
	codeSpan = regexp.MustCompile("`[^`]*`")
	comment  = regexp.MustCompile(`(?s)<!--.*?-->`)
	// newItem begins a paragraph of its own: an item of a list, a row of a table, a quotation.
	newItem = regexp.MustCompile(`^\s*([*+-]|\d+\.|[|>#]) ?`)
)

// ofMarkdown returns the paragraphs of a document, without its code.
func ofMarkdown(text string) []paragraph {
	var paragraphs []paragraph
	inFence, open := false, false
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			inFence, open = !inFence, false
			continue
		case inFence, !open && strings.HasPrefix(line, "    "), trimmed == "":
			open = false
			continue
		case newItem.MatchString(line):
			open = false
			trimmed = newItem.ReplaceAllString(line, "")
		}
		if open {
			paragraphs[len(paragraphs)-1].text += " " + trimmed
			continue
		}
		paragraphs = append(paragraphs, paragraph{line: i + 1, text: trimmed})
		open = true
	}
	for i, p := range paragraphs {
		paragraphs[i].text = codeSpan.ReplaceAllString(comment.ReplaceAllString(p.text, ""), "`code`")
	}
	return paragraphs
}

// ofScript returns the comments of a file whose comments begin with #: YAML, shell, make. Only comments on
// lines of their own count.
func ofScript(text string) []paragraph {
	var paragraphs []paragraph
	open := false
	for i, line := range strings.Split(text, "\n") {
		body, isComment := strings.CutPrefix(strings.TrimSpace(line), "#")
		body = strings.TrimSpace(body)
		switch {
		case !isComment || body == "" || strings.HasPrefix(body, "!"):
			open = false
		case open:
			paragraphs[len(paragraphs)-1].text += " " + body
		default:
			paragraphs = append(paragraphs, paragraph{line: i + 1, text: body})
			open = true
		}
	}
	return paragraphs
}

// ofGo returns the comments of Go code. Successive lines make one paragraph.
func ofGo(src []byte) []paragraph {
	var paragraphs []paragraph
	set := token.NewFileSet()
	file := set.AddFile("", set.Base(), len(src))
	var s scanner.Scanner
	s.Init(file, src, func(token.Position, string) {}, scanner.ScanComments)
	last := -1
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			return paragraphs
		}
		if tok != token.COMMENT {
			continue
		}
		begin := set.Position(pos).Line
		body, isLine := strings.CutPrefix(text, "//")
		if !isLine || strings.HasPrefix(body, "go:") || strings.HasPrefix(body, "nolint") {
			continue // The licence, or a directive for a tool.
		}
		body = strings.TrimSpace(body)
		if begin == last+1 && body != "" && !strings.HasPrefix(body, "- ") && len(paragraphs) > 0 {
			paragraphs[len(paragraphs)-1].text += " " + body
		} else {
			paragraphs = append(paragraphs, paragraph{line: begin, text: body})
		}
		last = begin
	}
}
