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

package skew

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// patience is how long a test waits for what must happen. A loaded machine may need most of it.
const patience = time.Minute

var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, func(e *testenv.Env) { env = e }))
}

// within returns a context for a call that must come to an end.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// definition returns the project's CustomResourceDefinition.
func definition(t testing.TB) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(env.Root, "config", "crd", "bases", "kubelock.dev_distributedlocks.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &crd.Object); err != nil {
		t.Fatal(err)
	}
	return crd
}

// properties returns the properties at a path of a CustomResourceDefinition's schema.
func properties(t testing.TB, crd *unstructured.Unstructured, path ...string) map[string]any {
	t.Helper()
	version := crd.Object["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
	at := version["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
	for _, name := range path {
		at = at["properties"].(map[string]any)[name].(map[string]any)
	}
	return at["properties"].(map[string]any)
}

// newer adds text fields that the clients of this version do not know.
func newer(t testing.TB, crd *unstructured.Unstructured, fields ...string) {
	t.Helper()
	for _, field := range fields {
		path := strings.Split(field, ".")
		last := len(path) - 1
		properties(t, crd, path[:last]...)[path[last]] = map[string]any{"type": "string"}
	}
}

// older removes a field, and the rules that use it.
func older(t testing.TB, crd *unstructured.Unstructured, field string) {
	t.Helper()
	path := strings.Split(field, ".")
	name := path[len(path)-1]
	delete(properties(t, crd, path[:len(path)-1]...), name)
	spec := properties(t, crd)["spec"].(map[string]any)
	rules := spec["x-kubernetes-validations"].([]any)
	spec["x-kubernetes-validations"] = slices.DeleteFunc(rules, func(rule any) bool {
		return strings.Contains(rule.(map[string]any)["rule"].(string), "."+name)
	})
}

// install replaces the CustomResourceDefinition until the test ends. It returns when the API server uses the
// new one.
func install(t testing.TB, crd *unstructured.Unstructured) {
	t.Helper()
	put(within(t), t, crd)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		put(ctx, t, definition(t))
	})
}

func put(ctx context.Context, t testing.TB, crd *unstructured.Unstructured) {
	t.Helper()
	admin := env.Client(t)
	was := &unstructured.Unstructured{}
	was.SetGroupVersionKind(crd.GroupVersionKind())
	if err := admin.Get(ctx, client.ObjectKeyFromObject(crd), was); err != nil {
		t.Fatal(err)
	}
	crd.SetResourceVersion(was.GetResourceVersion())
	if err := admin.Update(ctx, crd); err != nil {
		t.Fatal(err)
	}
	// That cannot be watched. So the test creates an object with all fields of both versions, until the API
	// server's answer has the fields of the new one.
	probe := sample(t, properties(t, was))
	maps.Copy(probe, sample(t, properties(t, crd)))
	want := sample(t, properties(t, crd))
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		obj := object("default", "probe")
		for path, value := range probe {
			if err := unstructured.SetNestedField(obj.Object, value, strings.Split(path, ".")...); err != nil {
				return false, err
			}
		}
		if err := admin.Create(ctx, obj, client.DryRunAll); err != nil {
			return false, err
		}
		for path := range probe {
			_, has, err := unstructured.NestedFieldNoCopy(obj.Object, strings.Split(path, ".")...)
			if _, wanted := want[path]; err != nil || has != wanted {
				return false, err
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatalf("the API server does not go by the new schema: %v", err)
	}
}

// sample returns a valid value for each field.
func sample(t testing.TB, fields map[string]any) map[string]any {
	t.Helper()
	values := map[string]any{
		"spec.key": "k", "spec.value": "1", "spec.objectExpiry": "1h", "spec.waiters": []any{"w"}, "spec.transitions": int64(1),
		"spec.holder.identity": "me", "spec.holder.client": "c", "spec.holder.lockID": "rest-l", "spec.holder.display": "<resting>", "spec.holder.token": int64(1),
		"spec.holder.acquireTime": "2026-01-02T03:04:05.000000Z", "spec.holder.renewTime": "2026-01-02T03:04:05.000000Z",
		"spec.holder.renewTimeSource": "Node", "spec.holder.duration": "30s", "spec.holder.pod.name": "p", "spec.holder.pod.uid": "u",
		"spec.lastRelease.lockID": "l", "spec.lastRelease.identity": "me", "spec.lastRelease.token": int64(1), "spec.lastRelease.reason": "Expired",
		"spec.lastRelease.time": "2026-01-02T03:04:05.000000Z", "spec.lastRelease.timeSource": "Node",
	}
	found := map[string]any{}
	var walk func(prefix string, fields map[string]any)
	walk = func(prefix string, fields map[string]any) {
		for name, field := range fields {
			path := prefix + name
			if inner, ok := field.(map[string]any)["properties"].(map[string]any); ok {
				walk(path+".", inner)
			} else if value, ok := values[path]; ok {
				found[path] = value
			} else {
				found[path] = "text"
			}
		}
	}
	for _, name := range []string{"spec", "status"} {
		if field, ok := fields[name].(map[string]any); ok {
			walk("", map[string]any{name: field})
		}
	}
	return found
}

// kinds are the kinds of objects in which the backends store locks.
var kinds = map[kubelock.Backend]schema.GroupVersionKind{
	kubelock.DistributedLocks: {Group: "kubelock.dev", Version: "v1alpha1", Kind: "DistributedLock"},
	kubelock.Leases:           {Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"},
	kubelock.ConfigMaps:       {Version: "v1", Kind: "ConfigMap"},
}

func object(namespace, name string) *unstructured.Unstructured {
	return objectOf(kubelock.DistributedLocks, namespace, name)
}

func objectOf(backend kubelock.Backend, namespace, name string) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(kinds[backend])
	obj.SetNamespace(namespace)
	obj.SetName(name)
	return obj
}

// fields gives access to the fields of the lock "orders" in one namespace, as the API server has stored it.
type fields struct {
	namespace string
	backend   kubelock.Backend
}

func (f fields) get(t testing.TB) *unstructured.Unstructured {
	t.Helper()
	obj := objectOf(f.backend, f.namespace, "orders")
	if err := env.Client(t).Get(within(t), client.ObjectKeyFromObject(obj), obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

// set writes text into a field, as a program of a newer version would.
func (f fields) set(t testing.TB, path, value string) {
	t.Helper()
	var change any = value
	names := strings.Split(path, ".")
	for _, name := range slices.Backward(names) {
		change = map[string]any{name: change}
	}
	text, err := json.Marshal(change)
	if err != nil {
		t.Fatal(err)
	}
	obj := objectOf(f.backend, f.namespace, "orders")
	if err := env.Client(t).Patch(within(t), obj, client.RawPatch(types.MergePatchType, text)); err != nil {
		t.Fatal(err)
	}
	f.want(t, "after it was set", map[string]string{path: value})
}

// want checks the values of fields. An empty text stands for a missing field.
func (f fields) want(t testing.TB, when string, values map[string]string) {
	t.Helper()
	obj := f.get(t)
	for path, want := range values {
		got, _, err := unstructured.NestedString(obj.Object, strings.Split(path, ".")...)
		if err != nil || got != want {
			t.Errorf("%s, %s is %q (%v), want %q", when, path, got, err, want)
		}
	}
}

// setIn writes text under a key of the JSON in an annotation.
func (f fields) setIn(t testing.TB, annotation, key, value string) {
	t.Helper()
	obj := f.get(t)
	annotations := obj.GetAnnotations()
	var text map[string]any
	if err := json.Unmarshal([]byte(annotations[annotation]), &text); err != nil {
		t.Fatal(err)
	}
	text[key] = value
	changed, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	annotations[annotation] = string(changed)
	obj.SetAnnotations(annotations)
	if err := env.Client(t).Update(within(t), obj); err != nil {
		t.Fatal(err)
	}
}

// renewWith writes text under a key of the holder's annotation, as a client of a newer version would when it
// renews the hold.
func (f fields) renewWith(t testing.TB, key, value string) {
	t.Helper()
	const annotation = "kubelock.dev/holder"
	var holder map[string]any
	if err := json.Unmarshal([]byte(f.get(t).GetAnnotations()[annotation]), &holder); err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339Nano, holder["renewTime"].(string))
	if err != nil {
		t.Fatal(err)
	}
	holder["renewTime"] = at.Add(time.Microsecond).UTC().Format("2006-01-02T15:04:05.000000Z07:00")
	holder[key] = value
	text, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	change := map[string]any{"metadata": map[string]any{"annotations": map[string]any{annotation: string(text)}}}
	if f.backend == kubelock.Leases {
		change["spec"] = map[string]any{"renewTime": holder["renewTime"]}
	}
	if text, err = json.Marshal(change); err != nil {
		t.Fatal(err)
	}
	if err := env.Client(t).Patch(within(t), objectOf(f.backend, f.namespace, "orders"), client.RawPatch(types.MergePatchType, text)); err != nil {
		t.Fatal(err)
	}
}

// wantIn checks the text under a key of the JSON in an annotation. An empty text stands for a missing key.
func (f fields) wantIn(t testing.TB, when, annotation, key, want string) {
	t.Helper()
	annotations := f.get(t).GetAnnotations()
	text := struct {
		Value map[string]any
	}{}
	if said, ok := annotations[annotation]; ok {
		if err := json.Unmarshal([]byte(said), &text.Value); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := text.Value[key].(string); got != want {
		t.Errorf("%s, %s of %s is %q, want %q", when, key, annotation, got, want)
	}
}

// newLock returns the lock "orders" of a new client.
func newLock(t testing.TB, f fields, identity string, change ...func(*kubelock.Config)) *kubelock.Lock[int] {
	t.Helper()
	cfg := kubelock.Config{Namespace: f.namespace, Backend: f.backend, Identity: identity, LockDuration: time.Minute}
	for _, c := range change {
		c(&cfg)
	}
	c, err := kubelock.NewClient(env.Config, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return kubelock.NewLock[int](c, "orders")
}

func acquire(t testing.TB, l *kubelock.Lock[int]) *kubelock.Held[int] {
	t.Helper()
	held, err := l.Acquire(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func release(t testing.TB, held *kubelock.Held[int]) {
	t.Helper()
	if err := held.Release(within(t)); err != nil {
		t.Fatal(err)
	}
}

// queued starts to acquire a held lock, and returns when the client is in the queue. The hold comes through
// the channel when the lock is free.
func queued(t testing.TB, f fields, l *kubelock.Lock[int]) <-chan *kubelock.Held[int] {
	t.Helper()
	got := make(chan *kubelock.Held[int], 1)
	go func() {
		defer close(got)
		held, err := l.Acquire(within(t))
		if err != nil {
			t.Error(err)
			return
		}
		got <- held
	}()
	if err := poll(t, func() bool { return inQueue(t, f) }); err != nil {
		t.Fatal("no client has joined the queue")
	}
	return got
}

// poll polls until a condition holds that cannot be watched.
func poll(t testing.TB, condition func() bool) error {
	t.Helper()
	return wait.PollUntilContextCancel(within(t), 10*time.Millisecond, true, func(context.Context) (bool, error) { return condition(), nil })
}

// inQueue reports whether a client queues for the lock.
func inQueue(t testing.TB, f fields) bool {
	t.Helper()
	obj := f.get(t)
	waiters, _, err := unstructured.NestedStringSlice(obj.Object, "spec", "waiters")
	if err != nil {
		t.Fatal(err)
	}
	for name := range obj.GetAnnotations() {
		if strings.HasPrefix(name, "kubelock.dev/waiter-") {
			return true
		}
	}
	return len(waiters) > 0
}

// next returns the hold that comes through the channel.
func next(t testing.TB, got <-chan *kubelock.Held[int]) *kubelock.Held[int] {
	t.Helper()
	held, ok := <-got
	if !ok {
		t.FailNow()
	}
	return held
}
