//go:build unix

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

package cli

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// claim marks a folder as one in use, for as long as this process lives. What it returns ends that.
func claim(dir string) (unclaim func(), err error) {
	f, err := os.Open(dir) //nolint:gosec // It is this program's own.
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // Nothing was written.
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errClaimed
		}
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// sweep removes the user's folders of plugins that have gone. A guard removes that of its plugin, but a guard may be
// killed, too. A command that outlives both has no use for the folder: the state in it is written to no lock.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), folderPattern)) // The pattern is right.
	for _, dir := range left {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Getuid() {
			continue
		}
		unclaim, err := claim(dir)
		if err != nil {
			continue // Its plugin lives.
		}
		_ = os.RemoveAll(dir) // The next run tries again.
		unclaim()
	}
}
