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
	"strings"
	"time"
)

// Slots is how many slots a row of bars has.
const Slots = 12

// levels are the heights of a bar; the first is that of nothing.
var levels = []rune("·▁▂▃▄▅▆▇█")

// Bars draws a bar for each slot, of which the greatest has the full height.
func Bars[N int64 | time.Duration](of [Slots]N) string {
	greatest := N(0)
	for _, n := range of {
		greatest = max(greatest, n)
	}
	var text strings.Builder
	for _, n := range of {
		height := 0
		if n > 0 { // Something is more than nothing, however little it is.
			height = 1 + int(float64(n)/float64(greatest)*float64(len(levels)-2))
		}
		text.WriteRune(levels[height])
	}
	return text.String()
}
