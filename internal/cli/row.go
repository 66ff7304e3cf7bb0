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
	"context"
	"encoding/json"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// row is a lock as programs and people read it, whatever it is kept in.
type row struct {
	Kind        string          `json:"kind"`
	Namespace   string          `json:"namespace"`
	Name        string          `json:"name"`
	Key         string          `json:"key"`
	Holder      *rowHolder      `json:"holder,omitempty"`
	Resting     bool            `json:"resting,omitempty"` // No client holds it. It is taken until holder.expireTime.
	Waiters     []rowWaiter     `json:"waiters"`
	LastRelease *rowRelease     `json:"lastRelease,omitempty"`
	Transitions int64           `json:"transitions"`
	Value       json.RawMessage `json:"value,omitempty"`
	Deleted     bool            `json:"deleted,omitempty"` // A watch has seen it go.
	// Terminating is set when the object is being deleted; Finalizers are what keeps it.
	Terminating bool     `json:"terminating,omitempty"`
	Finalizers  []string `json:"finalizers,omitempty"`

	resource string // with its group
	version  string // of the object
}

type rowHolder struct {
	Identity    string    `json:"identity"`
	Pod         string    `json:"pod,omitempty"`
	LockID      string    `json:"lockID"`
	Token       int64     `json:"token,omitempty"`
	AcquireTime time.Time `json:"acquireTime"`
	RenewTime   time.Time `json:"renewTime"`
	Duration    string    `json:"duration"`
	ExpireTime  time.Time `json:"expireTime"`
}

type rowWaiter struct {
	Position int    `json:"position"`
	Identity string `json:"identity"`
	LockID   string `json:"lockID"`
	Duration string `json:"duration"`
}

type rowRelease struct {
	Identity string    `json:"identity"`
	LockID   string    `json:"lockID"`
	Token    int64     `json:"token,omitempty"`
	Time     time.Time `json:"time"`
	Reason   string    `json:"reason"`

	rest bool // It was none of a client: see protocol.Rest.
}

// rowOf reads a record.
func rowOf(kind store.Kind, r protocol.Record) row {
	out := row{
		Kind: kindName(kind), Name: r.Name, Key: r.Key, Waiters: []rowWaiter{}, Transitions: r.Transitions, Resting: r.Resting(),
		Terminating: r.Terminating, Finalizers: r.Finalizers,
		resource: kind.Resource().GroupResource().String(), version: r.ResourceVersion,
	}
	if obj, ok := r.Stored.(metav1.Object); ok {
		out.Namespace = obj.GetNamespace()
	}
	if h := r.Holder; h != nil {
		out.Holder = &rowHolder{
			Identity: h.Identity, Pod: h.Pod.Name, LockID: h.LockID, Token: h.Token, AcquireTime: h.AcquireTime,
			RenewTime: h.RenewTime, Duration: h.Duration.String(), ExpireTime: h.RenewTime.Add(h.Duration),
		}
	}
	for _, text := range r.Waiters {
		if w, ok := protocol.ParseWaiter(text); ok {
			out.Waiters = append(out.Waiters, rowWaiter{Position: len(out.Waiters) + 1, Identity: w.Identity, LockID: w.LockID, Duration: w.Duration.String()})
		}
	}
	if l := r.LastRelease; l != nil {
		out.LastRelease = &rowRelease{Identity: l.Identity, LockID: l.LockID, Token: l.Token, Time: l.Time, Reason: string(l.Reason), rest: l.Rested() != ""}
	}
	if r.Value != nil {
		if out.Value = json.RawMessage(*r.Value); !json.Valid(out.Value) { // Somebody has edited it.
			out.Value, _ = json.Marshal(*r.Value) //nolint:errchkjson // It is text.
		}
	}
	return out
}

// kindName is the kind's name as the library's Backend has it.
func kindName(kind store.Kind) string {
	for _, b := range backends {
		if b.kind == kind {
			return string(b.name)
		}
	}
	return kind.Resource().Resource
}

const none = "<none>"

// ago is how long ago something was.
func ago(now, then time.Time) string {
	if then.IsZero() {
		return none
	}
	return duration.HumanDuration(max(now.Sub(then), 0))
}

func (r row) holder() string {
	switch {
	case r.Deleted:
		return "<deleted>"
	case r.Holder == nil && r.Terminating:
		return "<terminating>"
	case r.Holder == nil:
		return none
	case r.Resting:
		return "<resting>"
	}
	return r.Holder.Identity
}

func (r row) heldFor(now time.Time) string {
	if r.Holder == nil || r.Deleted {
		return none
	}
	return ago(now, r.Holder.AcquireTime)
}

func (r row) expiresIn(now time.Time) string {
	switch {
	case r.Holder == nil, r.Deleted:
		return none
	case r.Terminating:
		return "terminating"
	case !now.Before(r.Holder.ExpireTime) && r.Resting:
		return "over"
	case !now.Before(r.Holder.ExpireTime):
		return "expired"
	}
	return duration.HumanDuration(r.Holder.ExpireTime.Sub(now))
}

// token is that of the hold; an unknown one is in the object only after the first renewal.
func (r row) token() string {
	if r.Holder == nil || r.Holder.Token == 0 {
		return none
	}
	return strconv.FormatInt(r.Holder.Token, 10)
}

// list reads all locks of a kind.
func (r *reader) list(ctx context.Context, kind store.Kind) (rows []row, err error) {
	s, err := r.open(kind)
	if err != nil {
		return nil, err
	}
	list, err := cache.ToListerWatcherWithContext(s.All()).ListWithContext(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, explain("list", kind, r.namespace, err)
	}
	err = meta.EachListItem(list, func(obj runtime.Object) error {
		if row, ok := r.decode(kind, obj); ok {
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}
