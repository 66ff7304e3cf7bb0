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

package view

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Acquired is what a script needs to know of its hold.
type Acquired struct {
	Key        string    `json:"key"`
	LockID     string    `json:"lockID"`
	Token      int64     `json:"token"`
	ExpireTime time.Time `json:"expireTime"` // By the local clock.

	Where string `json:"-"` // The flags that name the same lock, for a shell; each begins with a blank.
}

// Write writes it as text, json or env.
func (a Acquired) Write(out io.Writer, format string) error {
	text := fmt.Sprintf("lock ID:  %s\ntoken:    %d\nexpires:  %s\nrenew:    %s\nrelease:  %s\n",
		a.LockID, a.Token, a.ExpireTime.Format(time.RFC3339), a.command("renew"), a.command("release"))
	switch format {
	case "json":
		encoded, err := json.MarshalIndent(a, "", "  ")
		if err != nil {
			return err
		}
		text = string(encoded) + "\n"
	case "env":
		// The comments are last, and hold no text of others: some scripts evaluate all as one line.
		text = fmt.Sprintf("export KUBELOCK_KEY=%s\nexport KUBELOCK_LOCK_ID=%s\nexport KUBELOCK_TOKEN=%d\n"+
			"# Renew:   kubectl dlock renew%s -- \"$KUBELOCK_KEY\"\n# Release: kubectl dlock release%s -- \"$KUBELOCK_KEY\"\n",
			quoted(a.Key), quoted(a.LockID), a.Token, a.Where, a.Where)
	}
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("printing the lock ID: %w", err)
	}
	return nil
}

// command is how a hold is renewed, or released, from a shell. A key that would not be shown as it is does
// not stand in it.
func (a Acquired) command(name string) string {
	key := `"$KUBELOCK_KEY"`
	if printable(a.Key) == a.Key {
		key = quoted(a.Key)
	}
	return fmt.Sprintf("kubectl dlock %s%s --lock-id %s -- %s", name, a.Where, a.LockID, key)
}

// quoted is text as one word of a POSIX shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
