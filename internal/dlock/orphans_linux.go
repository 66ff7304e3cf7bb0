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

package dlock

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// children are the processes that this program has started and waits for itself.
var children struct {
	mu   sync.Mutex // held while one starts, so that none can end unknown
	pids []int
}

// begin starts a process whose end this program takes note of by cmd.Wait.
func begin(cmd *exec.Cmd) error {
	children.mu.Lock()
	defer children.mu.Unlock()
	err := cmd.Start()
	if err == nil {
		children.pids = append(children.pids, cmd.Process.Pid)
	}
	return err
}

// adopt takes note of the ends of processes that others have left, for as long as the
// program runs: as the first process of a container the plugin is given all of them, and
// each would stay in the table of processes as a zombie otherwise.
func adopt() {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGCHLD)
	go func() {
		for range ends {
			reap()
		}
	}()
}

// reap takes note of each orphan that has ended.
func reap() {
	var ended unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &ended, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil || ended.Signo == 0 {
		return // Nothing has ended of which no note was taken.
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			reapOrphan(pid)
		}
	}
}

// reapOrphan takes note of the end of a process, if it has ended and is an orphan.
//
// Invariant: nothing that this program waits for otherwise is an orphan. The command and
// its guard are in children. What client-go starts, which is what prints credentials, stays in
// this program's process group; orphans of the command, and of what others start in the
// container, are in groups of their own.
func reapOrphan(pid int) {
	children.mu.Lock()
	defer children.mu.Unlock()
	if slices.Contains(children.pids, pid) {
		return
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return
	}
	var state byte
	var parent, group int
	// The name before it may have any characters.
	_, err = fmt.Sscanf(string(text[bytes.LastIndexByte(text, ')')+1:]), " %c %d %d", &state, &parent, &group)
	if err != nil || state != 'Z' || parent != os.Getpid() || group == unix.Getpgrp() {
		return
	}
	_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // Whether it was there does not matter.
}
