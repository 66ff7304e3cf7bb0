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
	"bytes"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// shown is a lock with everything that a description has.
func shown() Lock {
	return Lock{
		Kind: "DistributedLocks", Namespace: "ns", Name: "k", Key: "a/Key", Resource: "distributedlocks.kubelock.dev", Version: "7",
		Holder: &Holder{
			Identity: "bad\x1b[31mname\nHolder: nobody", Pod: "pod-1", LockID: "id-2", Token: 9, Duration: "30s",
			AcquireTime: noon.Add(-time.Minute), RenewTime: noon.Add(-10 * time.Second), ExpireTime: noon.Add(20 * time.Second),
		},
		Waiters:     []Waiter{{1, "first", "id-3", "30s"}, {2, "second", "id-4", "1m0s"}},
		LastRelease: &Release{Identity: "before", LockID: "id-1", Token: 5, Time: noon.Add(-time.Minute), Reason: "Released"},
		Transitions: 2, Value: []byte(`{"n":3}`),
	}
}

func TestDescription(t *testing.T) {
	d := Description{
		Lock:   shown(),
		Holds:  []PastHold{{"id-1", "before", noon.Add(-2 * time.Minute), noon.Add(-time.Minute), "Released"}},
		Events: []Event{{"Warning", "HolderExpired", "one\nline", noon.Add(-3 * time.Second)}},
	}
	const holder = `Holder:      "bad\x1b[31mname\nHolder: nobody"
  Pod:       pod-1
  Lock ID:   id-2
  Token:     9
  Held for:  60s
  Renewed:   10s ago
  Lease:     30s, expires in 20s
`
	const lock = `Key:         a/Key
Namespace:   ns
Object:      distributedlocks.kubelock.dev/k
` + holder + `Waiters:
  1. first     (lock ID id-3, wants it for 30s)
  2. second    (lock ID id-4, wants it for 1m0s)
Last release:  Released, 60s ago, of the hold of before (token 5, lock ID id-1)
Holds so far:  2
Value:
  {
    "n": 3
  }
`
	compare := func(name, want string, write func(out *bytes.Buffer) error) {
		t.Helper()
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s is\n%s, want\n%s", name, out.String(), want)
		}
	}
	compare("all", lock+`Last holds:  2m ago                       now
  before     ━━━━━━━━━━━━━━━━━···············  60s, Released
Events:
  Warning  HolderExpired  3s ago  "one\nline"
`, func(out *bytes.Buffer) error { return d.Write(out, noon) })
	d.HoldsUnknown, d.EventsUnknown = "no permission to watch", "no permission to list"
	compare("what is known", lock+`Last holds:  <unknown>: no permission to watch
Events:      <unknown>: no permission to list
`, func(out *bytes.Buffer) error { return d.Write(out, noon) })
	compare("the hold", `Key:         a/Key
Namespace:   ns
`+holder+`Next:        first, first of 2
`, func(out *bytes.Buffer) error { return DescribeHold(out, shown(), noon) })
	resting := shown()
	resting.Resting, resting.Waiters = true, nil
	compare("a rest", `Key:        a/Key
Namespace:  ns
Holder:     <none>
  Resting:  after the hold of "bad\x1b[31mname\nHolder: nobody", for 30s, ends in 20s
  Lock ID:  id-2
Next:       <none>
`, func(out *bytes.Buffer) error { return DescribeHold(out, resting, noon) })
}
