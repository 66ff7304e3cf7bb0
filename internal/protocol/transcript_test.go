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

package protocol

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the transcripts in testdata as they come out")

// TestTranscripts plays the scripts in testdata, which specify the protocol: each line
// that begins with ">" is somebody's step, and what follows is what came of it.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s comes out as\n%s\nIf that is right, write it: go test ./internal/protocol -run TestTranscripts -rewrite", file, got)
			}
		})
	}
}

// play returns the script with what comes of it. Comments and empty lines stay.
func play(t *testing.T, script string) string {
	t.Helper()
	s := &stage{
		t: t, record: Record{Name: "orders", Key: "orders"}, version: 100, start: epoch,
		seen: map[string]Observation{}, numbers: map[string]uint64{}, tokens: map[string]int64{},
	}
	var out strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		step, isStep := strings.CutPrefix(line, "> ")
		switch {
		case isStep:
			fmt.Fprintf(&out, "> %s\n", step)
			for _, answer := range s.step(strings.Fields(step)) {
				fmt.Fprintf(&out, "    %s\n", answer)
			}
		case line == "", strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
		}
	}
	return out.String()
}

// stage is an object and those who look at it.
type stage struct {
	t       *testing.T
	record  Record
	version int64
	start   time.Time // what "time" shows counts from here; all clocks are right
	now     time.Duration
	seen    map[string]Observation
	numbers map[string]uint64 // of each client's last lock ID
	tokens  map[string]int64  // of each lock ID
}

func (s *stage) stamp() Stamp { return at(s.now) }

func (s *stage) claim(client string, duration time.Duration) Claim {
	return Claim{Identity: client, Client: client, LockID: LockID(client, s.numbers[client]), Duration: duration}
}

// step is one step: who, what, and with what.
func (s *stage) step(words []string) []string {
	who, what, with := words[0], words[1], words[2:]
	if who == "time" {
		s.now += duration(s.t, what)
		return []string{s.now.String()}
	}
	lease := 30 * time.Second
	if i := slices.Index(with, "for"); i >= 0 {
		lease = duration(s.t, with[i+1])
		with = slices.Delete(with, i, i+2)
	}
	change := Change{}
	if i := slices.Index(with, "state"); i >= 0 {
		change = Change{Write: true, Value: &with[i+1]}
	}
	token := s.tokens[s.claim(who, 0).LockID]
	switch what {
	case "looks":
		return s.look(who)
	case "takes":
		s.numbers[who]++
		c := s.claim(who, lease)
		place := s.record.Place(s.isOf(who))
		return s.commit(Take(s.record, c, min(place+1, len(s.record.Waiters)), s.stamp()))
	case "queues":
		s.numbers[who]++
		next := s.record
		next.Waiters = append(slices.Clone(next.Waiters), s.claim(who, lease).Waiter().String())
		return s.commit(next, nil)
	case "leaves":
		next, place := s.record, s.record.Place(s.isOf(who))
		next.Waiters = slices.Delete(slices.Clone(next.Waiters), place, place+1)
		return s.commit(next, nil)
	case "renews":
		return s.commit(Renew(s.record, s.claim(who, lease), token, change, s.stamp()))
	case "releases":
		c := s.claim(who, lease)
		var successor *Claim
		if slices.Contains(with, "again") {
			s.numbers[who]++
			successor = new(s.claim(who, lease))
		}
		if i := slices.Index(with, "rest"); i >= 0 {
			return s.commit(Rest(s.record, c, token, change, duration(s.t, with[i+1]), s.stamp()))
		}
		return s.commit(Release(s.record, c, token, change, successor, s.stamp()))
	case "applies":
		s.numbers[who]++
		return s.commit(Apply(s.record, s.claim(who, lease), change, s.stamp()))
	case "expires":
		return s.commit(Expire(s.record, nil, s.stamp()))
	case "grants":
		return s.commit(Grant(s.record, s.stamp()))
	case "frees":
		next := s.record
		next.Holder = nil
		return s.commit(next, nil)
	case "deletes":
		s.version++
		s.record = Record{Name: "orders", Key: "orders"}
		return []string{fmt.Sprintf("version %d: no object", s.version)}
	}
	s.t.Fatalf("nobody knows how %s %s", who, what)
	return nil
}

func (s *stage) isOf(client string) func(string) bool {
	return func(lockID string) bool { return strings.HasPrefix(lockID, client+"-") }
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(strings.TrimPrefix(text, "+"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// look judges the lock as somebody does who sees it now.
func (s *stage) look(who string) []string {
	now := s.start.Add(s.now)
	s.seen[who] = s.seen[who].Observe(s.record, now)
	judge := Judge{Now: now, ServerTime: now, MaxClockSkew: time.Second}
	place := s.record.Place(s.isOf(who))
	available, wait := judge.Available(s.record, s.seen[who], place)
	if available {
		return []string{fmt.Sprintf("the lock is there for the taking, at place %d", place)}
	}
	return []string{fmt.Sprintf("not before %v, at place %d", s.now+wait, place)}
}

// commit is one version of the object.
func (s *stage) commit(next Record, err error) []string {
	if err != nil {
		return []string{"refused: " + err.Error()}
	}
	s.version++
	if !next.Exists() {
		next.CreateTime = s.start.Add(s.now)
	}
	next.UID, next.ResourceVersion = "uid", strconv.FormatInt(s.version, 10)
	s.record = next
	var b strings.Builder
	fmt.Fprintf(&b, "version %d: ", s.version)
	if h := next.Holder; h == nil {
		b.WriteString("free")
	} else {
		token := h.Token
		if token == 0 {
			token = s.version
			fmt.Fprintf(&b, "held as %s until %v, its token is this version", h.LockID, h.RenewTime.Add(h.Duration).Sub(s.start))
		} else {
			fmt.Fprintf(&b, "held as %s until %v, token %d", h.LockID, h.RenewTime.Add(h.Duration).Sub(s.start), token)
		}
		s.tokens[h.LockID] = token
	}
	if next.Value != nil {
		fmt.Fprintf(&b, ", state %s", *next.Value)
	}
	lines := []string{b.String()}
	if len(next.Waiters) > 0 {
		lines = append(lines, "queue: "+strings.Join(next.Waiters, ", "))
	}
	if l := next.LastRelease; l != nil {
		lines = append(lines, fmt.Sprintf("last: %s as %s at %v", l.LockID, l.Reason, l.Time.Sub(s.start)))
	}
	return lines
}
