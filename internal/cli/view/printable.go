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

package view

import (
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// printable replaces what would move the cursor, or otherwise control a terminal: keys and
// identities may be any text.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// cells is how many columns of a terminal a rune takes.
func cells(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	if kind := width.LookupRune(r).Kind(); kind == width.EastAsianWide || kind == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// fit cuts or pads text to so many columns.
func fit(text string, columns int) string {
	text = printable(text)
	all := 0
	for _, r := range text {
		all += cells(r)
	}
	if all <= columns {
		return text + strings.Repeat(" ", columns-all)
	}
	used := 0
	for i, r := range text {
		if used+cells(r) > columns-1 {
			return text[:i] + "…" + strings.Repeat(" ", max(columns-1-used, 0))
		}
		used += cells(r)
	}
	return text
}

// OneLine is text that others have written as one line and one column.
func OneLine(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return strconv.Quote(text)
	}
	return text
}
