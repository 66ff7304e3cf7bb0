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

package store

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
)

const (
	goodHolder = `{"identity":"me","client":"c","lockID":"c-1","token":3,"acquireTime":"2026-01-02T03:04:05.000000Z","renewTime":"2026-01-02T03:04:05.000000Z","duration":"30s"}`
	waiterText = "w-1 30s waits"
)

// annotatedObjects are a Lease and a ConfigMap with these annotations.
func annotatedObjects(annotations map[string]string) map[Kind]Object {
	meta := metav1.ObjectMeta{Name: "k", UID: "u", ResourceVersion: "7", Labels: map[string]string{v1alpha1.LockLabel: marked}, Annotations: annotations}
	return map[Kind]Object{Leases: &coordinationv1.Lease{ObjectMeta: meta}, ConfigMaps: &corev1.ConfigMap{ObjectMeta: meta}}
}

// TestQueuesThatNoClientWrote reads queues of annotations with names and numbers that no
// client wrote: they keep no client from joining, in a place behind all that can be read, nor from
// being taken out, and what is written can be read again.
func TestQueuesThatNoClientWrote(t *testing.T) {
	entry := func(number any) string { return fmt.Sprintf("%s%v-w-1", waiterAnnotation, number) }
	for name, tc := range map[string]struct {
		annotations map[string]string
		readable    int
		next        uint64 // number of who joins then
	}{
		"nothing":                    {nil, 0, 1},
		"as it should be":            {map[string]string{lastWaiterAnnotation: "6", entry(5): waiterText, entry(7): waiterText}, 2, 8},
		"the largest number noted":   {map[string]string{lastWaiterAnnotation: strconv.FormatUint(math.MaxUint64, 10), entry(5): waiterText}, 1, 6},
		"63 bits noted":              {map[string]string{lastWaiterAnnotation: strconv.Itoa(math.MaxInt64)}, 0, 1},
		"nonsense noted":             {map[string]string{lastWaiterAnnotation: "many"}, 0, 1},
		"less than none noted":       {map[string]string{lastWaiterAnnotation: "-1"}, 0, 1},
		"a waiter with 63 bits":      {map[string]string{entry(math.MaxInt64): waiterText, entry(5): waiterText}, 1, 6},
		"a waiter without a number":  {map[string]string{entry("x"): waiterText, entry(5): waiterText}, 1, 6},
		"a waiter with less than 0":  {map[string]string{entry(-3): waiterText, entry(5): waiterText}, 1, 6},
		"a waiter without a name":    {map[string]string{waiterAnnotation: waiterText, entry(5): waiterText}, 1, 6},
		"the last number that is":    {map[string]string{entry(maxWaiterNumber): waiterText}, 1, 1},
		"the last number that noted": {map[string]string{lastWaiterAnnotation: strconv.Itoa(maxWaiterNumber)}, 0, 1},
	} {
		for kind, obj := range annotatedObjects(tc.annotations) {
			r, err := kind.Decode(obj)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			readable := slices.DeleteFunc(slices.Clone(r.Waiters), func(text string) bool {
				_, ok := protocol.ParseWaiter(text)
				return !ok
			})
			if len(readable) != tc.readable {
				t.Errorf("%s: the queue is %q, want %d that can be read", name, r.Waiters, tc.readable)
			}
			var p patch
			annotatedEnqueue(&p, &metav1.ObjectMeta{Annotations: tc.annotations, Labels: map[string]string{v1alpha1.LockLabel: marked}}, "n-1 1s new")
			if want := fmt.Sprintf("waiter-%d-n-1", tc.next); !strings.Contains(fmt.Sprint(p), want) {
				t.Errorf("%s: joins with %v, want %s", name, p, want)
			}
			// A client takes the lock out of the whole queue, and puts an entry into it.
			next := r
			next.Waiters = []string{"n-1 1s new"}
			next.Holder = &protocol.Holder{Identity: "me", Client: "c", LockID: "c-1", Duration: time.Second, RenewTime: time.Unix(1e9, 0)}
			back, err := kind.Decode(kind.Encode(next))
			if err != nil || !slices.Equal(back.Waiters, next.Waiters) || back.Holder == nil {
				t.Errorf("%s: wrote the queue %q, read %q of %+v, %v", name, next.Waiters, back.Waiters, back.Holder, err)
			}
		}
	}
}

// TestAnnotationsThatCannotBeWrittenBack checks that what is read as a lock can be stored
// again, and that anything else is refused with the name of the annotation.
func TestAnnotationsThatCannotBeWrittenBack(t *testing.T) {
	with := func(old, changed string) string { return strings.Replace(goodHolder, old, changed, 1) }
	for name, holder := range map[string]string{
		"no JSON":            "{",
		"a list":             "[]",
		"no client":          with(`"client":"c",`, ``),
		"no label":           with(`"client":"c"`, `"client":"a/b"`),
		"a long client":      with(`"client":"c"`, `"client":"`+strings.Repeat("c", 64)+`"`),
		"a long lock ID":     with(`"c-1"`, `"`+strings.Repeat("c", 64)+`"`),
		"a long identity":    with(`"me"`, `"`+strings.Repeat("i", 254)+`"`),
		"no duration":        with(`"30s"`, `"0s"`),
		"a negative one":     with(`"30s"`, `"-30s"`),
		"one too large":      with(`"30s"`, `"9999999999h"`),
		"a negative token":   with(`:3`, `:-3`),
		"a token of 64 bits": with(`:3`, `:18446744073709551615`),
		"no renewal":         with(`"renewTime":"2026-01-02T03:04:05.000000Z",`, ``),
	} {
		for kind, obj := range annotatedObjects(map[string]string{holderAnnotation: holder}) {
			if r, err := kind.Decode(obj); err == nil || !strings.Contains(err.Error(), holderAnnotation) {
				t.Errorf("%s: read as %+v, %v", name, r.Holder, err)
			}
		}
	}
	// What is counted can be wrong without harm.
	for _, transitions := range []string{"-1", strconv.Itoa(math.MinInt64), strconv.Itoa(math.MaxInt64)} {
		obj := annotatedObjects(map[string]string{transitionsAnnotation: transitions, holderAnnotation: goodHolder})[ConfigMaps]
		r, err := ConfigMaps.Decode(obj)
		if err != nil || r.Transitions < 0 {
			t.Fatalf("%s transitions are read as %d, %v", transitions, r.Transitions, err)
		}
		next, err := protocol.Take(r, protocol.Claim{Identity: "n", Client: "n", LockID: "n-1", Duration: time.Second}, 0, protocol.Stamp{Time: time.Unix(1e9, 0)})
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ConfigMaps.Decode(ConfigMaps.Encode(next)); err != nil || back.Transitions < r.Transitions {
			t.Errorf("%s transitions became %d, %v", transitions, back.Transitions, err)
		}
	}
}

// TestForeignLeases reads the Leases of electors whose fields are missing or out of range.
func TestForeignLeases(t *testing.T) {
	for name, tc := range map[string]struct {
		spec coordinationv1.LeaseSpec
		want time.Duration
	}{
		"nothing but a holder":  {coordinationv1.LeaseSpec{}, unknownLease},
		"no seconds":            {coordinationv1.LeaseSpec{LeaseDurationSeconds: new(int32(0))}, unknownLease},
		"negative seconds":      {coordinationv1.LeaseSpec{LeaseDurationSeconds: new(int32(-15)), LeaseTransitions: new(int32(-1))}, unknownLease},
		"sixty-eight years":     {coordinationv1.LeaseSpec{LeaseDurationSeconds: new(int32(math.MaxInt32)), LeaseTransitions: new(int32(math.MaxInt32))}, protocol.MaxDuration},
		"as it should be":       {coordinationv1.LeaseSpec{LeaseDurationSeconds: new(int32(20))}, 20 * time.Second},
		"renewed in a far year": {coordinationv1.LeaseSpec{RenewTime: new(metav1.NewMicroTime(time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)))}, unknownLease},
	} {
		tc.spec.HolderIdentity = new("elector")
		obj := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "k", UID: "u", ResourceVersion: "7"}, Spec: tc.spec}
		r, err := Leases.Decode(obj)
		if err != nil || r.Holder == nil || !r.Holder.Foreign() || r.Holder.Duration != tc.want || r.Transitions < 0 {
			t.Errorf("%s: read as %+v, %v", name, r.Holder, err)
			continue
		}
		next, err := protocol.Take(r, protocol.Claim{Identity: "n", Client: "n", LockID: "n-1", Duration: time.Second}, 0, protocol.Stamp{Time: time.Unix(1e9, 0)})
		if err != nil {
			t.Fatal(err)
		}
		written := Leases.Encode(next).(*coordinationv1.Lease)
		if n := *written.Spec.LeaseTransitions; n < 0 || *written.Spec.LeaseDurationSeconds <= 0 {
			t.Errorf("%s: wrote %+v", name, written.Spec)
		}
		if back, err := Leases.Decode(written); err != nil || !back.HeldBy("n-1", 8) {
			t.Errorf("%s: wrote %+v, read %+v, %v", name, next.Holder, back.Holder, err)
		}
	}
}

// FuzzAnnotations checks that what is read as a lock can be written, and is the same then.
func FuzzAnnotations(f *testing.F) {
	f.Add(goodHolder, "3", "7", "7-w-1", waiterText)
	f.Add("", "-1", "9223372036854775807", "9223372036854775807-x", "x y z")
	f.Fuzz(func(t *testing.T, holder, transitions, last, name, text string) {
		annotations := map[string]string{holderAnnotation: holder, transitionsAnnotation: transitions, lastWaiterAnnotation: last, waiterAnnotation + name: text}
		maps.DeleteFunc(annotations, func(_, text string) bool { return text == "" })
		obj := annotatedObjects(annotations)[ConfigMaps]
		r, err := ConfigMaps.Decode(obj)
		if err != nil {
			return
		}
		back, err := ConfigMaps.Decode(ConfigMaps.Encode(r))
		if err != nil {
			t.Fatalf("%q was read as %+v, and that cannot be read: %v", annotations, r, err)
		}
		if !slices.Equal(back.Waiters, r.Waiters) || back.Transitions != r.Transitions || (back.Holder == nil) != (r.Holder == nil) ||
			back.Holder != nil && (back.Holder.LockID != r.Holder.LockID || back.Holder.Duration != r.Holder.Duration || back.Holder.Token != r.Holder.Token) {
			t.Errorf("%q was read as %+v (%+v) and that as %+v (%+v)", annotations, r, r.Holder, back, back.Holder)
		}
	})
}

// TestLongestHoldInALease keeps the hold of a client in a Lease whose duration is the longest that
// there is, as a person may have written it: it stays that client's.
func TestLongestHoldInALease(t *testing.T) {
	r := protocol.Record{Name: "k", Holder: &protocol.Holder{
		Identity: "me", Client: "c", LockID: "c-1", Token: 3, Source: protocol.Server,
		AcquireTime: time.Unix(1, 0), RenewTime: time.Unix(1, 0), Duration: math.MaxInt64,
	}}
	obj := Leases.Encode(r)
	if seconds := *obj.(*coordinationv1.Lease).Spec.LeaseDurationSeconds; seconds != math.MaxInt32 {
		t.Errorf("leaseDurationSeconds is %d", seconds)
	}
	got, err := Leases.Decode(obj)
	if err != nil {
		t.Fatal(err)
	}
	if h := got.Holder; h.Foreign() || h.Duration != r.Holder.Duration {
		t.Errorf("the holder is %+v", h)
	}
}

// TestTokensGoOnAfterAnElector has an elector take a Lease over from a hold of a copied lock, whose token is far above the versions of this
// cluster, and die or release it: the next token is greater. Where there is no greater one, there is an error.
func TestTokensGoOnAfterAnElector(t *testing.T) {
	t.Parallel()
	at := metav1.NewMicroTime(time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC))
	for _, token := range []int64{5_000_000, math.MaxInt64} {
		for _, identity := range []string{"elector", ""} {
			lease := annotatedObjects(map[string]string{holderAnnotation: strings.Replace(goodHolder, `"token":3`, fmt.Sprintf(`"token":%d`, token), 1)})[Leases].(*coordinationv1.Lease)
			lease.Spec.HolderIdentity, lease.Spec.RenewTime = &identity, &at
			r, err := Leases.Decode(lease)
			if err != nil {
				t.Fatal(err)
			}
			next, err := protocol.NextToken(r)
			if token == math.MaxInt64 && err == nil || token < math.MaxInt64 && (err != nil || next <= token) {
				t.Errorf("after the token %d and the elector %q the next one is %d, %v", token, identity, next, err)
			}
		}
	}
}
