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

package engine

import (
	"testing"

	"github.com/go-logr/logr"
)

// TestUnseenCallsCostNothing checks that a call without a name and without a tracing allocates nothing for them.
func TestUnseenCallsCostNothing(t *testing.T) {
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey("k")
	if err != nil {
		t.Fatal(err)
	}
	h := &Hold{as: m.names.unnamed}
	var none *tracing
	ctx := t.Context()
	allocations := testing.AllocsPerRun(100, func() {
		for _, try := range []bool{true, false} {
			span := none.start(ctx, "kubelock.acquire", key, "", attrTry.Bool(try))
			none.endAcquire(ctx, span, key, "", try, h, nil)
		}
		if m.series("", logr.Discard()) != h.as || h.startRelease(ctx) != nil || h.Under(ctx) != ctx {
			t.Error("an unseen call is seen")
		}
		endRelease(nil, nil)
		endApply(nil, nil)
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}
