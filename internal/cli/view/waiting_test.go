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
	"testing"
	"time"
)

func TestWaiting(t *testing.T) {
	for want, w := range map[string]Waiting{
		`waiting for "k"`: {Key: "k", Queued: 3},
		`waiting for "k": held by "a\x1b" for 60s, place 2 of 3 in the queue`: {Key: "k", Held: true, Holder: "a\x1b", HeldSince: noon.Add(-time.Minute), Place: 2, Queued: 3},
	} {
		if got := w.Text(noon); got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	}
}
