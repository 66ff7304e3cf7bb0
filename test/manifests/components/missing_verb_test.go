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

package components_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/features"
	featuretesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// queueing tells when a client is in a lock's queue and its watch is open.
type queueing struct {
	done chan struct{} // is closed then

	mu               sync.Mutex // protects the fields below
	entered, watches bool
}

// queueingClient returns a client that has not queued before, and what tells that it does.
func queueingClient(t *testing.T, config *rest.Config, cfg kubelock.Config) (*kubelock.Client, *queueing) {
	t.Helper()
	q := &queueing{done: make(chan struct{})}
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &transport{q, next} })
	return program(t, config, cfg), q
}

func (q *queueing) answered(resp *http.Response) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if resp.StatusCode != http.StatusOK || (q.entered && q.watches) {
		return
	}
	q.entered = q.entered || resp.Request.Method == http.MethodPatch
	q.watches = q.watches || resp.Request.URL.Query().Get("watch") != ""
	if q.entered && q.watches {
		close(q.done)
	}
}

type transport struct {
	queueing *queueing
	next     http.RoundTripper
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err == nil {
		t.queueing.answered(resp)
	}
	return resp, err
}

func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }

// calls does everything that a program can do to locks as a service account, and returns
// how each call ended that could be made.
func calls(t *testing.T, config *rest.Config, cfg kubelock.Config) map[string]error {
	t.Helper()
	mine, others := program(t, config, cfg), program(t, env.Config, cfg)
	lock := func(key string) *kubelock.Lock[string] { return kubelock.NewLock[string](mine, key) }
	for _, key := range []string{"free", "unused", "handed on"} {
		held, err := kubelock.NewLock[string](others, key).Acquire(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := held.Update("state").Release(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	ended := map[string]error{}
	_, ended["Get"] = lock("free").Get(within(t))
	_, ended["Wait"] = lock("free").Wait(within(t))
	ended["Delete"] = lock("unused").Delete(within(t))
	hold, err := lock("free").TryAcquire(within(t))
	ended["TryAcquire"] = err
	first, err := lock("new").TryAcquire(within(t))
	ended["TryAcquire of a new lock"] = err
	for _, held := range []*kubelock.Held[string]{hold, first} {
		if held != nil {
			ended["Renew"] = errors.Join(ended["Renew"], held.Renew(within(t)))
			ended["Save"] = errors.Join(ended["Save"], held.Update("saved").Save(within(t)))
			ended["Release"] = errors.Join(ended["Release"], held.Release(within(t)))
		}
	}
	ended["Acquire of a held lock"] = acquireHeld(t, config, cfg)
	if held, err := lock("handed on").TryAcquire(within(t)); err == nil {
		ended["Release to a waiter"] = releaseTo(t, held, cfg)
	}
	return ended
}

// acquireHeld acquires a lock that another client holds and releases when this one is in
// the queue.
func acquireHeld(t *testing.T, config *rest.Config, cfg kubelock.Config) error {
	t.Helper()
	obstacle, err := kubelock.NewLock[string](program(t, env.Config, cfg), "held").Acquire(within(t))
	if err != nil {
		t.Fatal(err)
	}
	c, q := queueingClient(t, config, cfg)
	got := make(chan error, 1)
	go func() {
		_, err := kubelock.NewLock[string](c, "held").Acquire(within(t))
		got <- err
	}()
	select {
	case err := <-got:
		return err
	case <-q.done:
	}
	if err := obstacle.Release(within(t)); err != nil {
		t.Error(err)
	}
	return <-got
}

// releaseTo releases a lock that another client queues for.
func releaseTo(t *testing.T, held *kubelock.Held[string], cfg kubelock.Config) error {
	t.Helper()
	next, q := queueingClient(t, env.Config, cfg)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	got := make(chan error, 1)
	go func() {
		_, err := kubelock.NewLock[string](next, held.Key()).Acquire(ctx)
		got <- err
	}()
	<-q.done
	released := held.Release(within(t))
	if released != nil {
		cancel() // It would wait for the end of the lease.
	}
	if err := <-got; (err == nil) != (released == nil) {
		t.Errorf("the release ended with %v, and the next acquisition with %v", released, err)
	}
	return released
}

// without creates a service account with all but one verb of a ClusterRole, as the API
// server has it.
func without(t *testing.T, ns, role, verb string, resource schema.GroupResource) *rest.Config {
	t.Helper()
	api := env.Clientset(t).RbacV1().ClusterRoles()
	shipped, err := api.Get(within(t), role, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rules := shipped.DeepCopy().Rules
	for i := range rules {
		rules[i].Verbs = slices.DeleteFunc(rules[i].Verbs, func(v string) bool { return v == verb })
	}
	lesser := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: role + "-"}, Rules: rules}
	if lesser, err = api.Create(within(t), lesser, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	may := authorizationv1.ResourceAttributes{Verb: rules[0].Verbs[0], Group: resource.Group, Resource: resource.Resource}
	return env.AccountIn(t, ns, lesser.Name, may)
}

// TestEveryVerbIsNeeded takes each verb out of the roles of programs, and checks which calls
// fail without it, that their errors say what is missing, and that all others succeed.
func TestEveryVerbIsNeeded(t *testing.T) {
	t.Parallel()
	if installed != nil {
		t.Fatal(installed)
	}
	needed := map[string][]string{ // by which calls
		"":       nil,
		"get":    {"Get", "Wait", "Delete", "TryAcquire", "TryAcquire of a new lock", "Acquire of a held lock"},
		"create": {"TryAcquire of a new lock"},
		"update": {"TryAcquire", "Release"},
		"patch":  {"Renew", "Save", "Acquire of a held lock", "Release to a waiter"},
		"delete": {"Delete"},
		"watch":  {"Acquire of a held lock"},
		"list":   {},
	}
	for _, b := range backends {
		shipped, err := env.Clientset(t).RbacV1().ClusterRoles().Get(within(t), b.role, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(shipped.Rules) != 1 || len(shipped.Rules[0].Verbs) != len(needed)-1 {
			t.Errorf("the rules of %s are %v", b.role, shipped.Rules)
		}
		for verb, fail := range needed {
			if verb == "list" && env.Minor(t) == 33 { // Which has no lists that come as a watch, by default: see TestListIsNeeded.
				continue
			}
			t.Run(fmt.Sprintf("%s without %s", b.backend, verb), func(t *testing.T) {
				t.Parallel()
				ns := env.Namespace(t)
				cfg := kubelock.Config{Namespace: ns, Backend: b.backend, LockDuration: time.Hour}
				for call, err := range calls(t, without(t, ns, b.role, verb, b.resource), cfg) {
					text := fmt.Sprint(err)
					switch {
					case !slices.Contains(fail, call):
						if err != nil {
							t.Errorf("%s: %v", call, err)
						}
					case err == nil || !strings.Contains(text, "no permission to") || !strings.Contains(text, verb+" "+b.resource.String()) ||
						!strings.Contains(text, ns) || !strings.Contains(text, "bind the ClusterRole "+b.role+","):
						t.Errorf("%s: %v; want what permission is missing", call, err)
					}
				}
			})
		}
	}
}

// TestListIsNeeded shows why the roles have list, without which every call succeeds above: an
// informer opens its watch with the objects in it, but lists them first where an API server, or the
// program's own feature gate, does not have that.
func TestListIsNeeded(t *testing.T) {
	if installed != nil {
		t.Fatal(installed)
	}
	featuretesting.SetFeatureDuringTest(t, features.WatchListClient, false)
	for _, b := range backends {
		ns := env.Namespace(t)
		err := acquireHeld(t, without(t, ns, b.role, "list", b.resource), kubelock.Config{Namespace: ns, Backend: b.backend, LockDuration: time.Hour})
		if want := "no permission to list and watch " + b.resource.String(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s without list: %v, want %q", b.backend, err, want)
		}
	}
}
