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
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// classified notes the schema and the priority level by which the API server says that it
// has treated each request, by verb and resource.
type classified struct {
	mu   sync.Mutex
	seen map[string][]string
}

func (c *classified) wrap(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &classifying{c, next} })
	return config
}

// taken returns what was noted since the last call.
func (c *classified) taken() map[string][]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	c.seen = nil
	return seen
}

type classifying struct {
	classified *classified
	next       http.RoundTripper
}

func (c *classifying) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	verb := map[string]string{"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[req.Method]
	parts := strings.Split(req.URL.Path, "/")
	resource := parts[len(parts)-1]
	switch {
	case req.URL.Query().Get("watch") != "":
		verb = "watch"
	case slices.Contains([]string{"distributedlocks", "configmaps", "leases"}, resource) && verb == "get":
		verb = "list"
	case verb != "create":
		resource = parts[len(parts)-2]
	}
	c.classified.mu.Lock()
	defer c.classified.mu.Unlock()
	if c.classified.seen == nil {
		c.classified.seen = map[string][]string{}
	}
	what := verb + " " + resource
	by := resp.Header.Get("X-Kubernetes-Pf-Flowschema-Uid") + " in " + resp.Header.Get("X-Kubernetes-Pf-Prioritylevel-Uid")
	if !slices.Contains(c.classified.seen[what], by) {
		c.classified.seen[what] = append(c.classified.seen[what], by)
	}
	return resp, nil
}

func (c *classifying) WrappedRoundTripper() http.RoundTripper { return c.next }

// get reads something, whatever comes of it.
func get(t *testing.T, clients kubernetes.Interface, path string) {
	t.Helper()
	clients.Discovery().RESTClient().Get().AbsPath(path).MaxRetries(0).Do(within(t))
}

// TestFlowControl checks by what the API server says of each request that locks, and the
// reaper, have their own share of it, and nobody else has.
func TestFlowControl(t *testing.T) {
	t.Parallel()
	if installed != nil {
		t.Fatal(installed)
	}
	for _, file := range []string{"priority_level.yaml", "flow_schemas.yaml"} {
		if out, err := env.Kubectl(within(t), "", "apply", "-f", "config/components/flowcontrol/"+file); err != nil || strings.Contains(out, "Warning") {
			t.Fatalf("%v: %s", err, out)
		}
	}
	api := env.Clientset(t).FlowcontrolV1()
	level, err := api.PriorityLevelConfigurations().Get(within(t), "kubelock", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	by := func(name string) string {
		t.Helper()
		schema, err := api.FlowSchemas().Get(within(t), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return string(schema.UID) + " in " + string(level.UID)
	}
	locks, reaper := by("kubelock-locks"), by("kubelock-reaper")

	ns := env.Namespace(t)
	programConfig := env.AccountIn(t, ns, "kubelock-user", authorizationv1.ResourceAttributes{Verb: "create", Group: "kubelock.dev", Resource: "distributedlocks"})
	var ofProgram, ofReaper classified
	client := func(config *rest.Config, c *classified) kubernetes.Interface {
		clients, err := kubernetes.NewForConfig(c.wrap(config))
		if err != nil {
			t.Fatal(err)
		}
		return clients
	}
	program, reaperClient := client(programConfig, &ofProgram), client(env.ServiceAccount(t, testenv.ReaperNamespace, testenv.ReaperAccount), &ofReaper)
	const path = "/apis/kubelock.dev/v1alpha1/namespaces/"
	err = wait.PollUntilContextCancel(within(t), 20*time.Millisecond, true, func(context.Context) (bool, error) {
		get(t, program, path+ns+"/distributedlocks/orders")
		get(t, reaperClient, path+ns+"/distributedlocks/orders")
		is := func(c *classified, by string) bool {
			return slices.Equal(c.taken()["get distributedlocks"], []string{by})
		}
		mine, theirs := is(&ofProgram, locks), is(&ofReaper, reaper)
		return mine && theirs, nil
	})
	if err != nil {
		t.Fatalf("the API server does not use the schemas: %v", err)
	}

	// Everything that the library sends.
	for call, err := range calls(t, ofProgram.wrap(programConfig), kubelock.Config{Namespace: ns, LockDuration: time.Hour}) {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	seen := ofProgram.taken()
	for _, verb := range []string{"get", "create", "update", "patch", "delete", "watch"} {
		if got := seen[verb+" distributedlocks"]; !slices.Equal(got, []string{locks}) {
			t.Errorf("to %s a lock is treated by %q, want %q", verb, got, locks)
		}
	}
	// What the same account does otherwise, allowed or not.
	for _, path := range []string{
		path + ns + "/distributedlocks", "/api/v1/namespaces/" + ns + "/configmaps/a", "/apis/coordination.k8s.io/v1/namespaces/" + ns + "/leases/a",
	} {
		get(t, program, path)
	}
	for what, got := range ofProgram.taken() {
		if len(got) != 1 || got[0] == locks || strings.HasSuffix(got[0], " in "+string(level.UID)) || strings.HasPrefix(got[0], " ") {
			t.Errorf("to %s is treated by %q, want another level than %s", what, got, level.UID)
		}
	}
	// The reaper, wholly.
	for _, path := range []string{
		path + ns + "/distributedlocks", "/api/v1/configmaps", "/apis/coordination.k8s.io/v1/namespaces/" + testenv.ReaperNamespace + "/leases/reaper.kubelock.dev",
		"/apis/events.k8s.io/v1/namespaces/" + ns + "/events/a", "/api/v1/namespaces/" + ns,
	} {
		get(t, reaperClient, path)
	}
	all := ofReaper.taken()
	if len(all) != 5 {
		t.Errorf("the reaper's requests are %v", all)
	}
	for what, got := range all {
		if !slices.Equal(got, []string{reaper}) {
			t.Errorf("the reaper's to %s is treated by %q, want %q", what, got, reaper)
		}
	}
}
