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

// TimeMode says what clients know about the API server's time.
type TimeMode uint8

// The modes.
const (
	NoTime TimeMode = iota // nothing: clients judge expiry by observation only
	Told                   // all clients know the server's time
	Hinted                 // each answer has a hint, and the answer to a write has the server's stamp
	Misled                 // as Hinted, but the hints are wrong
)

// precision is the width of the interval in which a client knows the server's time to be.
const precision = time.Second

// wrongBy is the error of wrong hints.
const wrongBy = 30 * time.Second

// knows has a client's knowledge of the server's time. It is a session.ServerTime. The server's clock and
// the monotonic clocks of all clients run equally. The wall clocks of nodes are far apart.
type knows struct {
	hinted, told bool
	wrong        bool          // whether hints are wrong
	node         time.Duration // by how much the node's own clock is ahead
}

func (k knows) Stamp(now time.Time) protocol.Stamp {
	switch {
	case k.told:
		return protocol.Stamp{Time: now.Add(precision), Source: protocol.Server}
	case k.hinted && k.wrong:
		return protocol.Stamp{Time: now.Add(-wrongBy), Source: protocol.Server}
	case k.hinted:
		return protocol.Stamp{Time: now.Add(2 * precision), Source: protocol.Server}
	}
	return protocol.Stamp{Time: now.Add(k.node), Source: protocol.Node}
}

func (k knows) Judge(now time.Time, maxClockSkew time.Duration) protocol.Judge {
	j := protocol.Judge{Now: now, MaxClockSkew: maxClockSkew}
	if k.told {
		j.ServerTime = now
	}
	return j
}

func (k knows) Guess(now time.Time, maxClockSkew time.Duration) protocol.Judge {
	j := k.Judge(now, maxClockSkew)
	switch {
	case k.hinted && k.wrong:
		j.ServerTime = now.Add(wrongBy)
	case k.hinted:
		j.ServerTime = now
	}
	return j
}

func (k knows) ToldBounds(now time.Time) (lower, upper time.Time, ok bool) {
	if !k.told {
		return time.Time{}, time.Time{}, false
	}
	return now, now.Add(precision), true
}

func (k knows) Covers(stamp protocol.Stamp, sent time.Time) bool {
	if stamp.Source != protocol.Server {
		return true
	}
	return k.told && !sent.Add(precision).After(stamp.Time)
}

func (k knows) Fresh(time.Time) bool { return true }
