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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"
)

// checkState says what is wrong with a text that is to be a lock's state, or to be compared
// with one. what names the text. State is JSON in UTF-8; text that is not is refused, and
// never mended.
func checkState(what string, text []byte) error {
	var wrong string
	switch {
	case !utf8.Valid(text):
		wrong = "is not UTF-8: %.60q; a lock's state is JSON in UTF-8, so encode other bytes, such as by base64"
	case !json.Valid(text):
		wrong = "is no JSON: %.60q; text needs quotes of its own, as '\"text\"'"
	default:
		return nil
	}
	return &exitError{code: exitData, err: fmt.Errorf("%s "+wrong+"; the lock's state stays as it was", what, text)}
}

// editedState is the error of a lock whose stored state is no JSON.
func editedState(key string) error {
	return &exitError{code: exitData, err: fmt.Errorf("the state of %q is no JSON: its object was edited by hand; "+
		"mend that, or remove the lock with \"kubectl dlock delete\"", key)}
}

// maxText is how much of a text is read that is to be a lock's state. It has room for
// far more blanks than any state needs, and keeps a file of gigabytes out of the memory.
const maxText = 16 << 20

var errTooLong = fmt.Errorf("has more than %d MiB, which is more than any lock stores", maxText>>20)

// readState reads a text to its end.
func readState(in io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxText+1))
	if err == nil && len(text) > maxText {
		err = errTooLong
	}
	return text, err
}

// readStateFile reads a file, or whatever else there is to read at that path.
func readStateFile(path string) (text []byte, err error) {
	file, err := os.Open(path) //nolint:gosec // The user names it.
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return readState(file)
}
