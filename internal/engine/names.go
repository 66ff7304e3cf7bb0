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
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// MaxNames is how many different names of calls a client tells apart in its metrics. Each has some
	// 90 series, with all buckets and results.
	MaxNames = 64
	// OtherName is the name in the metrics of calls whose name is one too many. No caller can have it.
	OtherName = "_other"
)

// names are the names that callers have given to their calls.
type names struct {
	unnamed *series // of calls without a name; constant

	mu     sync.Mutex // protects the fields below
	byName map[string]*series
	other  *series // of names above MaxNames; nil before the first
}

// series is where calls of one name are counted.
type series struct {
	name    string // for the metrics
	metrics *metrics
	hold    prometheus.Observer
	renew   prometheus.Observer
	lost    prometheus.Counter
	handed  prometheus.Counter
}

func (m *metrics) newSeries(name string) *series {
	return &series{
		name: name, metrics: m,
		hold:   m.hold.WithLabelValues(name),
		renew:  m.renew.WithLabelValues(name),
		lost:   m.lost.WithLabelValues(name),
		handed: m.handoffs.WithLabelValues(name),
	}
}

// series is where calls of that name are counted. It says once in the log that there are too many names.
func (m *metrics) series(name string, log logr.Logger) *series {
	n := &m.names
	if name == "" {
		return n.unnamed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.byName[name]
	switch {
	case s != nil:
	case len(n.byName) < MaxNames:
		if n.byName == nil {
			n.byName = map[string]*series{}
		}
		s = m.newSeries(name)
		n.byName[name] = s
	default:
		if n.other == nil {
			n.other = m.newSeries(OtherName)
			log.Info("Too many different names of locks for the metrics: the others are counted together. Name kinds of locks, and not keys",
				"max", MaxNames, "name", name, "countedAs", OtherName)
		}
		s = n.other
	}
	return s
}

// acquired notes how long a call took that wanted the lock, and how it ended.
func (s *series) acquired(took time.Duration, err error) {
	s.metrics.acquire.WithLabelValues(resultOf(err), s.name).Observe(took.Seconds())
}

// applied notes how long a call took that wanted to change the state, and how it ended.
func (s *series) applied(took time.Duration, err error) {
	s.metrics.apply.WithLabelValues(resultOf(err), s.name).Observe(took.Seconds())
}
