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

package explore

import (
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// judge returns the judge of the reaper.
func (w *world) judge() protocol.Judge {
	j := protocol.Judge{Now: w.now(), MaxClockSkew: w.cfgs[0].MaxClockSkew}
	if w.sc.Time != NoTime {
		j.ServerTime = w.now()
	}
	return j
}

// reaps reports whether an action of the reaper is due.
func (w *world) reaps() bool {
	r := w.server.obj
	if !r.Exists() || r.Terminating {
		return false
	}
	if r.Holder != nil {
		expired, _ := w.judge().Expired(r, w.seen)
		return expired
	}
	grantable, _ := w.judge().Grantable(r, w.seen)
	return grantable && len(r.Waiters) > 0
}

func (w *world) reap() {
	w.commit(func(s *server) {
		r, stamp := s.obj, protocol.Stamp{Time: w.now().Add(precision), Source: protocol.Server}
		if w.sc.Time == NoTime {
			stamp = protocol.Stamp{Time: w.now().Add(-time.Hour), Source: protocol.Node}
		}
		var err error
		if r.Holder != nil {
			r, err = protocol.Expire(r, nil, stamp)
		} else {
			r, err = protocol.Grant(r, stamp)
		}
		if err != nil {
			w.violatedf("the reaper: %v", err)
		}
		s.put(r)
	})
}
