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

package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// unwell is how long the API server has to be out of reach before the plugin says so, and before
// a wait that ends is taken for the fault of the server and not of the lock.
const unwell = 1500 * time.Millisecond

// noAnswer is the trouble of a request that was sent and not answered.
const noAnswer = "no answer"

// server is what the requests of this program tell of the API server. It is safe for
// concurrent use.
type server struct {
	mu      sync.Mutex // protects the fields below
	address string
	sent    map[*http.Request]time.Time // requests without an answer yet
	heard   time.Time                   // when the last answer came
	failed  time.Time                   // when the first request failed after that; zero if none has
	reason  string                      // why the last one failed
}

// transport notes how the requests fare that next sends.
func (s *server) transport(next http.RoundTripper) http.RoundTripper {
	return &listening{next: next, server: s}
}

type listening struct {
	next   http.RoundTripper
	server *server
}

// RoundTrip implements http.RoundTripper.
func (l *listening) RoundTrip(req *http.Request) (*http.Response, error) {
	l.server.send(req)
	resp, err := l.next.RoundTrip(req)
	l.server.answered(req, resp, err)
	return resp, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (l *listening) WrappedRoundTripper() http.RoundTripper { return l.next }

func (s *server) send(req *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent == nil {
		s.sent = map[*http.Request]time.Time{}
	}
	s.address = req.URL.Scheme + "://" + req.URL.Host
	s.sent[req] = time.Now()
}

func (s *server) answered(req *http.Request, resp *http.Response, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent, now := s.sent[req], time.Now()
	delete(s.sent, req)
	var reason string
	switch {
	case err != nil && errors.Is(req.Context().Err(), context.Canceled):
		return // It was not waited for.
	case err != nil && (errors.Is(err, context.DeadlineExceeded) || isTimeout(err)):
		if now.Sub(sent) < unwell {
			return // So was this one, but for a moment.
		}
		reason = noAnswer
	case err != nil:
		reason = reasonOf(err)
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= http.StatusInternalServerError:
		reason = "it answers " + resp.Status
	default:
		s.heard, s.failed = now, time.Time{}
		return
	}
	if s.failed.IsZero() {
		s.failed = now
		if reason == noAnswer {
			s.failed = sent
		}
	}
	s.reason = reason
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// reasonOf is why a connection failed, without what differs between attempts.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// trouble is what has been wrong with the API server for long enough to tell; empty if
// nothing is.
func (s *server) trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.failed.IsZero() && now.Sub(s.failed) >= unwell {
		return s.reason
	}
	for _, sent := range s.sent {
		if sent.After(s.heard) && now.Sub(sent) >= unwell {
			return noAnswer
		}
	}
	return ""
}

// outOfReach is the error of a wait that has ended because of the API server; nil if that
// answers. The wait may have been shorter than what shows as trouble.
func (s *server) outOfReach() error {
	reason := s.trouble()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case reason != "":
	case !s.failed.IsZero():
		reason = s.reason
	case s.heard.IsZero() && s.address != "":
		reason = noAnswer
	default:
		return nil
	}
	return fmt.Errorf("the API server %s cannot be reached: %s", s.address, reason)
}

func (s *server) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}
