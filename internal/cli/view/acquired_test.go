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
	"bytes"
	"testing"
)

// TestAcquired writes a hold for people, for programs and for a shell.
func TestAcquired(t *testing.T) {
	const env = "export KUBELOCK_KEY='it'\\''s'\nexport KUBELOCK_LOCK_ID='id'\nexport KUBELOCK_TOKEN=3\n" +
		"# Renew:   kubectl dlock renew -n ns -- \"$KUBELOCK_KEY\"\n# Release: kubectl dlock release -n ns -- \"$KUBELOCK_KEY\"\n"
	const text = "lock ID:  id\ntoken:    3\nexpires:  2026-11-29T12:00:00Z\n"
	for _, tt := range []struct{ key, format, want string }{
		{"it's", "env", env},
		{"it's", "json", "{\n  \"key\": \"it's\",\n  \"lockID\": \"id\",\n  \"token\": 3,\n  \"expireTime\": \"2026-11-29T12:00:00Z\"\n}\n"},
		{"it's", "text", text + "renew:    kubectl dlock renew -n ns --lock-id id -- 'it'\\''s'\nrelease:  kubectl dlock release -n ns --lock-id id -- 'it'\\''s'\n"},
		{"a\x1bb", "text", text + "renew:    kubectl dlock renew -n ns --lock-id id -- \"$KUBELOCK_KEY\"\nrelease:  kubectl dlock release -n ns --lock-id id -- \"$KUBELOCK_KEY\"\n"},
	} {
		var out bytes.Buffer
		if err := (Acquired{Key: tt.key, LockID: "id", Token: 3, ExpireTime: noon, Where: " -n ns"}).Write(&out, tt.format); err != nil {
			t.Fatal(err)
		}
		if out.String() != tt.want {
			t.Errorf("%q as %s is\n%s, want\n%s", tt.key, tt.format, out.String(), tt.want)
		}
	}
}
