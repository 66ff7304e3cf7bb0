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
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
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
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/internal/testing/memapi"
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

// TestGone checks which requests get 410 after the history was forgotten. The test is not repeated on a
// real server, which cannot be made to forget its history.
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

// TestFuture requests versions that do not exist yet.
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

// TestCommits checks that OnCommit's function gets each commit once, in order, with the version that clients
// see.
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
	for _, n := range []int{1, 1, 2} { // The second write changes nothing.
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

// TestDeterminism plays the sequences of the parity test twice. The answers must be the same, byte for byte.
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

// TestClients uses the server through typed clients, discovery, and controller-runtime's client.
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

// TestNamespaceDeletion deletes a namespace with its objects.
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

// TestConcurrentUse lets clients race for one object, and checks that each version has one writer.
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

// TestLimits checks that requests which are too long for a real server are refused.
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
	// A real server gives no reason, either.
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: []string{strings.Repeat("a", 2<<20)}}}}}
	if _, err := clientset.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("writing more than etcd takes returned %.100v", err)
	}
}
