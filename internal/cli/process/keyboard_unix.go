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

package process

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal is that of the plugin, whose keyboard only one process group may read.
//
// If plugin and output are in its foreground, the command's group begins there. In a pipeline the foreground stays
// with the plugin's group, because a pager at the pipeline's end needs the keyboard; and in the background a shell
// keeps it. There the kernel stops the command's group when one of its processes reads (SIGTTIN). The guard is in that group, and says
// so. The plugin then lends the foreground to the group, at once in a pipeline, and otherwise as soon as the plugin's group has
// it, by the shell's fg. The plugin itself is never stopped: it renews the lock meanwhile.
type terminal struct {
	fd    int       // of the terminal in whose foreground the group is; -1 if in none. Protected by mu
	asks  io.Reader // a byte for each time that the group was stopped
	lends bool      // the group may get the foreground later

	mu      sync.Mutex
	waits   bool          // the group is stopped until the plugin has the foreground; protected by mu
	lent    bool          // the group has it since; protected by mu
	stop    chan struct{} // is closed when the command has ended; nil if nothing is lent
	lending sync.WaitGroup
}

// foregroundInterval is how often the plugin looks whether it has the foreground, while its command is stopped for that.
const foregroundInterval = 100 * time.Millisecond

// tellOfReads has a guard write a byte for each time that its group was to be stopped because it reads from the terminal.
func tellOfReads() {
	stops := make(chan os.Signal, 1)
	signal.Notify(stops, unix.SIGTTIN)
	go func() {
		for range stops {
			_, _ = os.Stdout.WriteString("r") // If the plugin has gone, the guard ends soon.
		}
	}()
}

// open finds out whether there is a terminal, and whether the group is to begin in its foreground. asks is the guard's output.
func (t *terminal) open(asks io.Reader) {
	fd := int(os.Stdin.Fd())
	pgrp, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err != nil { // It is no terminal, or not the one of this session.
		return
	}
	if pgrp == unix.Getpgrp() && term.IsTerminal(int(os.Stdout.Fd())) {
		t.fd = fd
		return
	}
	t.asks, t.lends = asks, true
}

// Foreground reports whether what is pressed on a terminal goes to the group alone.
func (t *terminal) Foreground() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fd >= 0
}

// waiting reports whether the group is stopped until it gets the foreground.
func (t *terminal) waiting() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waits
}

// lend gives the foreground to the group when it asks for that and the plugin has it, until takeBack.
func (t *terminal) lend(group int, errOut io.Writer) {
	t.stop = make(chan struct{})
	asked := make(chan struct{}, 1)
	go func() { // It ends with the guard.
		for text := make([]byte, 16); ; {
			if _, err := t.asks.Read(text); err != nil {
				return
			}
			select {
			case asked <- struct{}{}:
			default:
			}
		}
	}()
	t.lending.Go(func() {
		looks := time.NewTicker(foregroundInterval)
		defer looks.Stop()
		told := false
		for {
			select {
			case <-t.stop:
				return
			case <-asked:
				if !t.give(group) && !told {
					told = true
					fmt.Fprintln(errOut, "the command waits for the keyboard, and keeps the lock: bring it to the foreground with fg")
				}
			case <-looks.C:
				if t.waiting() {
					t.give(group)
				}
			}
		}
	})
}

// give gives the foreground to the group if the plugin has it.
func (t *terminal) give(group int) (given bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fd := int(os.Stdin.Fd())
	pgrp, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err == nil && pgrp == unix.Getpgrp() {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, group)
		pgrp = group
	}
	if err == nil && pgrp != group {
		t.waits = true
		return false
	}
	if err == nil {
		t.fd, t.lent = fd, true
	}
	t.waits = false
	_ = unix.Kill(-group, unix.SIGCONT) // Without a terminal it learns of that by its next read.
	return true
}

// takeBack gives the foreground back to the plugin's group. What was stopped there meanwhile, as a pager is that wanted the
// keyboard, goes on.
func (t *terminal) takeBack() {
	if t.stop != nil {
		close(t.stop)
		t.lending.Wait()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fd < 0 {
		return
	}
	_ = unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, unix.Getpgrp()) // It may have hung up.
	if t.lent {
		_ = unix.Kill(0, unix.SIGCONT) // The plugin is in its own group.
	}
}
