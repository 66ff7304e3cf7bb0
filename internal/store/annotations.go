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
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
)

// Kinds that are not kubelock's own have no place for most of a lock. It is kept in
// annotations then. The queue is one annotation a waiter, named by a number and the
// waiter's lock ID, so that neither who joins it and who gives the lock to its head write the
// same one, nor two who join it. Who joins takes the next number after those it has seen;
// among those with the same one the lock IDs decide. Holders note the largest that
// they have seen, so that a queue that was empty does not begin anew.
const (
	annotationPrefix      = "kubelock.dev/"
	keyAnnotation         = annotationPrefix + "key"
	valueAnnotation       = annotationPrefix + "value"
	expiryAnnotation      = annotationPrefix + "object-expiry"
	holderAnnotation      = annotationPrefix + "holder"
	lastReleaseAnnotation = annotationPrefix + "last-release"
	transitionsAnnotation = annotationPrefix + "transitions"
	lastWaiterAnnotation  = annotationPrefix + "last-waiter"
	waiterAnnotation      = annotationPrefix + "waiter-" // with its number and lock ID

	annotationsPath = "/metadata/annotations"
)

// marked is the value of the label v1alpha1.LockLabel.
const marked = "true"

// annotated reads what annotations say of a lock. The error lists everything that
// cannot be read, and says what to do.
func annotated(meta *metav1.ObjectMeta) (protocol.Record, error) {
	r := protocol.Record{
		Name:            meta.Name,
		UID:             string(meta.UID),
		ResourceVersion: meta.ResourceVersion,
		Key:             meta.Name,
		CreateTime:      meta.CreationTimestamp.Time,
	}
	var wrong []string
	bad := func(name string, err error) { wrong = append(wrong, fmt.Sprintf("%s: %v", name, err)) }
	if key, ok := meta.Annotations[keyAnnotation]; ok {
		r.Key = key
	}
	if text, ok := meta.Annotations[expiryAnnotation]; ok {
		d, err := time.ParseDuration(text)
		if err == nil && d <= 0 {
			err = fmt.Errorf("must be positive, is %s", text)
		}
		if err != nil {
			bad(expiryAnnotation, err)
		}
		r.ObjectExpiry = d
	}
	if text, ok := meta.Annotations[holderAnnotation]; ok {
		h, err := decodeHolder(text)
		if err != nil {
			bad(holderAnnotation, err)
		} else if !whole(h) {
			bad(holderAnnotation, fmt.Errorf("is incomplete, or has more than can be: %s", text))
		}
		r.Holder = fromHolder(h)
	}
	if text, ok := meta.Annotations[lastReleaseAnnotation]; ok {
		l, err := decodeLastRelease(text)
		if err != nil {
			bad(lastReleaseAnnotation, err)
		}
		r.LastRelease = fromLastRelease(l)
	}
	if text, ok := meta.Annotations[transitionsAnnotation]; ok {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			bad(transitionsAnnotation, err)
		}
		r.Transitions = max(n, 0)
	}
	r.Waiters = queueOf(meta.Annotations).texts
	if len(wrong) > 0 {
		return protocol.Record{}, &UnusableError{fmt.Sprintf("annotations of %s cannot be read, remove or repair them: %s", meta.Name, strings.Join(wrong, "; "))}
	}
	return r, nil
}

// whole reports whether h has what a hold must have, and nothing that could not be written
// back.
func whole(h *v1alpha1.Holder) bool {
	return protocol.ValidLabel(h.Client) && h.LockID != "" && len(h.LockID) <= protocol.MaxLockIDBytes &&
		len(h.Identity) <= protocol.MaxIdentityBytes && utf8.ValidString(h.Identity) && utf8.ValidString(h.LockID) &&
		h.Duration.Duration > 0 && h.Token >= 0 && !h.RenewTime.IsZero()
}

// annotate writes a lock into a copy of an object's annotations.
func annotate(stored map[string]string, r protocol.Record) map[string]string {
	annotations := maps.Clone(stored)
	if annotations == nil {
		annotations = map[string]string{}
	}
	set := func(name string, is bool, text func() string) {
		if is {
			annotations[name] = text()
		} else {
			delete(annotations, name)
		}
	}
	set(keyAnnotation, r.Key != r.Name, func() string { return r.Key })
	if !isDuration(stored, expiryAnnotation, r.ObjectExpiry) { // Else in the words of whoever wrote it.
		set(expiryAnnotation, r.ObjectExpiry > 0, r.ObjectExpiry.String)
	}
	set(holderAnnotation, r.Holder != nil, func() string { return holderOver(stored[holderAnnotation], r.Holder) })
	set(lastReleaseAnnotation, r.LastRelease != nil, func() string { return lastReleaseOver(stored[lastReleaseAnnotation], r.LastRelease) })

	q := queueOf(stored)
	gone, come := queueChange(q.texts, r.Waiters)
	for _, name := range q.names[:gone] {
		delete(annotations, name)
	}
	last := q.last
	for _, text := range come {
		last = after(last)
		annotations[waiterName(last, text)] = text
	}
	set(lastWaiterAnnotation, last > 0 && last < maxWaiterNumber, func() string { return strconv.FormatUint(last, 10) })
	return annotations
}

// isDuration reports whether an annotation says d, in whatever words.
func isDuration(annotations map[string]string, name string, d time.Duration) bool {
	text, ok := annotations[name]
	if !ok {
		return false
	}
	is, err := time.ParseDuration(text)
	return err == nil && is == d
}

// unannotate returns a copy of an object's annotations without a trace of a lock.
func unannotate(stored map[string]string) map[string]string {
	annotations := maps.Clone(stored)
	maps.DeleteFunc(annotations, func(name, _ string) bool { return strings.HasPrefix(name, annotationPrefix) })
	return annotations
}

// maxWaiterNumber is the largest number of a waiter. What has a larger one was not
// written by a client.
const maxWaiterNumber = 1 << 53

// queue is a queue in annotations: its entries and the names of those, the head first.
type queue struct {
	names []string
	texts []string
	last  uint64 // the largest number that was seen
}

// queueOf reads the queue. An entry whose number cannot be read is one that cannot be read,
// at its head, so that it goes with the next that leaves.
func queueOf(annotations map[string]string) queue {
	var q queue
	q.last = number(annotations[lastWaiterAnnotation])
	numbers := map[string]uint64{}
	for name := range annotations {
		if text, ok := strings.CutPrefix(name, waiterAnnotation); ok {
			text, _, _ = strings.Cut(text, "-")
			numbers[name] = number(text)
			q.names = append(q.names, name)
		}
	}
	slices.SortFunc(q.names, func(a, b string) int {
		return cmp.Or(cmp.Compare(numbers[a], numbers[b]), strings.Compare(a, b))
	})
	for _, name := range q.names {
		text := annotations[name]
		if numbers[name] == 0 {
			text = ""
		}
		q.texts = append(q.texts, text)
		q.last = max(q.last, numbers[name])
	}
	return q
}

// number reads the number of a waiter; 0 is none.
func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > maxWaiterNumber {
		return 0
	}
	return n
}

// after is the number of the next waiter. Behind the last that there is they begin anew: a
// person must have written that.
func after(last uint64) uint64 { return last%maxWaiterNumber + 1 }

// waiterName is the name of the annotation of an entry of the queue, which begins with its
// lock ID.
func waiterName(number uint64, text string) string {
	lockID, _, _ := strings.Cut(text, " ")
	return waiterAnnotation + strconv.FormatUint(number, 10) + "-" + lockID
}

// testAnnotation tests that an annotation is as it was read.
func testAnnotation(p *patch, stored map[string]string, name string) {
	if len(stored) == 0 {
		return // There will be a test for that: see change.
	}
	if text, ok := stored[name]; ok {
		p.test(entry(annotationsPath, name), text)
	} else {
		p.test(entry(annotationsPath, name), null)
	}
}

// testQueue tests what a write relies on that makes to of the queue in stored.
func testQueue(p *patch, stored map[string]string, to []string) {
	q := queueOf(stored)
	gone, _ := queueChange(q.texts, to)
	for _, name := range q.names[:gone] {
		testAnnotation(p, stored, name)
	}
}

// annotatedEnqueue appends to the queue of an object with these labels and annotations.
func annotatedEnqueue(p *patch, meta *metav1.ObjectMeta, text string) {
	annotations := maps.Clone(meta.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[waiterName(after(queueOf(meta.Annotations).last), text)] = text
	p.change(annotationsPath, meta.Annotations, annotations)
	p.change(labelsPath, meta.Labels, withMark(maps.Clone(meta.Labels)))
}

func annotatedDequeue(p *patch, meta *metav1.ObjectMeta, place int) {
	q := queueOf(meta.Annotations)
	if place >= len(q.names) {
		return
	}
	name := q.names[place]
	testAnnotation(p, meta.Annotations, name)
	p.remove(entry(annotationsPath, name))
}

// withMark adds to labels the one that says that an object is a lock.
func withMark(labels map[string]string) map[string]string {
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1alpha1.LockLabel] = marked
	return labels
}
