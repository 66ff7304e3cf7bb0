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

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, func(e *testenv.Env) { env = e }))
}

// heldLock has every field of the schema.
const heldLock = `{
  "apiVersion": "kubelock.dev/v1alpha1",
  "kind": "DistributedLock",
  "metadata": {"labels": {"kubelock.dev/holder": "3c1e5d"}},
  "spec": {
    "key": "orders/2026:eu",
    "value": "{\"count\": 3}",
    "objectExpiry": "24h",
    "holder": {
      "identity": "worker-7d9f",
      "pod": {"name": "worker-7d9f-abcde", "uid": "6b1c1f3a-5d1e-4c52-9d0e-1f0a2b3c4d5e"},
      "client": "3c1e5d",
      "lockID": "hold-b",
      "token": 20,
      "acquireTime": "2026-01-02T03:04:05.000006Z",
      "renewTime": "2026-01-02T03:04:15.000006Z",
      "renewTimeSource": "Server",
      "duration": "30s"
    },
    "waiters": ["first", "second"],
    "lastRelease": {
      "lockID": "hold-a",
      "identity": "worker-1",
      "token": 10,
      "time": "2026-01-02T03:04:04.000006Z",
      "timeSource": "Server",
      "reason": "HandedOff"
    },
    "transitions": 41
  }
}`

// changes are new values of fields by their paths.
type changes map[string]any

// absent as a value removes the field.
var absent = struct{ text string }{"absent"}

var names atomic.Int64

// newLock returns heldLock with changes, under a name of its own. It is untyped
// because the Go types cannot say most of what the schema rejects.
func newLock(t testing.TB, namespace string, c changes) *unstructured.Unstructured {
	t.Helper()
	lock := &unstructured.Unstructured{}
	if err := lock.UnmarshalJSON([]byte(heldLock)); err != nil {
		t.Fatal(err)
	}
	lock.SetNamespace(namespace)
	lock.SetName(fmt.Sprintf("lock-%d", names.Add(1)))
	return change(t, lock, c)
}

// change returns a copy of a lock with changes.
func change(t testing.TB, lock *unstructured.Unstructured, c changes) *unstructured.Unstructured {
	t.Helper()
	lock = lock.DeepCopy()
	for field, value := range c {
		path := strings.Split(field, ".")
		if value == absent {
			unstructured.RemoveNestedField(lock.Object, path...)
		} else if err := unstructured.SetNestedField(lock.Object, value, path...); err != nil {
			t.Fatal(err)
		}
	}
	return lock
}

func locks(t testing.TB, namespace string) dynamic.ResourceInterface {
	t.Helper()
	config := rest.CopyConfig(env.Config)
	config.WarningHandler = rest.NoWarnings{} // That fields are unknown is what some tests are about.
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c.Resource(v1alpha1.GroupVersion.WithResource("distributedlocks")).Namespace(namespace)
}

func create(t testing.TB, lock *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	created, err := locks(t, lock.GetNamespace()).Create(t.Context(), lock, metav1.CreateOptions{FieldManager: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// mustBeReadable makes sure that what the schema let pass does not stop the
// programs that read locks: one object that they cannot decode fails a whole list.
func mustBeReadable(t testing.TB, lock *unstructured.Unstructured) {
	t.Helper()
	text, err := lock.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v1alpha1.DistributedLock{}); err != nil {
		t.Errorf("the server accepts what the Go type cannot read: %v", err)
	}
}

// mustReject makes sure that a write was rejected because of that field alone, and
// that what is said of it has these words.
func mustReject(t testing.TB, err error, field, words string) {
	t.Helper()
	if !apierrors.IsInvalid(err) {
		t.Fatalf("got %v, want it rejected as invalid because of %s", err, field)
	}
	causes := slices.DeleteFunc(err.(apierrors.APIStatus).Status().Details.Causes,
		func(c metav1.StatusCause) bool { return c.Field == "<nil>" }) // These tell of rules that could not be looked at.
	other := slices.ContainsFunc(causes, func(c metav1.StatusCause) bool { return c.Field != field })
	explained := slices.ContainsFunc(causes, func(c metav1.StatusCause) bool { return strings.Contains(c.Message, words) })
	if other || !explained {
		t.Errorf("rejected because of %+v, want %s: ... %s", causes, field, words)
	}
}
