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

// Package history has the records of a run: the journals of the clients, and every version of every
// lock in etcd. All times are readings of the machine's monotonic clock, which all processes share.
package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Now returns the time of the machine's monotonic clock, in nanoseconds. The clock goes on while a
// process is stopped.
func Now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // Every Linux has that clock.
	}
	return ts.Nano()
}

// In returns the reading of the monotonic clock at t, or a slightly earlier one.
func In(t time.Time) int64 {
	now := Now() // Read first: if the process is stopped before the next line, the result is too early, and never too late.
	return now + int64(time.Until(t))
}

// Outcome is the outcome of a call of the library, as the library reported it.
type Outcome string

// The outcomes of calls.
const (
	OK          Outcome = "ok"
	NotAcquired Outcome = "not acquired"
	Lost        Outcome = "lost"
	Unknown     Outcome = "unknown outcome"
	Closed      Outcome = "closed"
	Failed      Outcome = "failed" // any other error: nothing was done
	Cut         Outcome = "cut"    // the process ended before the call returned
)

// The types of entries in a journal.
const (
	Start  = "start"  // a process began
	Call   = "call"   // an operation was called
	Return = "return" // it returned
	Alive  = "alive"  // a hold lasts until Deadline, as its client sees it
	Late   = "late"   // a hold's context outlived its deadline
	Exit   = "exit"   // a process ended in order
)

// The operations.
const (
	Acquire = "acquire"
	Save    = "save"
	Release = "release"
	Get     = "get"
	Wait    = "wait"
	Delete  = "delete"
	Apply   = "apply"
)

// Entry is one line of a journal.
type Entry struct {
	At       int64   `json:"at"`
	Is       string  `json:"is"`
	Process  string  `json:"process,omitempty"`
	ID       string  `json:"id,omitempty"`   // of the operation
	Op       string  `json:"op,omitempty"`   // the name of the operation
	Kind     string  `json:"kind,omitempty"` // the kind of the lock's object
	Key      string  `json:"key,omitempty"`
	Hold     string  `json:"hold,omitempty"`   // the acquire that a save or release belongs to
	Client   string  `json:"client,omitempty"` // the instance of the library, if it is known
	LockID   string  `json:"lockID,omitempty"`
	Token    int64   `json:"token,omitempty"`
	Read     string  `json:"read,omitempty"`  // the write whose state was read
	Write    string  `json:"write,omitempty"` // the write that the call requests
	Deadline int64   `json:"deadline,omitempty"`
	Fails    bool    `json:"fails,omitempty"`   // the function of an apply fails, so that its write must not be stored
	Timeout  int64   `json:"timeout,omitempty"` // how long an acquire or apply may wait
	Final    bool    `json:"final,omitempty"`   // the call was made after the last fault had ended
	Outcome  Outcome `json:"outcome,omitempty"`
	Err      string  `json:"err,omitempty"`
}

// Journal is the journal of one process. Each entry is written by one system call, so that no entry
// is lost when the process is killed.
type Journal struct {
	mu   sync.Mutex // protects file
	file *os.File
}

// NewJournal creates a file for a journal.
func NewJournal(path string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return &Journal{file: file}, nil
}

// Note writes an entry. It panics if it cannot: a run without a complete journal proves nothing.
func (j *Journal) Note(e Entry) {
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }

// ReadJournal returns the entries of a journal. It ignores a last line that is incomplete, because its
// process was killed.
func ReadJournal(path string) ([]Entry, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			if !lines.Scan() {
				break
			}
			return nil, fmt.Errorf("%s: line %d: %w", path, len(entries)+1, err)
		}
		entries = append(entries, e)
	}
	return entries, lines.Err()
}
