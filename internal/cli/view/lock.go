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

// Package view draws what the plugin's commands have read and decided: tables, descriptions, timelines, the picture
// of top, and documents for programs. It reads no lock and sends no request. Its callers pass what to draw, and the
// time at which it is drawn.
package view

import (
	"encoding/json"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
)

// Lock is a lock as programs and people read it, whatever it is kept in.
type Lock struct {
	Kind        string          `json:"kind"`
	Namespace   string          `json:"namespace"`
	Name        string          `json:"name"`
	Key         string          `json:"key"`
	Holder      *Holder         `json:"holder,omitempty"`
	Resting     bool            `json:"resting,omitempty"` // No client holds it. It is taken until holder.expireTime.
	Waiters     []Waiter        `json:"waiters"`
	LastRelease *Release        `json:"lastRelease,omitempty"`
	Transitions int64           `json:"transitions"`
	Value       json.RawMessage `json:"value,omitempty"`
	Deleted     bool            `json:"deleted,omitempty"` // A watch has seen it go.
	// Terminating is set when the object is being deleted; Finalizers are what keeps it.
	Terminating bool     `json:"terminating,omitempty"`
	Finalizers  []string `json:"finalizers,omitempty"`

	Resource string `json:"-"` // with its group
	Version  string `json:"-"` // of the object
}

// Holder is the hold of a Lock.
type Holder struct {
	Identity    string    `json:"identity"`
	Pod         string    `json:"pod,omitempty"`
	LockID      string    `json:"lockID"`
	Token       int64     `json:"token,omitempty"`
	AcquireTime time.Time `json:"acquireTime"`
	RenewTime   time.Time `json:"renewTime"`
	Duration    string    `json:"duration"`
	ExpireTime  time.Time `json:"expireTime"`
}

// Waiter is a client in the queue of a Lock.
type Waiter struct {
	Position int    `json:"position"`
	Identity string `json:"identity"`
	LockID   string `json:"lockID"`
	Duration string `json:"duration"`
}

// Release is how the last hold of a Lock ended.
type Release struct {
	Identity string    `json:"identity"`
	LockID   string    `json:"lockID"`
	Token    int64     `json:"token,omitempty"`
	Time     time.Time `json:"time"`
	Reason   string    `json:"reason"`

	Rest bool `json:"-"` // It was none of a client: see protocol.Rest.
}

// none stands where there is nothing to show.
const none = "<none>"

// Ago is how long ago something was.
func Ago(now, then time.Time) string {
	if then.IsZero() {
		return none
	}
	return duration.HumanDuration(max(now.Sub(then), 0))
}

func (l Lock) holder() string {
	switch {
	case l.Deleted:
		return "<deleted>"
	case l.Holder == nil && l.Terminating:
		return "<terminating>"
	case l.Holder == nil:
		return none
	case l.Resting:
		return "<resting>"
	}
	return l.Holder.Identity
}

func (l Lock) heldFor(now time.Time) string {
	if l.Holder == nil || l.Deleted {
		return none
	}
	return Ago(now, l.Holder.AcquireTime)
}

func (l Lock) expiresIn(now time.Time) string {
	switch {
	case l.Holder == nil, l.Deleted:
		return none
	case l.Terminating:
		return "terminating"
	case !now.Before(l.Holder.ExpireTime) && l.Resting:
		return "over"
	case !now.Before(l.Holder.ExpireTime):
		return "expired"
	}
	return duration.HumanDuration(l.Holder.ExpireTime.Sub(now))
}

// Token is that of the hold; an unknown one is in the object only after the first renewal.
func (l Lock) Token() string {
	if l.Holder == nil || l.Holder.Token == 0 {
		return none
	}
	return strconv.FormatInt(l.Holder.Token, 10)
}
