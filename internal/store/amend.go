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

package store

import (
	"reflect"
	"slices"

	"github.com/kubelock/kubelock/internal/protocol"
)

// worthSending reports whether the whole object may be sent. Where nothing of the
// queue may have changed, an update is as sure to fit as a patch, and costs the API
// server a third less; but a large state that stays as it is need not be sent.
func worthSending(from, to protocol.Record) bool {
	const large = 16 << 10
	return to.Value == nil || len(*to.Value) < large || !reflect.DeepEqual(from.Value, to.Value)
}

// overtakes reports whether the hold ends and no waiter gets the lock. While the lock rests none can have it.
func overtakes(from, to protocol.Record, gone int) bool {
	if to.Holder != nil && to.Holder.LockID == from.Holder.LockID || to.Resting() {
		return false
	}
	if to.Holder == nil || gone == 0 {
		return true
	}
	granted, ok := protocol.ParseWaiter(from.Waiters[gone-1])
	return !ok || granted.LockID != to.Holder.LockID
}

// queueChange tells how many entries have left the head of the queue, and which
// have come to its end.
func queueChange(from, to []string) (gone int, come []string) {
	for gone = range from {
		if rest := from[gone:]; len(rest) <= len(to) && slices.Equal(rest, to[:len(rest)]) {
			return gone, to[len(rest):]
		}
	}
	return len(from), to
}
