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

package controllers

import (
	"context"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
)

// summaryInterval is how often the log says how many unused locks were deleted. The log has a
// line per lock only at verbosity 1: programs that use each lock once would flood it.
const summaryInterval = time.Minute

// summary counts deleted locks for the log. It is safe for concurrent use.
type summary struct {
	deleted atomic.Int64
}

// report logs how many locks were deleted since its last line: each summaryInterval, and when
// ctx ends. It logs nothing if none were.
func (s *summary) report(ctx context.Context, resource string) {
	logger := log.FromContext(ctx)
	since := time.Now()
	show := func() {
		now := time.Now()
		if n := s.deleted.Swap(0); n > 0 {
			logger.Info("Deleted locks that were not used for their objectExpiry", "resource", resource, "count", n, "within", now.Sub(since).Round(time.Second).String())
		}
		since = now
	}
	ticker := time.NewTicker(summaryInterval)
	defer ticker.Stop()
	defer show()
	for {
		select {
		case <-ticker.C:
			show()
		case <-ctx.Done():
			return
		}
	}
}
