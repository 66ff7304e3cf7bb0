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
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/internal/memapi"
)

var resource = schema.GroupVersionResource{Group: "kubelock.dev", Version: "v1alpha1", Resource: "distributedlocks"}

func newServer(t testing.TB) *memapi.Server {
	t.Helper()
	return memapi.New(memapi.Options{CRDs: []*memapi.CRD{locks()}, Namespaces: []string{"default"}})
}

func newDynamic(t testing.TB, config *rest.Config) dynamic.Interface {
	t.Helper()
	config = rest.CopyConfig(config)
	config.QPS = -1
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(httpClient.CloseIdleConnections)
	c, err := dynamic.NewForConfigAndClient(config, httpClient)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newLock(name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
	u.SetGroupVersionKind(resource.GroupVersion().WithKind("DistributedLock"))
	u.SetName(name)
	return u
}

func transitions(n int) []byte {
	return fmt.Appendf(nil, `[{"op":"add","path":"/spec/transitions","value":%d}]`, n)
}

// informer runs an informer of a namespace's locks, and returns it with the channel of
// what it sees.
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

// TestVirtualTime runs an informer in a bubble: watches end after the timeouts that
// the informer asks for, within no time.
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

// TestExpiredWatch lets an informer lose its watch and the history it missed: it gets
// 410 Gone and lists again.
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

// TestGone checks which requests get 410 after the history was forgotten. A real
// server cannot be made to forget at will, so that this is not compared with one.
func TestGone(t *testing.T) {
	for name, forget := range map[string]func(*memapi.Server, dynamic.ResourceInterface){
		"compacted": func(s *memapi.Server, _ dynamic.ResourceInterface) { s.Compact() },
		"overflown": func(s *memapi.Server, c dynamic.ResourceInterface) {
			for i := range 5 {
				_, _ = c.Patch(t.Context(), "c", types.JSONPatchType, transitions(i+2), metav1.PatchOptions{})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := memapi.New(memapi.Options{CRDs: []*memapi.CRD{locks()}, Namespaces: []string{"default"}, History: 3})
			c := newDynamic(t, server.Config()).Resource(resource).Namespace("default")
			for _, name := range []string{"a", "b", "c"} {
				if _, err := c.Create(t.Context(), newLock(name), metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			first, err := c.List(t.Context(), metav1.ListOptions{Limit: 1})
			if err != nil || len(first.Items) != 1 {
				t.Fatalf("listed %v, %v", first, err)
			}
			if _, err := c.Patch(t.Context(), "c", types.JSONPatchType, transitions(1), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			forget(server, c)

			_, err = c.List(t.Context(), metav1.ListOptions{Limit: 1, Continue: first.GetContinue()})
			status := apierrors.APIStatus(nil)
			if !apierrors.IsResourceExpired(err) || !errors.As(err, &status) {
				t.Fatalf("continuing an expired list returned %v", err)
			}
			remainder, err := c.List(t.Context(), metav1.ListOptions{Continue: status.Status().Continue})
			if err != nil || len(remainder.Items) != 2 {
				t.Errorf("continuing it inconsistently returned %v, %v", remainder, err)
			}
			_, err = c.List(t.Context(), metav1.ListOptions{
				ResourceVersion: first.GetResourceVersion(), ResourceVersionMatch: metav1.ResourceVersionMatchExact,
			})
			if !apierrors.IsResourceExpired(err) {
				t.Errorf("listing an expired version returned %v", err)
			}

			w, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: first.GetResourceVersion()})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			event := <-w.ResultChan()
			if event.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(event.Object)) {
				t.Errorf("watching an expired version sent %v", event)
			}
			if _, open := <-w.ResultChan(); open {
				t.Error("the watch went on after its error")
			}
		})
	}
}

// TestFuture asks for versions that there are not yet.
func TestFuture(t *testing.T) {
	server := newServer(t)
	c := newDynamic(t, server.Config()).Resource(resource).Namespace("default")
	_, err := c.Get(t.Context(), "a", metav1.GetOptions{ResourceVersion: "1000"})
	if !apierrors.IsTimeout(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		t.Errorf("a get of the future returned %v", err)
	}
	_, err = c.List(t.Context(), metav1.ListOptions{ResourceVersion: "1000"})
	if !apierrors.IsTimeout(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		t.Errorf("a list of the future returned %v", err)
	}
}

// TestCommits checks that commits are told once each, in order, with the versions that
// clients see.
func TestCommits(t *testing.T) {
	server := newServer(t)
	server.AdvanceRevision(100)
	var got []string
	last := server.ResourceVersion()
	server.OnCommit(func(c memapi.Commit) {
		if c.ResourceVersion <= last {
			t.Errorf("version %d was committed after %d", c.ResourceVersion, last)
		}
		last = c.ResourceVersion
		if (c.Type == watch.Added) != (c.Old == nil) || (c.Type == watch.Deleted) != (c.Object == nil) {
			t.Errorf("%s from %v to %v", c.Type, c.Old, c.Object)
		}
		if c.Object != nil && c.Object.GetResourceVersion() != strconv.FormatInt(c.ResourceVersion, 10) {
			t.Errorf("version %d is of an object that says %s", c.ResourceVersion, c.Object.GetResourceVersion())
		}
		got = append(got, fmt.Sprintf("%s %s %s/%s", c.Type, c.Resource.Resource, c.Namespace, c.Name))
	})
	c := newDynamic(t, server.Config()).Resource(resource).Namespace("default")
	created, err := c.Create(t.Context(), newLock("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if created.GetResourceVersion() != strconv.FormatInt(last, 10) {
		t.Errorf("created version %s, and %d was committed", created.GetResourceVersion(), last)
	}
	for _, n := range []int{1, 1, 2} { // The second changes nothing.
		if _, err := c.Patch(t.Context(), "a", types.JSONPatchType, transitions(n), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Patch(t.Context(), "a", types.JSONPatchType, transitions(-1), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an invalid patch returned %v", err)
	}
	server.CreateNamespaces("default", "other")
	if err := c.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ADDED distributedlocks default/a", "MODIFIED distributedlocks default/a", "MODIFIED distributedlocks default/a",
		"ADDED namespaces /other", "DELETED distributedlocks default/a",
	}
	if !slices.Equal(got, want) {
		t.Errorf("committed %q, want %q", got, want)
	}
}

// TestDeterminism plays the sequences of the parity test twice: the answers are the
// same, byte for byte.
func TestDeterminism(t *testing.T) {
	for _, sequence := range sequences {
		var answers [2]bytes.Buffer
		for i := range answers {
			server := memapi.New(memapi.Options{
				Now:  func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) },
				CRDs: []*memapi.CRD{locks()}, Namespaces: []string{"default"},
			})
			server.Compact()
			config := server.Config()
			config.Transport = recorder{next: server, to: &answers[i]}
			sequence.play(newPlayer(t, config, "default"))
		}
		if answers[0].Len() == 0 || !bytes.Equal(answers[0].Bytes(), answers[1].Bytes()) {
			t.Errorf("%s was answered differently the second time:\n%s\n%s", sequence.name, &answers[0], &answers[1])
		}
	}
}

type recorder struct {
	next http.RoundTripper
	to   *bytes.Buffer
}

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(r.to, resp.Status, resp.Header)
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(resp.Body, r.to), resp.Body}
	return resp, nil
}

// TestClients uses the clients that programs use: typed, by discovery, and
// controller-runtime's.
func TestClients(t *testing.T) {
	server := newServer(t)
	for _, contentType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		config := server.Config()
		config.ContentType, config.AcceptContentTypes = contentType, ""
		clientset, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		leases := clientset.CoordinationV1().Leases("default")
		lease := &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "lease-"},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("me"), RenewTime: new(metav1.NewMicroTime(time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)))},
		}
		created, err := leases.Create(t.Context(), lease, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if created.Name == "" || created.UID == "" || !created.Spec.RenewTime.Equal(lease.Spec.RenewTime) {
			t.Errorf("%s: created %+v", contentType, created)
		}
		err = leases.Delete(t.Context(), created.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: new("1")}})
		if !apierrors.IsConflict(err) {
			t.Errorf("%s: a deletion of another version returned %v", contentType, err)
		}
		event := &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{GenerateName: "event-"}, Reason: "Tested"}
		if _, err := clientset.EventsV1().Events("default").Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
		pod, err := clientset.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pod.Status.Phase = corev1.PodSucceeded
		if pod, err = clientset.CoreV1().Pods("default").Update(t.Context(), pod, metav1.UpdateOptions{}); err != nil || pod.Status.Phase != corev1.PodPending {
			t.Errorf("%s: an update changed the status to %v, %v", contentType, pod, err)
		}
		pod.Status.Phase = corev1.PodSucceeded
		if pod, err = clientset.CoreV1().Pods("default").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil || pod.Status.Phase != corev1.PodSucceeded {
			t.Errorf("%s: an update of the status returned %v, %v", contentType, pod, err)
		}
	}

	served, err := discovery.NewDiscoveryClientForConfigOrDie(server.Config()).ServerResourcesForGroupVersion("kubelock.dev/v1alpha1")
	if err != nil || len(served.APIResources) != 1 || served.APIResources[0].Kind != "DistributedLock" {
		t.Errorf("discovered %v, %v", served, err)
	}
	all, err := discovery.NewDiscoveryClientForConfigOrDie(server.Config()).ServerPreferredResources()
	if err != nil || len(all) != 4 {
		t.Errorf("discovered %v, %v", all, err)
	}

	c, err := client.New(server.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "m"}}); err != nil {
		t.Error(err)
	}
	u := newLock("a")
	u.SetNamespace("default")
	if err := c.Create(t.Context(), u); err != nil {
		t.Error(err)
	}
	if err := c.DeleteAllOf(t.Context(), u, client.InNamespace("default")); err != nil {
		t.Error(err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(u), u); !apierrors.IsNotFound(err) {
		t.Errorf("reading a deleted lock returned %v", err)
	}
}

// TestNamespaceDeletion deletes a namespace with what is in it.
func TestNamespaceDeletion(t *testing.T) {
	server := newServer(t)
	clientset, err := kubernetes.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	server.CreateNamespaces("doomed")
	for _, namespace := range []string{"default", "doomed"} {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}}
		if _, err := clientset.CoreV1().ConfigMaps(namespace).Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := clientset.CoreV1().Namespaces().Delete(t.Context(), "doomed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	left, err := clientset.CoreV1().ConfigMaps("").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 1 || left.Items[0].Namespace != "default" {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestStream reads a watch frame by frame, and ends it in each of the ways.
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

// TestBookmark sends bookmarks to those who allow them.
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

// TestConcurrentUse lets clients race for one object: each version has one writer.
func TestConcurrentUse(t *testing.T) {
	server := newServer(t)
	_, seen := informer(t, newDynamic(t, server.Config()), "default")
	c := newDynamic(t, server.Config()).Resource(resource).Namespace("default")
	if _, err := c.Create(t.Context(), newLock("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, seen, "added a 0")
	const clients, writes = 4, 25
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for done := 0; done < writes; {
				u, err := c.Get(t.Context(), "a", metav1.GetOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				n, _, _ := unstructured.NestedInt64(u.Object, "spec", "transitions")
				_ = unstructured.SetNestedField(u.Object, n+1, "spec", "transitions")
				switch _, err = c.Update(t.Context(), u, metav1.UpdateOptions{}); {
				case err == nil:
					done++
				case !apierrors.IsConflict(err):
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	for i := range clients * writes {
		expect(t, seen, fmt.Sprintf("updated a %d", i+1))
	}
}

// TestLimits checks what is too long for a real server.
func TestLimits(t *testing.T) {
	server := newServer(t)
	clientset, err := kubernetes.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]func(error) bool{
		1 << 20: func(err error) bool { return err == nil },
		2 << 20: apierrors.IsInvalid,
		4 << 20: apierrors.IsRequestEntityTooLargeError,
	} {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "m-"}, Data: map[string]string{"a": strings.Repeat("a", size)}}
		_, err := clientset.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{})
		if !want(err) {
			t.Errorf("writing %d bytes returned %.100v", size, err)
		}
	}
	// The reason is unknown, as on a real server.
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: []string{strings.Repeat("a", 2<<20)}}}}}
	if _, err := clientset.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("writing more than etcd takes returned %.100v", err)
	}
}
