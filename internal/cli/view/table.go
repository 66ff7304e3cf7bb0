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
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/liggitt/tabwriter"
	"k8s.io/cli-runtime/pkg/printers"
)

// Table is a table of locks, one per row.
type Table struct {
	Out        io.Writer
	Namespaces bool // There is a column for them.
	Kinds      bool // There is a column for them.
	Wide       bool // There are all columns.

	columns *tabwriter.Writer // remembers how wide the columns were
	begun   bool              // The headings were printed.
}

// Write writes rows as of now, at first below the headings.
func (t *Table) Write(locks []Lock, now time.Time) error {
	if t.columns == nil {
		t.columns = printers.GetNewTabWriter(t.Out)
	}
	if !t.begun {
		t.begun = true
		t.row("NAMESPACE", []string{"KEY", "HOLDER", "HELD FOR", "EXPIRES IN", "WAITERS", "TOKEN"}, "KIND", "NAME", "LOCK ID", "TRANSITIONS")
	}
	for _, l := range locks {
		lockID := none
		if l.Holder != nil {
			lockID = printable(l.Holder.LockID)
		}
		t.row(l.Namespace, []string{printable(l.Key), printable(l.holder()), l.heldFor(now), l.expiresIn(now), strconv.Itoa(len(l.Waiters)), l.Token()},
			l.Kind, l.Name, lockID, strconv.FormatInt(l.Transitions, 10))
	}
	return t.columns.Flush()
}

// row writes those of the columns that the table has.
func (t *Table) row(namespace string, usual []string, more ...string) {
	var all []string
	if t.Namespaces {
		all = append(all, namespace)
	}
	all = append(all, usual...)
	if t.Wide {
		all = append(all, more...)
	} else if t.Kinds {
		all = append(all, more[0])
	}
	fmt.Fprintln(t.columns, strings.Join(all, "\t"))
}
