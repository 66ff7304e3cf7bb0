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
	"fmt"
	"math"
	"strconv"
	"time"
)

// format writes a value with its unit as Grafana does. An unknown unit is an error.
func format(unit string, v float64) (string, error) {
	switch unit {
	case "short", "":
		return thousands(v), nil
	case "ops":
		return thousands(v) + " ops/s", nil
	case "s":
		switch size := math.Abs(v); {
		case size == 0 || size >= 1 && size < 60:
			return digits(v) + " s", nil
		case size < 1e-3:
			return digits(v*1e6) + " µs", nil
		case size < 1:
			return digits(v*1e3) + " ms", nil
		default:
			return digits(v/60) + " min", nil
		}
	default:
		return "", fmt.Errorf("hack/dashboard does not know the unit %q: extend format", unit)
	}
}

func thousands(v float64) string {
	switch size := math.Abs(v); {
	case size >= 1e6:
		return digits(v/1e6) + " Mil"
	case size >= 1e3:
		return digits(v/1e3) + " K"
	default:
		return digits(v)
	}
}

// digits writes a number with at most three significant digits.
func digits(v float64) string {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	if err != nil { // What FormatFloat writes can always be read.
		panic(err)
	}
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}

// scale is a vertical axis: its ends, and the distance of its lines.
type scale struct{ low, high, step float64 }

// scaleOf returns an axis for a panel's values. least is the lower end if it is not nil.
func scaleOf(all []series, least *float64) scale {
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range all {
		for _, p := range s.points {
			if p.finite() {
				low, high = min(low, p.value), max(high, p.value)
			}
		}
	}
	if low > high {
		low, high = 0, 1
	}
	if least != nil {
		low, high = *least, max(high, *least)
	}
	if low == high {
		high = low + 1
	}
	step := roundStep((high - low) / 5)
	return scale{low: math.Floor(low/step) * step, high: math.Ceil(high/step-1e-9) * step, step: step}
}

// roundStep returns the least of 1, 2 and 5 times a power of ten that is not below v.
func roundStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= v*(1-1e-9) {
			return factor * power
		}
	}
	return 10 * power
}

// timeStep returns the distance of the marks of a time axis with at most seven of them.
func timeStep(length time.Duration) time.Duration {
	steps := []time.Duration{5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute}
	for _, step := range steps {
		if length/step < 7 {
			return step
		}
	}
	return (length / 7).Truncate(time.Hour) + time.Hour
}
