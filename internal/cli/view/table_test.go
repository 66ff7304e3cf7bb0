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
	"time"
)

// TestTable writes rows twice: below the headings, and below the first rows.
func TestTable(t *testing.T) {
	free := Lock{Kind: "Leases", Namespace: "other", Name: "f", Key: "f\x1b[2J", Transitions: 1}
	gone := shown()
	gone.Deleted = true
	for _, tt := range []struct {
		name  string
		table Table
		want  string
	}{
		{"usual", Table{}, `
KEY     HOLDER                        HELD FOR   EXPIRES IN   WAITERS   TOKEN
a/Key   bad�[31mname�Holder: nobody   70s        10s          2         9
f�[2J   <none>                        <none>     <none>       0         <none>
a/Key   <deleted>                     <none>     <none>       2         9
`},
		{"with namespaces and kinds", Table{Namespaces: true, Kinds: true}, `
NAMESPACE   KEY     HOLDER                        HELD FOR   EXPIRES IN   WAITERS   TOKEN    KIND
ns          a/Key   bad�[31mname�Holder: nobody   70s        10s          2         9        DistributedLocks
other       f�[2J   <none>                        <none>     <none>       0         <none>   Leases
ns          a/Key   <deleted>                     <none>     <none>       2         9        DistributedLocks
`},
		{"wide", Table{Wide: true}, `
KEY     HOLDER                        HELD FOR   EXPIRES IN   WAITERS   TOKEN    KIND               NAME   LOCK ID   TRANSITIONS
a/Key   bad�[31mname�Holder: nobody   70s        10s          2         9        DistributedLocks   k      id-2      2
f�[2J   <none>                        <none>     <none>       0         <none>   Leases             f      <none>    1
a/Key   <deleted>                     <none>     <none>       2         9        DistributedLocks   k      id-2      2
`},
	} {
		var out bytes.Buffer
		tt.table.Out = &out
		for _, rows := range [][]Lock{{shown(), free}, {gone}} {
			if err := tt.table.Write(rows, noon.Add(10*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		if got := "\n" + out.String(); got != tt.want {
			t.Errorf("%s: it is%s, want%s", tt.name, got, tt.want)
		}
	}
}
