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
	"context"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/protocol"
)

// TestRequestPaths checks where each request goes, also behind a proxy that serves the API
// server below a path of its own, and that a name which is no name sends none: the path
// would be that of all objects, or of another.
func TestRequestPaths(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for kind, all := range map[Kind]string{
		DistributedLocks: "/apis/kubelock.dev/v1alpha1/namespaces/ns/distributedlocks",
		Leases:           "/apis/coordination.k8s.io/v1/namespaces/ns/leases",
		ConfigMaps:       "/api/v1/namespaces/ns/configmaps",
	} {
		var got []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = append(got, r.Method+" "+r.URL.String())
			http.Error(w, "no", http.StatusForbidden)
		}))
		t.Cleanup(server.Close)
		s, err := kind.Open(&rest.Config{Host: server.URL + "/behind/proxy"}, server.Client(), "ns")
		if err != nil {
			t.Fatal(err)
		}
		send := func(name string) {
			t.Helper()
			r, err := kind.Decode(kind.Encode(protocol.Record{Name: name, UID: "u", Key: "k", Waiters: []string{"l2 c2"}, Holder: &protocol.Holder{
				Identity: "me", Client: "c1", LockID: "l1", AcquireTime: at, RenewTime: at, Duration: time.Minute,
			}}))
			if err != nil {
				t.Fatal(err)
			}
			to, renewed := r, *r.Holder
			renewed.RenewTime = at.Add(time.Second)
			to.Holder = &renewed
			for what, request := range map[string]func(context.Context) error{
				"get":     func(ctx context.Context) error { _, err := s.Get(ctx, name); return err },
				"update":  func(ctx context.Context) error { _, err := s.Update(ctx, r); return err },
				"amend":   func(ctx context.Context) error { _, err := s.Amend(ctx, r, to); return err },
				"enqueue": func(ctx context.Context) error { _, err := s.Enqueue(ctx, r, "l3 c3", false); return err },
				"dequeue": func(ctx context.Context) error { _, err := s.Dequeue(ctx, r, 0); return err },
				"delete":  func(ctx context.Context) error { _, err := s.Delete(ctx, r); return err },
			} {
				if err := request(t.Context()); err == nil {
					t.Errorf("%s %q: no error", what, name)
				}
			}
		}
		send("k-1")
		if _, err := s.Create(t.Context(), protocol.Record{Name: "k-1", Key: "k-1"}); err == nil {
			t.Error("create: no error")
		}
		all = "/behind/proxy" + all
		want := []string{
			"DELETE " + all + "/k-1", "GET " + all + "/k-1",
			"PATCH " + all + "/k-1", "PATCH " + all + "/k-1", "PATCH " + all + "/k-1",
			"POST " + all, "PUT " + all + "/k-1",
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: sent\n%q, want\n%q", kind.Resource().Resource, got, want)
		}
		for _, namespace := range []string{".", "..", "a/b", "a/../b", "%2e"} {
			if _, err := kind.Open(&rest.Config{Host: server.URL}, server.Client(), namespace); err == nil {
				t.Errorf("%s: opened the namespace %q", kind.Resource().Resource, namespace)
			}
		}
		got = nil
		for _, name := range []string{"", ".", "..", "a/b", "%2e%2e"} {
			send(name)
		}
		if len(got) > 0 {
			t.Errorf("%s: names that are none sent %q", kind.Resource().Resource, got)
		}
	}
}

// TestWatchIsNotCompressed has a client list and watch: the API server may compress a list, and no watch.
func TestWatchIsNotCompressed(t *testing.T) {
	for _, kind := range []Kind{DistributedLocks, Leases, ConfigMaps} {
		var got []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = append(got, r.URL.String()+" "+r.Header.Get("Accept-Encoding"))
			http.Error(w, "no", http.StatusForbidden)
		}))
		t.Cleanup(server.Close)
		s, err := kind.Open(&rest.Config{Host: server.URL + "/behind/proxy"}, server.Client(), "ns")
		if err != nil {
			t.Fatal(err)
		}
		watcher := cache.ToListerWatcherWithContext(s.Watcher("k-1", func() {}))
		if _, err := watcher.ListWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "0"}); !apierrors.IsForbidden(err) {
			t.Errorf("list: %v", err)
		}
		if _, err := watcher.WatchWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "3", TimeoutSeconds: new(int64(300))}); !apierrors.IsForbidden(err) {
			t.Errorf("watch: %v", err)
		}
		all := "/behind/proxy/" + path.Join(map[bool]string{true: "api", false: "apis"}[kind == ConfigMaps], kind.Resource().Group, kind.Resource().Version, "namespaces/ns", kind.Resource().Resource)
		want := []string{
			all + "?fieldSelector=metadata.name%3Dk-1&resourceVersion=0 gzip",
			all + "?fieldSelector=metadata.name%3Dk-1&resourceVersion=3&timeout=5m0s&timeoutSeconds=300&watch=true identity",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: sent\n%q, want\n%q", kind.Resource().Resource, got, want)
		}
	}
}
