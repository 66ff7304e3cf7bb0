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
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// The sizes of the picture, in pixels.
const (
	column, row     = 45, 31 // of Grafana's grid, which has 24 columns
	columns         = 24
	gap             = 8 // between panels
	margin          = 12
	header          = 78
	padding         = 12
	titleHeight     = 34
	axisWidth       = 78
	axisHeight      = 20
	legendRow       = 18
	characterWidth  = 6.6 // of the legend: an estimate for sans-serif fonts
	legendKeyWidth  = 18
	legendSeparator = 16
)

// colours differ for readers with each kind of colour blindness.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#555555"}

const style = `text{font-family:Inter,"Helvetica Neue",Helvetica,Arial,"DejaVu Sans",sans-serif;font-size:12px;fill:#4a4f57}
.title{font-size:14px;font-weight:600;fill:#1f2328}.heading{font-size:20px;font-weight:600;fill:#1f2328}
.none{font-size:16px;fill:#8a9099}.end{text-anchor:end}.mid{text-anchor:middle}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}`

// canvas writes an SVG file. Writes to a buffer do not fail.
type canvas struct{ *bytes.Buffer }

func (c canvas) putf(format string, args ...any) { fmt.Fprintf(c, format+"\n", args...) }

// text writes a text at a position, with the class of its style.
func (c canvas) text(class string, x, y float64, text string) {
	c.putf(`<text class="%s" x="%.0f" y="%.0f">%s</text>`, class, x, y, escape(text))
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // Writes to a Builder do not fail.
	return b.String()
}

// draw writes all panels at their positions.
func draw(to *bytes.Buffer, heading string, subtitle []string, over span, panels []drawn) {
	c := canvas{to}
	bottom := 0
	for _, p := range panels {
		bottom = max(bottom, p.GridPos.Y+p.GridPos.H)
	}
	width, height := columns*column+2*margin, header+bottom*row+margin
	c.putf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`, width, height, width, height)
	c.putf("<title>The dashboard %s</title>\n<style>%s</style>", escape(heading), style)
	c.putf(`<rect width="%d" height="%d" fill="#f1f3f5"/>`, width, height)
	c.text("heading", margin+gap/2, 30, heading)
	for i, line := range subtitle {
		c.text("subtitle", margin+gap/2, float64(50+17*i), line)
	}
	for _, p := range panels {
		c.panel(p, over)
	}
	c.putf("</svg>")
}

// size returns the width and the height of a panel.
func (p panel) size() (width, height float64) {
	return float64(p.GridPos.W*column - gap), float64(p.GridPos.H*row - gap)
}

// panel draws a panel with its queries as the description, by which a test finds that a picture is old.
func (c canvas) panel(p drawn, over span) {
	width, height := p.size()
	c.putf(`<g class="panel" id="panel-%d" transform="translate(%d,%d)">`, p.ID, margin+p.GridPos.X*column+gap/2, header+p.GridPos.Y*row+gap/2)
	c.putf("<title>%s</title>\n<desc>%s</desc>", escape(p.Title), escape(p.queries()))
	c.putf(`<rect width="%.0f" height="%.0f" rx="3" fill="#ffffff" stroke="#d0d5da"/>`, width, height)
	c.text("title", padding, 22, p.Title)
	if slices.ContainsFunc(p.series, series.hasData) {
		bottom := c.legend(p.series, width, height)
		c.plot(p, over, box{left: axisWidth, top: titleHeight, right: width - padding, bottom: bottom - axisHeight})
	} else {
		c.text("none mid", width/2, height/2, "No data")
	}
	c.putf("</g>")
}

// queries returns the expressions of a panel, one per line, as the dashboard has them.
func (p panel) queries() string {
	all := make([]string, 0, len(p.Targets))
	for _, t := range p.Targets {
		all = append(all, t.Expr)
	}
	return strings.Join(all, "\n")
}

// legend draws the names of the series at the bottom of a panel, and returns where the legend begins.
func (c canvas) legend(all []series, width, height float64) (top float64) {
	type place struct{ x, row float64 }
	places := make([]place, 0, len(all))
	x, rows := float64(padding), 0.0
	for _, s := range all {
		needed := legendKeyWidth + characterWidth*float64(len([]rune(s.legend)))
		if x > padding && x+needed > width-padding {
			x, rows = padding, rows+1
		}
		places = append(places, place{x, rows})
		x += needed + legendSeparator
	}
	top = height - (rows+1)*legendRow - 8
	for i, s := range all {
		at, y := places[i], top+(places[i].row+1)*legendRow-3
		c.putf(`<rect x="%.0f" y="%.0f" width="12" height="4" fill="%s"/>`, at.x, y-6, colour(i))
		c.text("legend", at.x+legendKeyWidth, y, s.legend)
	}
	return top
}

func colour(i int) string { return colours[i%len(colours)] }

// box is the place of a plot within its panel.
type box struct{ left, top, right, bottom float64 }

// plot draws axes and lines.
func (c canvas) plot(p drawn, over span, in box) {
	defaults := p.FieldConfig.Defaults
	axis := scaleOf(p.series, defaults.Min)
	from, length := float64(over.from.UnixMilli())/1000, over.to.Sub(over.from)
	x := func(at float64) float64 { return in.left + (at-from)/length.Seconds()*(in.right-in.left) }
	y := func(v float64) float64 { return in.bottom - (v-axis.low)/(axis.high-axis.low)*(in.bottom-in.top) }

	for i := range int(math.Round((axis.high-axis.low)/axis.step)) + 1 {
		v := axis.low + float64(i)*axis.step
		label, err := format(defaults.Unit, v)
		if err != nil { // readDashboard has checked the units.
			panic(err)
		}
		c.putf(`<path d="M%.1f %.1fH%.1f" stroke="#e6e9ec"/>`, in.left, y(v), in.right)
		c.text("end", in.left-8, y(v)+4, label)
	}
	step := timeStep(length)
	for at := over.from.Truncate(step).Add(step); !at.After(over.to); at = at.Add(step) {
		px := x(float64(at.Unix()))
		c.putf(`<path d="M%.1f %.1fV%.1f" stroke="#e6e9ec"/>`, px, in.top, in.bottom)
		if px < in.right-15 { // The label is within the panel.
			c.text("mid", px, in.bottom+16, at.UTC().Format(time.TimeOnly))
		}
	}
	for i, s := range p.series {
		c.line(s.points, over.step, colour(i), x, y)
	}
}

// line draws a series. It is interrupted where a step has no value. A value between two such steps is a dot.
func (c canvas) line(points []point, step time.Duration, colour string, x, y func(float64) float64) {
	var d strings.Builder
	last := math.Inf(-1)
	for _, p := range points {
		if !p.finite() {
			continue
		}
		px, py := x(p.at), y(p.value)
		if p.at-last > 1.5*step.Seconds() {
			fmt.Fprintf(&d, "M%.1f %.1fh0", px, py)
		} else {
			fmt.Fprintf(&d, "L%.1f %.1f", px, py)
		}
		last = p.at
	}
	if d.Len() > 0 {
		c.putf(`<path class="line" stroke="%s" d="%s"/>`, colour, d.String())
	}
}
