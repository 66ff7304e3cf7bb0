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
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
)

var lockFields = fieldsOf(reflect.TypeFor[v1alpha1.DistributedLock]())

// aLock is a held lock as an API server sends it; more stands for a place for further fields.
const aLock = `{"apiVersion":"kubelock.dev/v1alpha1","kind":"DistributedLock","metadata":{"annotations":{"a/b":"{\"x\":\"\\\\\"}"},
"creationTimestamp":"2026-01-02T03:04:05Z","generation":7,"labels":{"kubelock.dev/holder":"c"},"managedFields":[{"apiVersion":"kubelock.dev/v1alpha1",
"fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:kubelock.dev/holder":{}}},"f:spec":{".":{},"f:holder":{},"f:transitions":{},"f:waiters":{}}},
"manager":"kubelock","operation":"Update","time":"2026-01-02T03:04:05Z"}],"name":"k","namespace":"ns","resourceVersion":"7","uid":"u"},
"spec":{"holder":{"acquireTime":"2026-01-02T03:04:05.000000Z","client":"c","duration":"30s","identity":"me","lockID":"c-1","pod":{"name":"p","uid":"pu"},
"renewTime":"2026-01-02T03:04:05.000000Z","renewTimeSource":"Server","token":3},
"lastRelease":{"identity":"you","lockID":"c-0","reason":"Released","time":"2026-01-02T03:04:05.000000Z","timeSource":"Server","token":2},
"transitions":2,"value":"{\"text\":\"a \\\"quoted\\\" word\"}","waiters":["w-1 30s waits"]}}`

// with is a lock with a text in place of another.
func with(t testing.TB, was, is string) string {
	t.Helper()
	if !strings.Contains(aLock, was) {
		t.Fatalf("there is no %s", was)
	}
	return strings.Replace(aLock, was, is, 1)
}

func TestUnknownJSON(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"all is known": {aLock, ""},
		"spaces":       {strings.NewReplacer(`{`, "{ \n", `:`, " :\t", `,`, " ,\r\n").Replace(aLock), ""},
		"in the spec":  {with(t, `"transitions":2`, `"more":{"a":[1,"]}"]},"transitions":2`), `{"spec":{"more":{"a":[1,"]}"]}}}`},
		"in the holder, the Pod and the last release": {
			strings.NewReplacer(`"token":3`, `"token":3,"zone":"z"`, `"uid":"pu"`, `"uid":"pu","node":"n"`, `"token":2`, `"token":2,"cause":null`).Replace(aLock),
			`{"spec":{"holder":{"pod":{"node":"n"},"zone":"z"},"lastRelease":{"cause":null}}}`,
		},
		"beside the spec":       {with(t, `"spec":`, `"status":{"a":1},"spec":`), `{"status":{"a":1}}`},
		"in the metadata":       {with(t, `"generation":7`, `"generation":7,"more":true`), `{"metadata":{"more":true}}`},
		"in a map":              {with(t, `"a/b":`, `"more":"x","a/b":`), ""},
		"in managed fields":     {with(t, `"manager":`, `"more":"x","manager":`), ""},
		"in another case":       {with(t, `"token":3`, `"Token":3`), `{"spec":{"holder":{"Token":3}}}`},
		"a known key, escaped":  {with(t, `"token":3`, `"to\u006ben":3`), ""},
		"an unknown one":        {with(t, `"token":3`, `"to\"ken":3`), `{"spec":{"holder":{"to\"ken":3}}}`},
		"no holder":             {`{"spec":{"holder":null,"more":1.5e3}}`, `{"spec":{"more":1.5e3}}`},
		"nothing":               {`{}`, ""},
		"a list for an object":  {`{"spec":[{"more":1}]}`, ""},
		"no object":             {`[{"more":1}]`, ""},
		"an escape at the end":  {`{"spec":{"value":"\\","more":"\\\""}}`, `{"spec":{"more":"\\\""}}`},
		"a quote in the state":  {`{"spec":{"value":"\\\",\"more\":1"}}`, ""},
		"a key that is a state": {`{"spec":{"value":"more","waiters":["more",":"]}}`, ""},
	} {
		got, err := lockFields.unknownJSON([]byte(tc.text))
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %s (%v), want %s", name, got, err, tc.want)
		}
	}
	items, err := lockFields.unknownItems([]byte(`{"metadata":{"more":1},"items":[` + aLock + `,` + with(t, `"token":3`, `"zone":"z"`) + `,null,{}],"more":2}`))
	want := [][]byte{nil, []byte(`{"spec":{"holder":{"zone":"z"}}}`), nil, nil}
	if err != nil || !reflect.DeepEqual(items, want) {
		t.Errorf("of a list: %q (%v), want %q", items, err, want)
	}
	if items, err := lockFields.unknownItems([]byte(`{"metadata":{"more":1},"more":[{"a":1}], "items": [ ` + aLock + ` , ` + aLock + ` ] }`)); err != nil || items != nil {
		t.Errorf("of a list without anything unknown: %q (%v)", items, err)
	}
}

// TestUnknownJSONOfBuiltInKinds checks that nothing is unknown of what the types encode.
func TestUnknownJSONOfBuiltInKinds(t *testing.T) {
	for _, obj := range []Object{fullLease(), fullConfigMap()} {
		known := fieldsOf(reflect.TypeOf(obj).Elem())
		text, err := json.Marshal(obj)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := known.unknownJSON(text); err != nil || got != nil {
			t.Errorf("unknown of a %T: %s (%v)", obj, got, err)
		}
		message := marshal(t, obj)
		if got, err := known.unknownProtobuf(message); err != nil || got != nil {
			t.Errorf("unknown of the message of a %T: %x (%v)", obj, got, err)
		}
	}
}

func fullMeta() metav1.ObjectMeta {
	at := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	entry := metav1.ManagedFieldsEntry{Manager: "kubelock", Operation: metav1.ManagedFieldsOperationUpdate, Time: &at, FieldsV1: &metav1.FieldsV1{}}
	entry.FieldsV1.SetRawString(`{"f:spec":{}}`)
	return metav1.ObjectMeta{ //nolint:staticcheck // All fields, also those that are deprecated.
		Name: "k", GenerateName: "g", Namespace: "ns", SelfLink: "l", UID: "u", ResourceVersion: "7", Generation: 3,
		CreationTimestamp: at, DeletionTimestamp: &at, DeletionGracePeriodSeconds: new(int64(3)),
		Labels: map[string]string{v1alpha1.LockLabel: marked}, Annotations: map[string]string{"a": "b"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "u"}},
		Finalizers:      []string{"f"}, ManagedFields: []metav1.ManagedFieldsEntry{entry},
	}
}

func fullLease() *coordinationv1.Lease {
	at := metav1.NewMicroTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	return &coordinationv1.Lease{ObjectMeta: fullMeta(), Spec: coordinationv1.LeaseSpec{
		HolderIdentity: new("me"), LeaseDurationSeconds: new(int32(15)), AcquireTime: &at, RenewTime: &at, LeaseTransitions: new(int32(3)),
		Strategy: new(coordinationv1.OldestEmulationVersion), PreferredHolder: new("you"),
	}}
}

func fullConfigMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: fullMeta(), Data: map[string]string{"a": "b"}, BinaryData: map[string][]byte{"c": {1}}, Immutable: new(false)}
}

func marshal(t testing.TB, obj any) []byte {
	t.Helper()
	message, err := obj.(interface{ Marshal() ([]byte, error) }).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// newerSpec is what a newer API server adds to the message of a Lease: a text 99 in its spec, and
// a number 77 beside that.
func newerSpec() []byte {
	inner := protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), "new")
	more := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), inner)
	return protowire.AppendVarint(protowire.AppendTag(more, 77, protowire.VarintType), 5)
}

func TestUnknownProtobuf(t *testing.T) {
	known := fieldsOf(reflect.TypeFor[coordinationv1.Lease]())
	message := append(marshal(t, fullLease()), newerSpec()...)
	got, err := known.unknownProtobuf(message)
	if err != nil || !bytes.Equal(got, newerSpec()) {
		t.Errorf("unknown is %x (%v), want %x", got, err, newerSpec())
	}
	var back coordinationv1.Lease
	if err := back.Unmarshal(append(marshal(t, fullLease()), got...)); err != nil || !equality.Semantic.DeepEqual(back.Spec, fullLease().Spec) {
		t.Errorf("with what is unknown, a Lease reads as %+v (%v)", back.Spec, err)
	}
	for n := range message {
		if _, err := known.unknownProtobuf(message[:n]); err == nil && n > 0 && n < len(message)-len(newerSpec()) {
			if err := back.Unmarshal(message[:n]); err != nil {
				t.Errorf("%d bytes of a message are taken for a message", n)
			}
		}
	}
}

// server answers requests with what it has, in either encoding, and keeps what is written.
type server struct {
	contentType string
	object      []byte // in that encoding
	written     []byte
	writtenType string
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		s.written, s.writtenType = body, req.Header.Get("Content-Type")
	}
	return &http.Response{
		StatusCode: http.StatusOK, Request: req,
		Header: http.Header{"Content-Type": {s.contentType}}, Body: io.NopCloser(bytes.NewReader(s.object)),
	}, nil
}

func (s *server) open(t testing.TB, kind Kind) Store {
	t.Helper()
	opened, err := kind.Open(&rest.Config{Host: "https://server.example.com"}, &http.Client{Transport: s}, "ns")
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// TestLeaseOfANewerServer has a store write a Lease of which it read more than it knows.
func TestLeaseOfANewerServer(t *testing.T) {
	lease := fullLease()
	lease.DeletionTimestamp, lease.ManagedFields = nil, nil
	lease.TypeMeta = metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}
	wrap := func(message []byte) []byte {
		wrapped, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}, Raw: message}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return append([]byte(protobufPrefix), wrapped...)
	}
	text, err := json.Marshal(lease)
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(text), `"spec":{`, `"status":{"more":1},"spec":{"more":"new",`, 1)
	known := fieldsOf(reflect.TypeFor[coordinationv1.Lease]())
	for _, tc := range []struct {
		contentType string
		object      []byte
		unknown     func(written []byte) ([]byte, error)
		want        string
	}{
		{
			runtime.ContentTypeProtobuf, wrap(append(marshal(t, lease), newerSpec()...)),
			func(written []byte) ([]byte, error) { return known.unknownProtobuf(unwrap(written)) }, string(newerSpec()),
		},
		{runtime.ContentTypeJSON, []byte(newer), known.unknownJSON, `{"spec":{"more":"new"},"status":{"more":1}}`},
	} {
		s := &server{contentType: tc.contentType, object: tc.object}
		opened := s.open(t, Leases)
		r, err := opened.Get(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := r.Stored.(*coordinationv1.Lease); !ok || r.Holder == nil {
			t.Fatalf("%s: read %+v", tc.contentType, r)
		}
		next := r
		next.Holder, next.Value = nil, new("1")
		if _, err := opened.Update(t.Context(), next); OutcomeOf(err) != Altered { // The server does not write.
			t.Fatalf("%s: %v", tc.contentType, err)
		}
		if got, err := tc.unknown(s.written); err != nil || string(got) != tc.want || s.writtenType != tc.contentType {
			t.Errorf("%s: written was %q (%v) in %s, want %q", tc.contentType, got, err, s.writtenType, tc.want)
		}
		codecs := serializer.NewCodecFactory(leaseScheme(t))
		obj, _, err := codecs.UniversalDeserializer().Decode(s.written, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := Leases.Encode(next).(*coordinationv1.Lease)
		if got := obj.(*coordinationv1.Lease); !reflect.DeepEqual(got.ObjectMeta, want.ObjectMeta) || !reflect.DeepEqual(got.Spec, want.Spec) {
			t.Errorf("%s: wrote %+v, want %+v", tc.contentType, got, want)
		}
	}
}

func leaseScheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := coordinationv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return scheme
}

// TestUnknownFieldsThroughListsAndWatches checks that what informers deliver is as good a base of
// a write as what was read.
func TestUnknownFieldsThroughListsAndWatches(t *testing.T) {
	newer := with(t, `"token":3`, `"token":3,"zone":"z"`)
	list := `{"apiVersion":"kubelock.dev/v1alpha1","kind":"DistributedLockList","metadata":{"resourceVersion":"7"},"items":[` + aLock + `,` + newer + `]}`
	delivered := func(body string, ask func(ctx context.Context, s Store) (runtime.Object, error)) Object {
		s := &server{contentType: runtime.ContentTypeJSON, object: []byte(body)}
		obj, err := ask(t.Context(), s.open(t, DistributedLocks))
		if err != nil {
			t.Fatal(err)
		}
		return obj.(Object)
	}
	objects := map[string]Object{
		"listed": delivered(list, func(_ context.Context, s Store) (runtime.Object, error) {
			obj, err := s.All().List(metav1.ListOptions{}) //nolint:staticcheck // What it has for a context is the same.
			if err != nil {
				return nil, err
			}
			items := obj.(*v1alpha1.DistributedLockList).Items
			if unknownOf(&items[0]) != nil {
				t.Error("something is unknown of a lock with nothing new")
			}
			return &items[1], nil
		}),
		"watched": delivered(`{"type":"MODIFIED","object":`+newer+`}`, func(_ context.Context, s Store) (runtime.Object, error) {
			w, err := s.All().Watch(metav1.ListOptions{}) //nolint:staticcheck // As above.
			if err != nil {
				return nil, err
			}
			defer w.Stop()
			event := <-w.ResultChan()
			if event.Type != watch.Modified {
				t.Fatalf("got %+v", event)
			}
			return event.Object, nil
		}),
	}
	for how, obj := range objects {
		r, err := DistributedLocks.Decode(obj.DeepCopyObject())
		if err != nil {
			t.Fatal(err)
		}
		s := &server{contentType: runtime.ContentTypeJSON, object: []byte(aLock)}
		r.Value = nil
		if _, err := s.open(t, DistributedLocks).Update(t.Context(), r); OutcomeOf(err) != Altered {
			t.Fatal(err)
		}
		if got, err := lockFields.unknownJSON(s.written); err != nil || string(got) != `{"spec":{"holder":{"zone":"z"}}}` {
			t.Errorf("%s: written was %s (%v)", how, got, err)
		}
		if strings.Contains(string(s.written), unknownManager) || len(DistributedLocks.Encode(r).GetManagedFields()) > 0 {
			t.Errorf("%s: written was %s", how, s.written)
		}
		if _, err := json.Marshal(obj); err != nil {
			t.Errorf("%s: it cannot be printed: %v", how, err)
		}
	}
}

// TestUnknownFieldsEnd checks what stays when a hold ends, its Pod changes, or another one began.
func TestUnknownFieldsEnd(t *testing.T) {
	newer := strings.NewReplacer(`"transitions":2`, `"team":"shop","transitions":2`, `"token":3`, `"token":3,"zone":"z"`,
		`"uid":"pu"`, `"uid":"pu","node":"n"`, `"token":2`, `"token":2,"cause":"c"`).Replace(aLock)
	at := protocol.Stamp{Time: time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC), Source: protocol.Server}
	claim := protocol.Claim{Identity: "me", Client: "c", LockID: "c-1", Duration: time.Minute, Pod: protocol.Pod{Name: "p", UID: "pu"}}
	renew := func(c protocol.Claim) func(protocol.Record) (protocol.Record, error) {
		return func(r protocol.Record) (protocol.Record, error) {
			return protocol.Renew(r, c, 3, protocol.Change{}, at)
		}
	}
	moved := claim
	moved.Pod.UID = "other"
	for name, tc := range map[string]struct {
		next func(protocol.Record) (protocol.Record, error)
		want string
	}{
		"renewed":    {renew(claim), `{"spec":{"holder":{"pod":{"node":"n"},"zone":"z"},"lastRelease":{"cause":"c"},"team":"shop"}}`},
		"in a Pod":   {renew(moved), `{"spec":{"holder":{"zone":"z"},"lastRelease":{"cause":"c"},"team":"shop"}}`},
		"expired":    {func(r protocol.Record) (protocol.Record, error) { return protocol.Expire(r, nil, at) }, `{"spec":{"team":"shop"}}`},
		"taken over": {func(r protocol.Record) (protocol.Record, error) { return protocol.Take(r, claim, 1, at) }, `{"spec":{"team":"shop"}}`},
	} {
		s := &server{contentType: runtime.ContentTypeJSON, object: []byte(newer)}
		opened := s.open(t, DistributedLocks)
		r, err := opened.Get(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		next, err := tc.next(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := opened.Update(t.Context(), next); OutcomeOf(err) != Altered {
			t.Fatal(err)
		}
		if got, err := lockFields.unknownJSON(s.written); err != nil || string(got) != tc.want {
			t.Errorf("%s: %s (%v), want %s", name, got, err, tc.want)
		}
	}
}

// TestKnownFieldsCostNothing checks that looking for unknown fields allocates nothing.
func TestKnownFieldsCostNothing(t *testing.T) {
	lease := fieldsOf(reflect.TypeFor[coordinationv1.Lease]())
	text, message := []byte(aLock), marshal(t, fullLease())
	list := []byte(`{"items":[` + aLock + `,` + aLock + `]}`)
	for name, look := range map[string]func() (bool, error){
		"JSON":     func() (bool, error) { u, err := lockFields.unknownJSON(text); return u != nil, err },
		"list":     func() (bool, error) { u, err := lockFields.unknownItems(list); return u != nil, err },
		"protobuf": func() (bool, error) { u, err := lease.unknownProtobuf(message); return u != nil, err },
		"holder":   func() (bool, error) { u, err := holderFields.unknownText(goodHolder); return u != nil, err },
	} {
		allocs := testing.AllocsPerRun(100, func() {
			if found, err := look(); found || err != nil {
				t.Errorf("%s: found something: %v, %v", name, found, err)
			}
		})
		if allocs > 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

// FuzzUnknownJSON checks that the scanner ends, and that it finds what a decoder finds.
func FuzzUnknownJSON(f *testing.F) {
	for _, text := range []string{
		aLock, `{"spec":{"holder":{"zone":1}}}`, `{"items":[{"more":1}]}`, `{"spec":{"value":"\\\"","a":{"b":[{}]}}}`, `{"spec":`, `{"`, `{"a\"`, `[`, `{"spec":{"holder":{},"holder":{"x":1}}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := scanner{text: text}
		found := s.value(lockFields)
		s = scanner{text: text}
		s.list(lockFields)
		if !json.Valid(text) || !isObject(text) {
			return
		}
		unknown, err := lockFields.extract(text)
		if err != nil {
			t.Fatal(err)
		}
		if unknown != nil && !found {
			t.Fatalf("%s is unknown, and was not found", unknown)
		}
		if unknown == nil {
			return // What was found may be a known key with an escape, or one that stands there twice.
		}
		again, err := lockFields.extract(unknown)
		if err != nil || !bytes.Equal(again, unknown) {
			t.Fatalf("of %s, %s is unknown (%v)", unknown, again, err)
		}
		all, err := merged([]byte(`{"spec":{"holder":{"token":1}},"metadata":{}}`), unknown)
		if err != nil {
			t.Fatal(err)
		}
		if again, err = lockFields.extract(all); err != nil || !bytes.Equal(again, unknown) {
			t.Fatalf("%s became %s (%v) when it was merged into an object", unknown, again, err)
		}
	})
}

// FuzzUnknownProtobuf checks that no message makes the scanner fail that a type decodes, and that
// what it finds is what another pass finds.
func FuzzUnknownProtobuf(f *testing.F) {
	known := fieldsOf(reflect.TypeFor[coordinationv1.Lease]())
	f.Add(marshal(f, fullLease()))
	f.Add(append(marshal(f, fullLease()), newerSpec()...))
	f.Fuzz(func(t *testing.T, message []byte) {
		unknown, err := known.unknownProtobuf(message)
		unwrap(message)
		if err != nil {
			return
		}
		if again, err := known.unknownProtobuf(unknown); err != nil || !bytes.Equal(again, unknown) {
			t.Fatalf("of %x, %x is unknown (%v)", unknown, again, err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	lease := fullLease()
	wrapped, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}, Raw: marshal(b, lease)}).Marshal()
	if err != nil {
		b.Fatal(err)
	}
	for name, tc := range map[string]struct {
		kind Kind
		server
	}{
		"DistributedLock":           {DistributedLocks, server{contentType: runtime.ContentTypeJSON, object: []byte(aLock)}},
		"DistributedLock of 100KiB": {DistributedLocks, server{contentType: runtime.ContentTypeJSON, object: []byte(with(b, `quoted`, strings.Repeat("quoted", 100<<10/6)))}},
		"Lease":                     {Leases, server{contentType: runtime.ContentTypeProtobuf, object: append([]byte("k8s\x00"), wrapped...)}},
	} {
		b.Run(name, func(b *testing.B) {
			s := tc.server
			opened, err := tc.kind.Open(&rest.Config{Host: "https://server.example.com", QPS: -1}, &http.Client{Transport: &s}, "ns")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := opened.Get(b.Context(), "k"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkUnknown is the part of the decoding that looks for unknown fields.
func BenchmarkUnknown(b *testing.B) {
	for name, text := range map[string]string{
		"DistributedLock": aLock, "DistributedLock of 100KiB": with(b, `quoted`, strings.Repeat("quoted", 100<<10/6)),
	} {
		b.Run(name, func(b *testing.B) {
			text := []byte(text)
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if u, err := lockFields.unknownJSON(text); u != nil || err != nil {
					b.Fatal(u, err)
				}
			}
		})
	}
}
