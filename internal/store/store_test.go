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
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestObjectsKeepRecords checks that nothing of a record is lost in its object, and
// nothing of what others put into the object.
func TestObjectsKeepRecords(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	full := protocol.Record{
		Name: "k-1", UID: "u", ResourceVersion: "7", Key: "k/1", Value: new(`{"a":1}`), ObjectExpiry: time.Hour,
		Holder: &protocol.Holder{
			Identity: "me", Pod: protocol.Pod{Name: "p", UID: "pu"}, Client: "c", LockID: "l", Token: 6,
			AcquireTime: at, RenewTime: at.Add(time.Second), Source: protocol.Node, Duration: 1500 * time.Millisecond,
		},
		Waiters:     []string{"w1", "w2"},
		LastRelease: &protocol.LastRelease{LockID: "l0", Identity: "you", Token: 5, Time: at, Source: protocol.Server, Reason: protocol.HandedOff},
		Transitions: 9,
	}
	for name, r := range map[string]protocol.Record{
		"full": full,
		"free": {Name: "k", UID: "u", ResourceVersion: "7", Key: "k", Waiters: []string{}},
		"null": {Name: "k", UID: "u", ResourceVersion: "7", Key: "k", Waiters: []string{}, Value: new("null")},
	} {
		back, err := DistributedLocks.Decode(DistributedLocks.Encode(r))
		if err != nil {
			t.Fatal(err)
		}
		back.Stored = nil
		back.CreateTime = r.CreateTime
		if !reflect.DeepEqual(back, r) {
			t.Errorf("%s: wrote %+v, read %+v", name, r, back)
		}
	}

	others := &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{
		Name: "k", UID: "u", ResourceVersion: "7",
		Labels:        map[string]string{"team": "a", v1alpha1.HolderLabel: "old"},
		Annotations:   map[string]string{"note": "b"},
		Finalizers:    []string{"example.com/f"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
	}}
	r := decoded(t, others)
	free := encoded(r)
	if free.Labels["team"] != "a" || free.Annotations["note"] != "b" || len(free.Finalizers) != 1 {
		t.Errorf("the metadata of others became %+v", free.ObjectMeta)
	}
	if _, ok := free.Labels[v1alpha1.HolderLabel]; ok || free.ManagedFields != nil {
		t.Errorf("a free lock is written with the metadata %+v", free.ObjectMeta)
	}
	r.Holder = full.Holder
	if held := encoded(r); held.Labels[v1alpha1.HolderLabel] != "c" || held.Labels["team"] != "a" {
		t.Errorf("a held lock has the labels %v", held.Labels)
	}
	if others.Labels[v1alpha1.HolderLabel] != "old" || len(others.ManagedFields) != 1 {
		t.Error("writing changed the object that was read")
	}
}

// TestEncodeLeavesStored checks that what was read, which others may read too, stays as it
// is when it is written anew, held or free, with state or without.
func TestEncodeLeavesStored(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	holder := &protocol.Holder{Identity: "me", Client: "c", LockID: "l", AcquireTime: at, RenewTime: at, Duration: time.Minute}
	last := &protocol.LastRelease{LockID: "l", Identity: "me", Time: at, Reason: protocol.Released}
	versions := []protocol.Record{
		{Value: new("1"), Holder: holder, Waiters: []string{"w1 c1", "w2 c2"}},
		{Value: new("2"), LastRelease: last, Waiters: []string{"w2 c2", "w3 c3"}, ObjectExpiry: time.Hour},
		{LastRelease: last},
	}
	for _, kind := range []Kind{DistributedLocks, Leases, ConfigMaps} {
		for i, from := range versions {
			from.Name, from.Key, from.UID = "k", "k", "u"
			obj := kind.Encode(from)
			obj.SetFinalizers([]string{"example.com/f"})
			stored, err := kind.Decode(obj)
			if err != nil {
				t.Fatal(err)
			}
			before := obj.DeepCopyObject()
			for j, to := range versions {
				to.Name, to.Key, to.UID, to.Stored = "k", "k", "u", stored.Stored
				written, err := kind.Decode(kind.Encode(to))
				if err != nil || !reflect.DeepEqual(written.Value, to.Value) || (written.Holder == nil) != (to.Holder == nil) {
					t.Errorf("%s: wrote %d over %d, read %+v (%v)", kind.Resource().Resource, j, i, written, err)
				}
				if !reflect.DeepEqual(obj, before) {
					t.Fatalf("%s: writing %d over %d changed it from %+v to %+v", kind.Resource().Resource, j, i, before, obj)
				}
			}
		}
	}
}

// TestHoldTexts checks that holders and last releases in annotations are the JSON of the
// API's types, in both directions, and that what is none is an error as it is there.
func TestHoldTexts(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(1, 0), time.Date(2026, 1, 2, 3, 4, 5, 678901999, time.FixedZone("", 3600))} {
		for _, d := range []time.Duration{1, 1500 * time.Millisecond, 24 * time.Hour} {
			h := &protocol.Holder{
				Identity: `a"b\<é`, Pod: protocol.Pod{Name: "p", UID: "u"}, Client: "c", LockID: "l", Token: 6,
				AcquireTime: at, RenewTime: at.Add(time.Microsecond), Source: protocol.Node, Duration: d,
			}
			sameText(t, encodeHolder(h), toHolder(h), decodeHolder)
			l := &protocol.LastRelease{LockID: "l", Identity: `"`, Token: 5, Time: at, Source: protocol.Server, Reason: protocol.HandedOff}
			sameText(t, encodeLastRelease(l), toLastRelease(l), decodeLastRelease)
		}
	}
	for _, text := range []string{
		``, `null`, `{}`, `[]`, `{"renewTime":null,"duration":null}`, `{"renewTime":null}`, `{"renewTime":""}`, `{"renewTime":1}`,
		`{"renewTime":"2026-01-02T03:04:05Z"}`, `{"renewTime":"2026-01-02T03:04:05.123456Z"}`, `{"renewTime":"2026-01-02T03:04:05.123456+02:00"}`,
		`{"renewTime":"\u0032026-01-02T03:04:05.123456Z"}`, `{"renewTime":"2026-02-30T03:04:05.123456Z"}`, `{"acquireTime":{}}`,
		`{"duration":""}`, `{"duration":1}`, `{"duration":"1\u0073"}`, `{"duration":"1"}`, `{"duration":"1s"}`, `{"duration":"-1h1m"}`, `{"duration":{}}`,
	} {
		var want v1alpha1.Holder
		wantErr := json.Unmarshal([]byte(text), &want)
		got, err := decodeHolder(text)
		if (err != nil) != (wantErr != nil) {
			t.Errorf("%s: error %v, want %v", text, err, wantErr)
		} else if err == nil && !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: read %+v, want %+v", text, *got, want)
		}
	}
}

// sameText checks that the JSON text says the value, and that decode finds it there.
func sameText[T any](t *testing.T, text string, value *T, decode func(string) (*T, error)) {
	t.Helper()
	want, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var theirs T
	if err := json.Unmarshal([]byte(text), &theirs); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var said, wanted any
	if err := errors.Join(json.Unmarshal([]byte(text), &said), json.Unmarshal(want, &wanted)); err != nil || !reflect.DeepEqual(said, wanted) {
		t.Errorf("the text is %s (%v), want %s", text, err, want)
	}
	for _, text := range []string{text, string(want)} {
		if ours, err := decode(text); err != nil || !reflect.DeepEqual(*ours, theirs) {
			t.Errorf("%s: read %+v (%v), want %+v", text, *ours, err, theirs)
		}
	}
}

func decoded(t *testing.T, obj *v1alpha1.DistributedLock) protocol.Record {
	t.Helper()
	r, err := DistributedLocks.Decode(obj)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func encoded(r protocol.Record) *v1alpha1.DistributedLock {
	return DistributedLocks.Encode(r).(*v1alpha1.DistributedLock)
}

// denial is what the API server answers when an admission webhook has denied a request with
// that code.
func denial(code int32, text string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Message: `admission webhook "w.example.com" denied the request: ` + text,
	}}
}

func TestOutcomes(t *testing.T) {
	gr := schema.GroupResource{Group: "kubelock.dev", Resource: "distributedlocks"}
	noKind := apierrors.NewGenericServerResponse(http.StatusNotFound, "POST", gr, "", "404 page not found", 0, true)
	for name, tc := range map[string]struct {
		err  error
		want Outcome
	}{
		"none":               {nil, Committed},
		"conflict":           {apierrors.NewConflict(gr, "k", errors.New("changed")), Stale},
		"already there":      {apierrors.NewAlreadyExists(gr, "k"), Stale},
		"not there":          {apierrors.NewNotFound(gr, "k"), Stale},
		"no such kind":       {noKind, Denied},
		"no such namespace":  {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "n"), Rejected},
		"forbidden":          {apierrors.NewForbidden(gr, "k", errors.New("no")), Rejected},
		"no permission":      {apierrors.NewForbidden(gr, "k", errors.New(`User "a\"b" cannot update resource "distributedlocks" in API group "kubelock.dev"`)), Denied},
		"proxy's 403":        {apierrors.NewGenericServerResponse(http.StatusForbidden, "PUT", gr, "k", "no", 0, true), Denied},
		"unauthorized":       {apierrors.NewUnauthorized("no"), Denied},
		"webhook's 403":      {denial(http.StatusForbidden, "User \"x\" cannot update resource"), Rejected},
		"webhook's 404":      {denial(http.StatusNotFound, "no"), Rejected},
		"webhook's 409":      {denial(http.StatusConflict, "no"), Rejected},
		"webhook's 410":      {denial(http.StatusGone, "no"), Rejected},
		"webhook's 422":      {denial(http.StatusUnprocessableEntity, "no"), Rejected},
		"webhook's 429":      {denial(http.StatusTooManyRequests, "no"), Busy},
		"webhook's 500":      {denial(http.StatusInternalServerError, "no"), Unknown},
		"409 of a proxy":     {&apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusConflict}}, Stale},
		"too large for etcd": {apierrors.NewInternalError(errors.New("etcdserver: request is too large")), Rejected},
		"stored otherwise":   {fmt.Errorf("wrapped: %w", &AlteredError{Field: "state"}), Altered},
		"bad request":        {apierrors.NewBadRequest("no"), Rejected},
		"invalid":            {apierrors.NewInvalid(schema.GroupKind{}, "k", nil), Rejected},
		"proxy's refusal":    {apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "PATCH", gr, "", "no", 0, true), Rejected},
		"too large":          {apierrors.NewRequestEntityTooLargeError("no"), Rejected},
		"too many requests":  {apierrors.NewTooManyRequests("later", 1), Busy},
		"server timeout":     {apierrors.NewServerTimeout(gr, "update", 1), Unknown},
		"gateway timeout":    {apierrors.NewTimeoutError("slow", 1), Unknown},
		"internal error":     {apierrors.NewInternalError(errors.New("oops")), Unknown},
		"unavailable":        {apierrors.NewServiceUnavailable("restarting"), Unknown},
		"deadline":           {context.DeadlineExceeded, Unknown},
		"broken connection":  {io.ErrUnexpectedEOF, Unknown},
	} {
		if got := OutcomeOf(tc.err); got != tc.want {
			t.Errorf("%s: outcome %d, want %d", name, got, tc.want)
		}
	}
	if !NoSuchResource(noKind) || NoSuchResource(apierrors.NewNotFound(gr, "k")) {
		t.Error("a missing kind and a missing object are not told apart")
	}
}
