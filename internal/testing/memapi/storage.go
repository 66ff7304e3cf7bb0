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

package memapi

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// object is one version of an object. It does not change, because readers, watches and the history share it.
type object struct {
	key     string // namespace/name, or name
	version int64
	content map[string]any
	labels  labels.Set
	raw     []byte // content as JSON
	item    []byte // as raw, but as an element of a list; encoded when it is first listed
}

func newObject(key string, version int64, content map[string]any) *object {
	u := &unstructured.Unstructured{Object: content}
	return &object{key: key, version: version, content: content, labels: u.GetLabels(), raw: encode(content)}
}

func (o *object) meta() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: o.content}
}

// at returns the object with another resourceVersion. The last event of a deleted object has the version of
// the deletion.
func (o *object) at(version int64) *object {
	content := maps.Clone(o.content)
	metadata, _ := content["metadata"].(map[string]any)
	metadata = maps.Clone(metadata)
	metadata["resourceVersion"] = strconv.FormatInt(version, 10)
	content["metadata"] = metadata
	return newObject(o.key, version, content)
}

// change is one committed version. old is nil if the object is new. current is nil if it was deleted.
type change struct {
	version      int64
	old, current *object
}

// table has the objects of one resource. The server's mutex guards it.
type table struct {
	*resource
	objects map[string]*object
	keys    []string // the sorted keys of the objects
	// changes is the history after the version forgotten, oldest first.
	changes   []change
	forgotten int64
	watchers  []*watcher
}

// under returns the sorted keys of a namespace, or all keys for "".
func (t *table) under(namespace string) []string { return keysUnder(t.keys, namespace) }

func keysUnder(keys []string, namespace string) []string {
	if namespace == "" {
		return keys
	}
	// "0" is the character after "/".
	first, _ := slices.BinarySearch(keys, namespace+"/")
	last, _ := slices.BinarySearch(keys, namespace+"0")
	return keys[first:last]
}

// before returns the objects at an earlier version, and their sorted keys. The history must still have that
// version.
func (t *table) before(version int64) (objects map[string]*object, keys []string) {
	if len(t.changes) == 0 || t.changes[len(t.changes)-1].version <= version {
		return t.objects, t.keys
	}
	objects = maps.Clone(t.objects)
	for _, c := range slices.Backward(t.changes) {
		if c.version <= version {
			break
		}
		if c.old == nil {
			delete(objects, c.current.key)
		} else {
			objects[c.old.key] = c.old
		}
	}
	return objects, slices.Sorted(maps.Keys(objects))
}

// Commit is one version that a server committed.
type Commit struct {
	Resource        schema.GroupVersionResource
	Namespace, Name string
	// Type is Added, Modified or Deleted.
	Type            watch.EventType
	ResourceVersion int64
	// Object is the new version; nil if the object was deleted. Old is the version before; nil if there was
	// none. Both are shared and must not be changed.
	Object, Old *unstructured.Unstructured
}

// commit stores content as the next version of an object, or deletes the object if content is nil. It
// returns the committed version, or the deleted object as in its last event.
func (s *Server) commit(t *table, key string, content map[string]any) *object {
	s.revision++
	old := t.objects[key]
	c := change{version: s.revision, old: old}
	var result *object
	if content == nil {
		delete(t.objects, key)
		at, _ := slices.BinarySearch(t.keys, key)
		t.keys = slices.Delete(t.keys, at, at+1)
		result = old.at(s.revision)
	} else {
		(&unstructured.Unstructured{Object: content}).SetResourceVersion(strconv.FormatInt(s.revision, 10))
		result = newObject(key, s.revision, content)
		c.current = result
		t.objects[key] = result
		if old == nil {
			at, _ := slices.BinarySearch(t.keys, key)
			t.keys = slices.Insert(t.keys, at, key)
		}
	}
	t.changes = append(t.changes, c)
	if s.history > 0 && len(t.changes) > s.history {
		t.changes = t.changes[len(t.changes)-s.history:]
		t.forgotten = max(t.forgotten, t.changes[0].version-1)
	}
	t.notify(c)
	s.report(t, c)
	return result
}

func (s *Server) report(t *table, c change) {
	if len(s.onCommit) == 0 {
		return
	}
	commit := Commit{Resource: t.gvr, ResourceVersion: c.version, Type: c.kind()}
	if c.old != nil {
		commit.Namespace, commit.Name = split(c.old.key)
		commit.Old = c.old.meta()
	}
	if c.current != nil {
		commit.Namespace, commit.Name = split(c.current.key)
		commit.Object = c.current.meta()
	}
	for _, f := range s.onCommit {
		f(commit)
	}
}

func (c change) kind() watch.EventType {
	switch {
	case c.old == nil:
		return watch.Added
	case c.current == nil:
		return watch.Deleted
	default:
		return watch.Modified
	}
}

func keyOf(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

func split(key string) (namespace, name string) {
	namespace, name, found := strings.Cut(key, "/")
	if !found {
		return "", namespace
	}
	return namespace, name
}

// stamp sets the UID and the creation time of a new object, and its name if that is to be generated. They
// depend only on the server's history.
func (s *Server) stamp(u *unstructured.Unstructured) {
	s.created++
	u.SetUID(uid(s.created))
	u.SetCreationTimestamp(metav1.NewTime(s.now()))
	if u.GetName() == "" && u.GetGenerateName() != "" {
		u.SetName(fmt.Sprintf("%s%05x", u.GetGenerateName(), s.created&0xfffff))
	}
}
