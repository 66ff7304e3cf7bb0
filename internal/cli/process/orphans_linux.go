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

package process

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

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

const (
	// lookAgain is how long after a look at zombies in this program's own process group the next one is, and looks is
	// how many find a zombie before it is taken for an orphan. A process that this program waits for is one for a
	// moment only: its caller waits from its start on.
	lookAgain = 2 * time.Second
	looks     = 3
)

// Adopt takes note of the ends of processes that others have left, for as long as the
// program runs: as the first process of a container the plugin is given all of them, and
// each would stay in the table of processes as a zombie otherwise.
func Adopt() {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGCHLD)
	go func() {
		found := map[zombie]int{}
		var again <-chan time.Time
		for {
			select {
			case <-ends:
				reap(found, false)
			case <-again:
				again = nil
				reap(found, true)
			}
			if len(found) > 0 && again == nil {
				again = time.After(lookAgain)
			}
		}
	}()
}

// zombie is a process that has ended, in this program's own process group. Its start tells it from a later one
// with the same number.
type zombie struct {
	pid   int
	start uint64
}

// reap takes note of each orphan that has ended. found has those that may be none, with the number of looks that have
// found them; counts is set if this is one more.
func reap(found map[zombie]int, counts bool) {
	var ended unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &ended, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil || ended.Signo == 0 {
		clear(found)
		return // Nothing has ended of which no note was taken.
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	before := maps.Clone(found)
	clear(found)
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		z, ended, own := lookAt(pid)
		switch n := before[z]; {
		case !ended:
		case !own, counts && n+1 >= looks:
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // Whether it was there does not matter.
		case counts:
			found[z] = n + 1
		default:
			found[z] = n
		}
	}
}

// lookAt reports whether a process has ended which this program does not wait for by begin, and whether it is in this
// program's own process group.
//
// Invariant: nothing that this program waits for otherwise is reaped. The command and
// its guard are in children. What client-go starts, which is what prints credentials, stays in
// this program's process group, and so do the orphans that it leaves. Orphans of the command, and of what others
// Start in the container, are in groups of their own.
func lookAt(pid int) (z zombie, ended, own bool) {
	children.mu.Lock()
	defer children.mu.Unlock()
	if slices.Contains(children.pids, pid) {
		return z, false, false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return z, false, false
	}
	// The name before it may have any characters. The fields are from the third on, which is the state.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const state, parent, group, start = 0, 1, 2, 19
	if len(fields) <= start || fields[state] != "Z" || fields[parent] != strconv.Itoa(os.Getpid()) {
		return z, false, false
	}
	z.pid = pid
	z.start, err = strconv.ParseUint(fields[start], 10, 64)
	return z, err == nil, fields[group] == strconv.Itoa(unix.Getpgrp())
}
