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
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// valueFile is a lock's state in a file that only its user can read.
type valueFile struct {
	path    string
	before  []byte
	unclaim func()
}

// folderPattern are the names of the folders of value files.
const folderPattern = "kubectl-dlock-value-*"

// newValueFile makes the file, in a folder of its own.
func newValueFile(value json.RawMessage, exists bool) (*valueFile, error) {
	sweep()
	dir, unclaim, err := claimedFolder()
	if err != nil {
		return nil, fmt.Errorf("no file for the lock's state: set TMPDIR to a folder that can be written: %w", err)
	}
	f := &valueFile{path: filepath.Join(dir, "value.json"), unclaim: unclaim}
	if exists {
		f.before = append(bytes.Clone(value), '\n')
	}
	if err := os.WriteFile(f.path, f.before, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("no file for the lock's state: set TMPDIR to a folder with room: %w", err), f.remove())
	}
	return f, nil
}

// claimedFolder makes a folder that no other plugin sweeps away. One that sweeps between the making and the claim has
// the folder; another one is made then.
func claimedFolder() (dir string, unclaim func(), err error) {
	for {
		if dir, err = os.MkdirTemp("", folderPattern); err != nil {
			return "", nil, err
		}
		unclaim, err = claim(dir)
		switch {
		case err == nil && !present(dir):
			unclaim()
		case err == nil:
			return dir, unclaim, nil
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errClaimed):
			return dir, func() {}, nil // The file system has no claims, and so no plugin sweeps there.
		}
	}
}

func present(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// errClaimed is the error of a claim to what another process has claimed.
var errClaimed = errors.New("another process has claimed it")

// read returns what the command has left in the file; nil is no state. changed is false
// if that is what was there before.
func (f *valueFile) read() (value json.RawMessage, changed bool, err error) {
	text, err := f.text()
	switch {
	case err != nil:
		return nil, false, &exitError{code: exitData, err: fmt.Errorf("the lock's state was not written: %w", err)}
	case bytes.Equal(text, f.before):
		return nil, false, nil
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return nil, true, nil
	}
	return text, true, checkState("what the command left in $KUBELOCK_VALUE_FILE", text)
}

// text is what the file has. The command may have put something else in its place, of which
// a pipe could not be read to its end.
func (f *valueFile) text() (text []byte, err error) {
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the command left something at %s that is no regular file", f.path)
	}
	if text, err = readState(file); err != nil {
		return nil, fmt.Errorf("what the command left in $KUBELOCK_VALUE_FILE %w", err)
	}
	return text, nil
}

// remove removes the file and its folder.
func (f *valueFile) remove() error {
	f.unclaim()
	return os.RemoveAll(filepath.Dir(f.path))
}
