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
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// errClosed is the error of a read from a watch that its client has closed.
var errClosed = errors.New("memapi: read of a closed response body")

// watcher is an open watch.
type watcher struct {
	table     *table
	namespace string
	options   *internalversion.ListOptions
	// after is the version of the last event that the client knows.
	after  int64
	stream *stream
}

func (s *Server) watch(c *call, options *internalversion.ListOptions) (answer, error) {
	asked, err := parseVersion(options.ResourceVersion)
	if err != nil {
		return answer{}, err
	}
	t := c.table
	w := &watcher{table: t, namespace: c.namespace, options: options, after: asked, stream: newStream()}
	a := answer{code: http.StatusOK, contentType: "application/json", stream: w.stream}

	initial := options.SendInitialEvents != nil && *options.SendInitialEvents
	switch {
	case initial && asked > s.revision:
		w.fail(tooLargeResourceVersion(asked, s.revision))
		return a, nil
	case initial:
		w.after = s.revision
		for _, obj := range t.selectFrom(t.objects, t.under(c.namespace), options) {
			w.stream.send(frame(watch.Added, obj.raw))
		}
		w.bookmark(s.revision, true)
	case asked == 0: // The watch begins now.
		w.after = s.revision
	case asked < t.forgotten:
		w.fail(apierrors.NewResourceExpired("too old resource version: " + strconv.FormatInt(asked, 10) +
			" (" + strconv.FormatInt(t.forgotten, 10) + ")"))
		return a, nil
	default:
		for _, past := range t.changes {
			w.observe(past, &frames{})
		}
	}

	t.watchers = append(t.open(), w)
	w.stream.endWith(c.Context())
	if seconds := options.TimeoutSeconds; seconds != nil && *seconds > 0 {
		w.stream.endAfter(time.Duration(*seconds) * time.Second)
	}
	return a, nil
}

// CutWatches ends every open watch after the events so far, as a server does that shuts down.
func (s *Server) CutWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		for _, w := range t.watchers {
			w.stream.end(io.EOF)
		}
		t.watchers = nil
	}
}

// Bookmark sends the current resourceVersion to every open watch that allows it.
func (s *Server) Bookmark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		for _, w := range t.open() {
			w.bookmark(s.revision, false)
		}
	}
}

// Watches returns the number of open watches.
func (s *Server) Watches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, t := range s.tables {
		t.watchers = t.open()
		count += len(t.watchers)
	}
	return count
}

// open returns the watchers whose streams have not ended.
func (t *table) open() []*watcher {
	return slices.DeleteFunc(t.watchers, func(w *watcher) bool { return w.stream.ended() })
}

// notify queues a change for every watch whose selectors match.
func (t *table) notify(c change) {
	t.watchers = t.open()
	var encoded frames
	for _, w := range t.watchers {
		w.observe(c, &encoded)
	}
}

// frames has the encodings of one change, which all watchers share.
type frames struct{ added, modified, deleted []byte }

// observe queues the event of a change. An object that begins to match the watcher's selectors is added, and
// one that stops matching is deleted. The event of a deletion has the object as it last matched.
func (w *watcher) observe(c change, encoded *frames) {
	if c.version <= w.after {
		return
	}
	is, was := w.wants(c.current), w.wants(c.old)
	switch {
	case is && was:
		w.stream.send(once(&encoded.modified, func() []byte { return frame(watch.Modified, c.current.raw) }))
	case is:
		w.stream.send(once(&encoded.added, func() []byte { return frame(watch.Added, c.current.raw) }))
	case was:
		w.stream.send(once(&encoded.deleted, func() []byte { return frame(watch.Deleted, c.old.at(c.version).raw) }))
	}
}

func once(cached *[]byte, encode func() []byte) []byte {
	if *cached == nil {
		*cached = encode()
	}
	return *cached
}

func (w *watcher) wants(obj *object) bool {
	if obj == nil {
		return false
	}
	if w.namespace != "" {
		if namespace, _ := split(obj.key); namespace != w.namespace {
			return false
		}
	}
	return w.table.matches(obj, w.options)
}

// bookmark queues an event with the version up to which the watch is complete.
func (w *watcher) bookmark(version int64, initialEventsEnd bool) {
	if !w.options.AllowWatchBookmarks {
		return
	}
	u := &unstructured.Unstructured{Object: maps.Clone(w.table.blank)}
	if u.Object == nil {
		u.Object = map[string]any{}
	}
	u.Object["metadata"] = map[string]any{} // The shared map must not be changed.
	u.SetGroupVersionKind(w.table.gvk())
	u.SetResourceVersion(strconv.FormatInt(version, 10))
	if initialEventsEnd {
		u.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	w.stream.send(frame(watch.Bookmark, encode(u.Object)))
}

// fail queues err as the watch's only event.
func (w *watcher) fail(err error) {
	w.stream.send(frame(watch.Error, encode(status(err))))
	w.stream.end(io.EOF)
}

// frame encodes an event as one line.
func frame(kind watch.EventType, raw []byte) []byte {
	const around = len(`{"type":"","object":}`) + 1
	line := make([]byte, 0, around+len(kind)+len(raw))
	line = append(line, `{"type":"`...)
	line = append(line, kind...)
	line = append(line, `","object":`...)
	line = append(line, raw...)
	return append(line, '}', '\n')
}

// stream is the body of a watch: an unbounded queue of frames. A read waits for a frame, and returns at most
// the rest of one frame.
type stream struct {
	mu     sync.Mutex // guards the fields below
	queued sync.Cond  // A frame was queued, or the stream has ended.
	frames [][]byte
	err    error // why it has ended; nil while it has not
	closed bool  // The client has closed the body: queued frames are not read.
	cancel []func() bool
}

func newStream() *stream {
	s := &stream{}
	s.queued.L = &s.mu
	return s
}

func (s *stream) send(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.frames = append(s.frames, frame)
		s.queued.Broadcast()
	}
}

func (s *stream) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// end makes reads return err after all queued frames have been read.
func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(err)
}

func (s *stream) endLocked(err error) {
	if s.err == nil {
		s.err = err
	}
	s.queued.Broadcast()
	for _, cancel := range s.cancel {
		cancel()
	}
	s.cancel = nil
}

// abort makes reads return err at once. Queued frames are lost.
func (s *stream) abort(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed, s.frames, s.err = true, nil, err
	}
	s.endLocked(err)
}

func (s *stream) endWith(ctx context.Context) {
	s.endBy(context.AfterFunc(ctx, func() { s.abort(context.Cause(ctx)) }))
}

func (s *stream) endAfter(d time.Duration) {
	s.endBy(time.AfterFunc(d, func() { s.end(io.EOF) }).Stop)
}

// endBy records a function that cancels what would end the stream later.
func (s *stream) endBy(cancel func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		cancel()
		return
	}
	s.cancel = append(s.cancel, cancel)
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.frames) == 0 && s.err == nil {
		s.queued.Wait()
	}
	if len(s.frames) == 0 {
		return 0, s.err
	}
	n := copy(p, s.frames[0])
	if s.frames[0] = s.frames[0][n:]; len(s.frames[0]) == 0 {
		s.frames[0] = nil
		s.frames = s.frames[1:]
	}
	return n, nil
}

// Close implements io.Closer. It never fails.
func (s *stream) Close() error {
	s.abort(errClosed)
	return nil
}
