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

package dlock_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestList lists locks of each kind, free and held, as people and programs read them.
func TestList(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
		c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, Backend: backend, LockDuration: time.Hour, Identity: "me"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := kubelock.NewLock[any](c, "held/by "+string(backend)).Acquire(within(t, patience)); err != nil {
			t.Fatal(err)
		}
		free, err := kubelock.NewLock[any](c, "free-"+strings.ToLower(string(backend))).Acquire(within(t, patience))
		if err != nil {
			t.Fatal(err)
		}
		if err := free.Release(within(t, patience)); err != nil {
			t.Fatal(err)
		}
	}

	table := dlock(t, ns, "list")
	table.want(t, 0)
	lines := strings.Split(strings.TrimSpace(table.out), "\n")
	if len(lines) != 7 || strings.Fields(lines[0])[0] != "KEY" {
		t.Fatalf("the table is\n%s", table.out)
	}
	for _, line := range lines[1:] {
		if held := strings.HasPrefix(line, "held/by "); held != strings.Contains(line, "   me   ") {
			t.Errorf("a line is %q", line)
		}
	}

	read := dlock(t, ns, "ls", "-A", "-o", "json")
	read.want(t, 0)
	var rows []struct {
		Kind      string `json:"kind"`
		Namespace string `json:"namespace"`
		Key       string `json:"key"`
		Holder    *struct {
			Identity   string    `json:"identity"`
			LockID     string    `json:"lockID"`
			ExpireTime time.Time `json:"expireTime"`
		} `json:"holder"`
	}
	if err := json.Unmarshal([]byte(read.out), &rows); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, r := range rows {
		if r.Namespace != ns {
			continue // Of other tests.
		}
		kinds[r.Kind]++
		if r.Holder != nil && (r.Holder.Identity != "me" || r.Holder.LockID == "" || time.Until(r.Holder.ExpireTime) > 2*time.Hour || time.Until(r.Holder.ExpireTime) < 30*time.Minute) {
			t.Errorf("the holder of %s is %+v", r.Key, r.Holder)
		}
		if strings.HasPrefix(r.Key, "held/") != (r.Holder != nil) {
			t.Errorf("the holder of %s is %+v", r.Key, r.Holder)
		}
	}
	if len(kinds) != 3 || kinds["Leases"] != 2 {
		t.Errorf("the namespace has %v, want two of each kind", kinds)
	}

	names := dlock(t, ns, "list", "--backend", "leases", "-o", "name")
	names.want(t, 0)
	if lines := strings.Fields(names.out); len(lines) != 2 || !strings.HasPrefix(lines[0], "leases.coordination.k8s.io/free-leases") {
		t.Errorf("the names are %q", names.out)
	}
	if wide := dlock(t, ns, "list", "-o", "wide"); !strings.Contains(wide.out, "LOCK ID") {
		t.Errorf("the wide table is %q", wide.out)
	}
	if other := dlock(t, ns, "list", "-o", "yaml"); !strings.Contains(other.out, "kind: ConfigMaps") {
		t.Errorf("as YAML they are %q", other.out)
	}
	dlock(t, env.Namespace(t), "list").want(t, 0, "No locks found")
	dlock(t, ns, "--as", "nobody", "list").want(t, 69, "no permission to list")
	dlock(t, ns, "list", "-o", "xml").want(t, 64, `--output "xml" is unknown`)
	dlock(t, ns, "list", "extra").want(t, 64, "takes no arguments")
}
