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

// Package history is what a run leaves behind: what the clients say that they did, and
// every version of every lock as etcd has it. All times in it are readings of the
// machine's monotonic clock, which processes share.
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

// Now reads the machine's monotonic clock, in nanoseconds. A process that was stopped
// finds that it has gone on.
func Now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // Every Linux has that clock.
	}
	return ts.Nano()
}

// In returns what the monotonic clock shows at t, or a little earlier.
func In(t time.Time) int64 {
	now := Now() // First: if the process is stopped in between, the result is too early, and never too late.
	return now + int64(time.Until(t))
}

// Outcome is what a call of the library said.
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

// What an entry of a journal says.
const (
	Start  = "start"  // a process began
	Call   = "call"   // an operation was called
	Return = "return" // it returned
	Alive  = "alive"  // a hold believes that it lasts until Deadline
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
)

// Entry is one line of a journal.
type Entry struct {
	At       int64   `json:"at"`
	Is       string  `json:"is"`
	Process  string  `json:"process,omitempty"`
	ID       string  `json:"id,omitempty"`   // of the operation
	Op       string  `json:"op,omitempty"`   // which one
	Kind     string  `json:"kind,omitempty"` // of object the lock is kept in
	Key      string  `json:"key,omitempty"`
	Hold     string  `json:"hold,omitempty"`   // the acquire that a save or release belongs to
	Client   string  `json:"client,omitempty"` // instance, if it is known
	LockID   string  `json:"lockID,omitempty"`
	Token    int64   `json:"token,omitempty"`
	Read     string  `json:"read,omitempty"`  // the write whose state was read
	Write    string  `json:"write,omitempty"` // the write that is asked for
	Deadline int64   `json:"deadline,omitempty"`
	Timeout  int64   `json:"timeout,omitempty"` // how long an acquire is to wait
	Final    bool    `json:"final,omitempty"`   // it was called after the last fault had ended
	Outcome  Outcome `json:"outcome,omitempty"`
	Err      string  `json:"err,omitempty"`
}

// State is what every lock of a run keeps: how many writes there were, and the last
// one's name, which no other write has.
type State struct {
	Count int    `json:"count"`
	Write string `json:"write"`
}

// Journal is written by one process. Each entry is one system call, so that a process
// that is killed leaves everything that it has noted.
type Journal struct {
	mu   sync.Mutex // protects file
	file *os.File
}

// NewJournal writes to a new file.
func NewJournal(path string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return &Journal{file: file}, nil
}

// Note writes an entry. A test that cannot note what happened must not go on.
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

// ReadJournal reads the entries of a process. The last line of one that was killed may
// be cut short.
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
