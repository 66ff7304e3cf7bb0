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

package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// kinds are the backends of the tests that have to do with each.
var kinds = []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps}

// of returns a client for locks of one kind.
func of(t testing.TB, ns string, backend kubelock.Backend, identity string) *kubelock.Client {
	t.Helper()
	c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, Backend: backend, LockDuration: time.Hour, Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// keep leaves a free lock with state.
func keep(t testing.TB, c *kubelock.Client, key, state string) {
	t.Helper()
	h, err := kubelock.NewLock[json.RawMessage](c, key).Acquire(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Update(json.RawMessage(state)).Release(within(t, patience)); err != nil {
		t.Fatal(err)
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			get := func(args ...string) result {
				return dlock(t, ns, append([]string{"get", "--backend", string(backend)}, args...)...)
			}
			c := of(t, ns, backend, "me")
			get("a/Key").want(t, 66, `no lock "a/Key"`, "dlock list")
			h, err := kubelock.NewLock[json.RawMessage](c, "a/Key").Acquire(within(t, patience))
			if err != nil {
				t.Fatal(err)
			}
			r := get("a/Key")
			r.want(t, 66, "has no state")
			if r.out != "" {
				t.Errorf("without state it prints %q", r.out)
			}
			if err := h.Update(json.RawMessage(`{"n":12345678901234567890,"s":"<&>"}`)).Save(within(t, patience)); err != nil {
				t.Fatal(err)
			}
			r = get("a/Key")
			r.want(t, 0)
			if r.out != `{"n":12345678901234567890,"s":"<&>"}`+"\n" {
				t.Errorf("the state is %q", r.out)
			}
			r = get("a/Key", "-o", "json")
			r.want(t, 0)
			var all struct {
				Kind      string `json:"kind"`
				Namespace string `json:"namespace"`
				Key       string `json:"key"`
				Holder    struct {
					Identity string `json:"identity"`
					LockID   string `json:"lockID"`
					Token    int64  `json:"token"`
				} `json:"holder"`
				Value json.RawMessage `json:"value"`
			}
			if err := json.Unmarshal([]byte(r.out), &all); err != nil {
				t.Fatal(err)
			}
			if all.Kind != string(backend) || all.Namespace != ns || all.Key != "a/Key" || all.Holder.Identity != "me" ||
				all.Holder.LockID != h.ID() || all.Holder.Token != h.Token() || !strings.Contains(string(all.Value), "12345678901234567890") {
				t.Errorf("everything is %s", r.out)
			}
			if r := get("a/Key", "-o", "yaml"); r.code != 0 || !strings.Contains(r.out, "\nkey: a/Key\n") {
				t.Errorf("as YAML it is %+v", r)
			}
		})
	}
}

func TestGetRefuses(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	keep(t, of(t, ns, kubelock.DistributedLocks, "me"), "edited", "1")
	obj := object(t, ns, "edited")
	if err := env.Client(t).Patch(within(t, patience), obj, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"value":"}"}}`))); err != nil {
		t.Fatal(err)
	}
	dlock(t, ns, "get", "edited").want(t, 65, "no JSON")
	dlock(t, ns, "get").want(t, 64, "one KEY")
	dlock(t, ns, "get", "").want(t, 64, "empty")
	dlock(t, ns, "get", strings.Repeat("k", 254)).want(t, 64, "253")
	dlock(t, ns, "get", "\xff").want(t, 64, "UTF-8")
	dlock(t, ns, "get", "k", "-o", "xml").want(t, 64, "--output")
	dlock(t, "nowhere", "get", "k").want(t, 66, `namespace "nowhere"`)
}
