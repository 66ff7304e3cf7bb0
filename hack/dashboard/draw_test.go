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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
)

// picture is what the tests read of an SVG file.
type picture struct {
	Texts  []svgText  `xml:"text"`
	Panels []svgPanel `xml:"g"`
}

type svgPanel struct {
	ID        string `xml:"id,attr"`
	Transform string `xml:"transform,attr"`
	Name      string `xml:"title"`
	Queries   string `xml:"desc"`
	Rects     []struct {
		Width  float64 `xml:"width,attr"`
		Height float64 `xml:"height,attr"`
	} `xml:"rect"`
	Texts []svgText `xml:"text"`
	Paths []struct {
		Class string `xml:"class,attr"`
		D     string `xml:"d,attr"`
	} `xml:"path"`
}

type svgText struct {
	Class string  `xml:"class,attr"`
	X     float64 `xml:"x,attr"`
	Text  string  `xml:",chardata"`
}

func parse(t *testing.T, text []byte) picture {
	t.Helper()
	var p picture
	if err := xml.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// texts returns what a panel says in a class.
func (p svgPanel) texts(class string) []string {
	var all []string
	for _, text := range p.Texts {
		if slices.Contains(strings.Fields(text.Class), class) {
			all = append(all, text.Text)
		}
	}
	return all
}

func (p svgPanel) lines() []string {
	var all []string
	for _, path := range p.Paths {
		if path.Class == "line" {
			all = append(all, path.D)
		}
	}
	return all
}

var minute = span{from: time.Unix(1000, 0), to: time.Unix(1060, 0), step: 10 * time.Second}

// values makes a series with a value at each step of minute.
func values(legend string, values ...float64) series {
	s := series{legend: legend}
	for i, v := range values {
		s.points = append(s.points, point{at: float64(1000 + 10*i), value: v})
	}
	return s
}

func testPanel(id int, title, unit string, x, y, w, h int, series ...series) drawn {
	d := drawn{panel: panel{ID: id, Title: title, Targets: []target{{Expr: "a < b"}, {Expr: "c"}}}, series: series}
	d.GridPos.X, d.GridPos.Y, d.GridPos.W, d.GridPos.H = x, y, w, h
	d.FieldConfig.Defaults.Unit, d.FieldConfig.Defaults.Min = unit, new(float64(0))
	return d
}

func drawnOf(t *testing.T, panels ...drawn) picture {
	t.Helper()
	var b bytes.Buffer
	draw(&b, "heading & more", []string{"made from <this>"}, minute, panels)
	return parse(t, b.Bytes())
}

func TestPanelsAreAtTheirPositions(t *testing.T) {
	p := drawnOf(t, testPanel(1, "one", "s", 0, 0, 12, 8), testPanel(2, "two <&>", "s", 12, 0, 6, 4), testPanel(3, "three", "ops", 0, 8, 24, 8))
	want := []struct {
		title, at     string
		width, height float64
	}{
		{"one", "translate(16,82)", 532, 240},
		{"two <&>", "translate(556,82)", 262, 116},
		{"three", "translate(16,330)", 1072, 240},
	}
	if len(p.Panels) != len(want) {
		t.Fatalf("there are %d panels", len(p.Panels))
	}
	for i, w := range want {
		g := p.Panels[i]
		if g.Transform != w.at || g.Rects[0].Width != w.width || g.Rects[0].Height != w.height {
			t.Errorf("%q is at %s with %v, want %+v", w.title, g.Transform, g.Rects[0], w)
		}
		if got := g.texts("title"); g.Name != w.title || len(got) != 1 || got[0] != w.title {
			t.Errorf("the panel %q is named %q, and says %q", w.title, g.Name, got)
		}
		if g.Queries != "a < b\nc" {
			t.Errorf("the queries of %q are %q", w.title, g.Queries)
		}
	}
	said := make([]string, 0, len(p.Texts))
	for _, text := range p.Texts {
		said = append(said, text.Text)
	}
	if want := []string{"heading & more", "made from <this>"}; !slices.Equal(said, want) {
		t.Errorf("above the panels is %q, want %q", said, want)
	}
}

func TestPanelWithoutDataSaysSo(t *testing.T) {
	p := drawnOf(t,
		testPanel(1, "no series", "s", 0, 0, 12, 8),
		testPanel(2, "no value", "s", 0, 8, 12, 8, values("a", math.NaN(), math.Inf(1))),
		testPanel(3, "zero", "s", 0, 16, 12, 8, values("a", 0, 0)))
	for i, want := range []bool{true, true, false} {
		g := p.Panels[i]
		if got := slices.Contains(g.texts("none"), "No data"); got != want {
			t.Errorf("the panel %q says that it has no data: %v, want %v", g.Name, got, want)
		}
		if got := len(g.lines()) == 0; got != want {
			t.Errorf("the panel %q has no line: %v, want %v", g.Name, got, want)
		}
	}
}

func TestLinesAreWhereTheValuesAre(t *testing.T) {
	p := drawnOf(t, testPanel(1, "p", "s", 0, 0, 12, 8,
		values("whole", 0, 0.4, 0.2, 0.2, 0.2, 0.2, 0.2), values("broken", 0.4, math.NaN(), 0.2, 0.2)))
	g := p.Panels[0]
	// The plot is from 78 to 520 across, and from 34 to 194 down: a title, a row of the legend, and times.
	want := []string{
		"M78.0 194.0h0L151.7 34.0L225.3 114.0L299.0 114.0L372.7 114.0L446.3 114.0L520.0 114.0",
		"M78.0 34.0h0M225.3 114.0h0L299.0 114.0",
	}
	if got := g.lines(); !slices.Equal(got, want) {
		t.Errorf("the lines are\n%q, want\n%q", got, want)
	}
	if got, want := g.texts("legend"), []string{"whole", "broken"}; !slices.Equal(got, want) {
		t.Errorf("the legend has %q, want %q", got, want)
	}
	if got, want := g.texts("end"), []string{"0 s", "100 ms", "200 ms", "300 ms", "400 ms"}; !slices.Equal(got, want) {
		t.Errorf("the axis has %q, want %q", got, want)
	}
	if got, want := g.texts("mid"), []string{"00:16:50", "00:17:00", "00:17:10", "00:17:20", "00:17:30"}; !slices.Equal(got, want) {
		t.Errorf("the times are %q, want %q", got, want)
	}
}

// TestLongLegendStaysInThePanel checks that a legend has as many rows as it needs.
func TestLongLegendStaysInThePanel(t *testing.T) {
	all := make([]series, 0, 9)
	for i := range cap(all) {
		all = append(all, values(fmt.Sprint("a rather long name of number ", i), 1))
	}
	g := drawnOf(t, testPanel(1, "p", "s", 0, 0, 12, 8, all...)).Panels[0]
	if got := len(g.texts("legend")); got != len(all) {
		t.Errorf("the legend has %d names", got)
	}
	for _, text := range g.Texts {
		if slices.Contains(strings.Fields(text.Class), "legend") && text.X+characterWidth*float64(len(text.Text)) > g.Rects[0].Width {
			t.Errorf("%q begins at %v", text.Text, text.X)
		}
	}
}

// TestPictureIsOfTheDashboard fails if the dashboard has changed since the picture was drawn.
func TestPictureIsOfTheDashboard(t *testing.T) {
	root, err := assets.Root()
	if err != nil {
		t.Fatal(err)
	}
	board, err := readDashboard(filepath.Join(root, dashboardFile))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, pictureFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(text) >= 300<<10 {
		t.Errorf("the picture has %d KB", len(text)>>10)
	}
	// The same panels without data have the same frames.
	empty := make([]drawn, 0, len(board.Panels))
	for _, p := range board.Panels {
		empty = append(empty, drawn{panel: p})
	}
	got, want := parse(t, text).Panels, drawnOf(t, empty...).Panels
	frame := func(p svgPanel) string {
		return fmt.Sprintf("%s %q at %s, %v:\n%s", p.ID, p.Name, p.Transform, p.Rects[:1], p.Queries)
	}
	for i := range max(len(got), len(want)) {
		var in, of string
		if i < len(got) {
			in = frame(got[i])
		}
		if i < len(want) {
			of = frame(want[i])
		}
		if in != of {
			t.Errorf("%s shows\n%s\nand the dashboard has\n%s\nRun make dashboard-picture.", pictureFile, in, of)
		}
	}
}
