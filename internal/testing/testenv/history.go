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

package testenv

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
)

// Version is one version of a lock's object, as a watch has shown it.
type Version struct {
	*v1alpha1.DistributedLock
	// Seen is when the version arrived.
	Seen time.Time
	// Deleted is set for the last version of a deleted object.
	Deleted bool
}

// Free reports whether the lock has no holder.
func (v Version) Free() bool { return v.Spec.Holder == nil }

// History has every version of the locks of a namespace since a watch began. Only one goroutine may use it.
type History struct {
	t        testing.TB
	events   <-chan watch.Event
	versions map[string][]Version
}

// Watch watches the locks of a namespace until the test ends.
func (e *Env) Watch(t testing.TB, namespace string) *History {
	t.Helper()
	c, err := client.NewWithWatch(e.Config, client.Options{Scheme: e.Client(t).Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(t.Context(), &v1alpha1.DistributedLockList{}, client.InNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return &History{t: t, events: w.ResultChan(), versions: map[string][]Version{}}
}

// Until returns the first version of a lock for which condition holds, also if it was seen before the call.
// It ends the test if there is none within patience.
func (h *History) Until(patience time.Duration, name, what string, condition func(Version) bool) Version {
	h.t.Helper()
	for _, v := range h.versions[name] {
		if condition(v) {
			return v
		}
	}
	timeout := time.After(patience)
	for {
		select {
		case event, ok := <-h.events:
			lock, isLock := event.Object.(*v1alpha1.DistributedLock)
			if !ok || !isLock {
				h.t.Fatalf("the watch of the locks ended with %+v", event)
			}
			v := Version{lock, time.Now(), event.Type == watch.Deleted}
			h.versions[lock.Name] = append(h.versions[lock.Name], v)
			if lock.Name == name && condition(v) {
				return v
			}
		case <-timeout:
			h.t.Fatalf("lock %s was not %s within %v; its versions: %+v", name, what, patience, h.versions[name])
		}
	}
}

// Of returns the versions of a lock that Until has seen.
func (h *History) Of(name string) []Version { return h.versions[name] }
