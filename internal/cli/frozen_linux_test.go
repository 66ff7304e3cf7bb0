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
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// cgroup creates a cgroup and returns its folder. It skips the test where that is not possible.
func cgroup(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var root, path string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			root = fields[1]
		}
	}
	for line := range strings.Lines(string(own)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path = rest
		}
	}
	if root == "" || path == "" {
		t.Skip("this system has no cgroup v2")
	}
	dir := filepath.Join(root, path, fmt.Sprintf("kubelock-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("this account may not create a cgroup: %v", err)
	}
	t.Cleanup(func() {
		eventually(t, "the cgroup is removed", func() bool { return os.Remove(dir) == nil })
	})
	return dir
}

// TestRunFrozen freezes the cgroup of the plugin, its guard and its command for longer than the lease, as a container
// runtime does that pauses a container.
func TestRunFrozen(t *testing.T) {
	t.Parallel()
	dir := cgroup(t)
	folder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = folder.Close() }) // It is only read.
	freeze := func(state, frozen string) error {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte(state), 0o600); err != nil {
			return err
		}
		eventually(t, "the cgroup is frozen: "+state, func() bool {
			events, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
			return err == nil && strings.Contains(string(events), frozen)
		})
		return nil
	}
	thaw := func() error { return freeze("0", "frozen 0") }
	ns := env.Namespace(t)
	cmd := scripted(t, ns, forever, "--duration", "2s", "--grace", "1h")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(folder.Fd())}
	r := begin(t, cmd)
	t.Cleanup(func() {
		if err := thaw(); err != nil {
			t.Error(err)
		}
	})
	r.outlasts(t, ns, func() error { return freeze("1", "frozen 1") }, thaw)
}
