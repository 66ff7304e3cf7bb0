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

package memapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/testing/memapi"
)

// informer runs an informer of a namespace's locks, and returns it with a channel of its events.
func informer(t testing.TB, c dynamic.Interface, namespace string) (inf cache.SharedIndexInformer, events <-chan string) {
	t.Helper()
	seen := make(chan string, 1000)
	inf = dynamicinformer.NewFilteredDynamicInformer(c, resource, namespace, 0, cache.Indexers{}, nil).Informer()
	note := func(what string, obj any) {
		if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = tombstone.Obj
		}
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			seen <- fmt.Sprintf("%s %T", what, obj)
			return
		}
		n, _, _ := unstructured.NestedInt64(u.Object, "spec", "transitions")
		seen <- fmt.Sprintf("%s %s %d", what, u.GetName(), n)
	}
	_, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { note("added", obj) },
		UpdateFunc: func(_, obj any) { note("updated", obj) },
		DeleteFunc: func(obj any) { note("deleted", obj) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { inf.RunWithContext(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return inf, seen
}

func expect(t testing.TB, seen <-chan string, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := <-seen; got != w {
			t.Errorf("the informer saw %q, want %q", got, w)
		}
	}
}

// TestInformer runs an informer on a real API server and on this one.
func TestInformer(t *testing.T) {
	namespace := env.Namespace(t)
	server := memapi.New(memapi.Options{CRDs: []*memapi.CRD{locks()}, Namespaces: []string{namespace}})
	for name, config := range map[string]*rest.Config{"real": env.Config, "memory": server.Config()} {
		t.Run(name, func(t *testing.T) {
			all := newDynamic(t, config)
			c := all.Resource(resource).Namespace(namespace)
			create := func(name string) {
				t.Helper()
				if _, err := c.Create(t.Context(), newLock(name), metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			create("a")
			_, seen := informer(t, all, namespace)
			expect(t, seen, "added a 0")
			create("b")
			expect(t, seen, "added b 0")
			for i := range 3 {
				if _, err := c.Patch(t.Context(), "a", types.JSONPatchType, transitions(i+1), metav1.PatchOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			expect(t, seen, "updated a 1", "updated a 2", "updated a 3")
			if err := c.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			expect(t, seen, "deleted a 3")
		})
	}
}

// TestVirtualTime runs an informer in a bubble. Watches end after the informer's timeouts, in virtual time.
func TestVirtualTime(t *testing.T) {
	crd := locks()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		server := memapi.New(memapi.Options{CRDs: []*memapi.CRD{crd}, Namespaces: []string{"default"}})
		all := newDynamic(t, server.Config())
		c := all.Resource(resource).Namespace("default")
		inf, seen := informer(t, all, "default")
		for i := range 100 {
			created, err := c.Create(t.Context(), newLock(fmt.Sprintf("lock-%d", i)), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := created.GetCreationTimestamp().Time, start.Add(time.Duration(i)*time.Minute); !got.Equal(want) {
				t.Fatalf("lock %d was created at %v, want %v", i, got, want)
			}
			expect(t, seen, fmt.Sprintf("added lock-%d 0", i))
			<-time.After(time.Minute)
		}
		synctest.Wait()
		if n := len(inf.GetStore().List()); n != 100 {
			t.Errorf("the informer has %d locks, want 100", n)
		}
		if n := server.Watches(); n != 1 {
			t.Errorf("%d watches are open, want 1", n)
		}
	})
}

// TestExpiredWatch cuts the watch of an informer, and forgets the history that the informer has missed. It
// gets 410 Gone and lists again.
func TestExpiredWatch(t *testing.T) {
	crd := locks()
	synctest.Test(t, func(t *testing.T) {
		server := memapi.New(memapi.Options{CRDs: []*memapi.CRD{crd}, Namespaces: []string{"default"}})
		gate := &gate{next: server}
		config := server.Config()
		config.Transport = gate
		all := newDynamic(t, config)
		c := newDynamic(t, server.Config()).Resource(resource).Namespace("default")
		_, seen := informer(t, all, "default")
		synctest.Wait()
		if _, err := c.Create(t.Context(), newLock("a"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		expect(t, seen, "added a 0")

		gate.closed.Store(true)
		server.CutWatches()
		if err := c.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if _, err := c.Create(t.Context(), newLock(fmt.Sprint("b", i)), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		server.Compact()
		gate.closed.Store(false)
		got := []string{<-seen, <-seen, <-seen, <-seen}
		slices.Sort(got)
		if want := []string{"added b0 0", "added b1 0", "added b2 0", "deleted a 0"}; !slices.Equal(got, want) {
			t.Errorf("the informer saw %q, want %q", got, want)
		}
		if gate.gone.Load() == 0 {
			t.Error("no watch was answered by 410 Gone")
		}
	})
}

// TestStream reads a watch frame by frame, and ends it in each possible way.
func TestStream(t *testing.T) {
	crd := locks()
	open := func(t *testing.T, ctx context.Context, server *memapi.Server, query string) io.ReadCloser {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet,
			memapi.Host+"/apis/kubelock.dev/v1alpha1/distributedlocks?watch=true&resourceVersion=2"+query, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Body
	}
	synctest.Test(t, func(t *testing.T) {
		server := memapi.New(memapi.Options{CRDs: []*memapi.CRD{crd}, Namespaces: []string{"default"}})
		c := newDynamic(t, server.Config()).Resource(resource).Namespace("default")
		ctx, cancel := context.WithCancel(t.Context())
		bodies := map[string]io.ReadCloser{
			"cut":      open(t, t.Context(), server, ""),
			"canceled": open(t, ctx, server, ""),
			"closed":   open(t, t.Context(), server, ""),
			"timeout":  open(t, t.Context(), server, "&timeoutSeconds=60"),
		}
		for _, name := range []string{"a", "b"} {
			if _, err := c.Create(t.Context(), newLock(name), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		ended := map[string]chan error{}
		for name, body := range bodies {
			buffer := make([]byte, 1<<16)
			for range 2 {
				if n, err := body.Read(buffer); err != nil || bytes.Count(buffer[:n], []byte("\n")) != 1 || buffer[n-1] != '\n' {
					t.Errorf("read %q, %v: not one frame", buffer[:n], err)
				}
			}
			ended[name] = make(chan error, 1)
			go func() {
				_, err := body.Read(buffer)
				ended[name] <- err
			}()
		}
		synctest.Wait()
		began := time.Now()
		if err := bodies["closed"].Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended["closed"]; err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a closed watch ended with %v", err)
		}
		cancel()
		if err := <-ended["canceled"]; !errors.Is(err, context.Canceled) {
			t.Errorf("a canceled watch ended with %v", err)
		}
		if err := <-ended["timeout"]; !errors.Is(err, io.EOF) || time.Since(began) != time.Minute {
			t.Errorf("a watch with a timeout ended after %v with %v", time.Since(began), err)
		}
		if n := server.Watches(); n != 1 {
			t.Errorf("%d watches are open, want 1", n)
		}
		server.CutWatches()
		if err := <-ended["cut"]; !errors.Is(err, io.EOF) {
			t.Errorf("a watch that was cut ended with %v", err)
		}
	})
}

// TestBookmark checks that bookmarks go only to watches that allow them.
func TestBookmark(t *testing.T) {
	server := newServer(t)
	c := newDynamic(t, server.Config()).Resource(resource).Namespace("default")
	w, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "2", AllowWatchBookmarks: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	server.AdvanceRevision(7)
	server.Bookmark()
	event := <-w.ResultChan()
	if u, ok := event.Object.(*unstructured.Unstructured); !ok || event.Type != watch.Bookmark || u.GetResourceVersion() != strconv.FormatInt(server.ResourceVersion(), 10) {
		t.Errorf("got %v", event)
	}
}
