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

package report

import (
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// Series describes a plot of a metric against a number: it has the case for each number.
type Series struct {
	File, Title, X, Y string
	Cases             map[int]string
	Metric            string
	LogY              bool
}

// Plot writes plots of the series and of the distributions as SVG into a folder. It skips what was not
// measured.
func (r *Results) Plot(dir string, series []Series) error {
	for _, s := range series {
		if err := r.plotSeries(dir, s); err != nil {
			return err
		}
	}
	var drawn []string
	for _, d := range r.distributions {
		if slices.Contains(drawn, d.Case) {
			continue
		}
		drawn = append(drawn, d.Case)
		if err := r.plotDistribution(dir, d.Case); err != nil {
			return err
		}
	}
	return nil
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.BackgroundColor = color.White
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.Add(plotter.NewGrid())
	return p
}

func save(p *plot.Plot, dir, file string) error {
	return p.Save(20*vg.Centimeter, 12*vg.Centimeter, filepath.Join(dir, file+".svg"))
}

func (r *Results) plotSeries(dir string, s Series) error {
	var subjects []string
	for _, result := range r.all {
		if result.Metric == s.Metric && result.Value != nil && !slices.Contains(subjects, result.Subject) {
			for _, name := range s.Cases {
				if name == result.Case {
					subjects = append(subjects, result.Subject)
					break
				}
			}
		}
	}
	p, drawn := newPlot(s.Title, s.X, s.Y), 0
	ticks := make([]plot.Tick, 0, len(s.Cases))
	for n := range s.Cases {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: strconv.Itoa(n)})
	}
	slices.SortFunc(ticks, func(a, b plot.Tick) int { return int(a.Value - b.Value) })
	for i, subject := range subjects {
		var points plotter.XYs
		for _, tick := range ticks {
			v, ok := r.Value(s.Cases[int(tick.Value)], subject, s.Metric)
			if ok && (v > 0 || !s.LogY) {
				points = append(points, plotter.XY{X: tick.Value, Y: v})
			}
		}
		if len(points) < 2 {
			continue // The subject was not run, or is measured only for comparison.
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, dots.Color, dots.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		line.Width, line.Dashes = vg.Points(1.2), plotutil.Dashes(i/len(plotutil.SoftColors))
		p.Add(line, dots)
		p.Legend.Add(subject, line, dots)
		drawn++
	}
	if drawn == 0 {
		return nil
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.ConstantTicks(ticks)
	if s.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	} else {
		p.Y.Min = 0
	}
	beside(p)
	return save(p, dir, s.File)
}

// beside places the legend to the right of the lines.
func beside(p *plot.Plot) {
	p.Legend.Left = false
	if _, ok := p.X.Scale.(plot.LogScale); ok {
		p.X.Max = math.Pow(10, math.Log10(p.X.Max)+0.45*math.Log10(p.X.Max/p.X.Min))
		return
	}
	p.X.Max += 0.45 * (p.X.Max - p.X.Min)
}

// plotDistribution draws the cumulative distribution of a latency.
func (r *Results) plotDistribution(dir, name string) error {
	p := newPlot("Latency of "+name, "ms", "part of the cycles that took no longer")
	i := 0
	for _, d := range r.distributions {
		if d.Case != name || len(d.Samples) < 2 {
			continue
		}
		var points plotter.XYs
		for q := 0.0; q < 0.995; q += 0.01 {
			if v := Quantile(d.Samples, q); v > 0 {
				points = append(points, plotter.XY{X: v, Y: q})
			}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color, line.Width, line.Dashes = plotutil.Color(i), vg.Points(1.2), plotutil.Dashes(i/len(plotutil.SoftColors))
		p.Add(line)
		p.Legend.Add(d.Subject, line)
		i++
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Legend.ThumbnailWidth = vg.Points(20)
	beside(p)
	return save(p, dir, "latency-"+name)
}
