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

// Package kubelock is a distributed lock whose only server is the Kubernetes API,
// with a small state that is kept in the lock.
//
// Take the lock, read the state, write it back, release: all of it in one object, by
// writes that are conditioned on what they replace.
//
//	lock := kubelock.NewLock[State](client, "orders")
//	state, err := lock.Do(ctx, func(ctx context.Context, s State) (State, error) {
//		s.Count++
//		return s, nil
//	})
//
// # What is guaranteed
//
//   - At every version of the object at most one hold is recorded, and state changes
//     only in a write by the recorded holder, or by deletion.
//   - A caller is told that its hold has ended (Held.Context, Do's context) no later
//     than its lease ends, whatever the network does; and nobody else takes the lock
//     over before that, by the holder's own clock.
//   - Fencing tokens (Held.Token) strictly increase from hold to hold of a key, also
//     when the object was deleted in between.
//   - A write of which no answer came is resolved by reading back before its call
//     returns; where that cannot be done, the error Is ErrUnknownOutcome.
//   - While a caller waits, it gets the lock when that is free, or another live waiter
//     does. Watches make it prompt; timers make it certain.
//   - Waiting clients have the lock in the order in which they queued (in Leases and
//     ConfigMaps, in that in which they read the queue before they joined it), and the callers
//     of one client in the order of their calls. TryAcquire does not overtake them. A
//     waiter that does not answer for five seconds can be passed over, and so can
//     those that come when 128 clients queue already.
//
// # What is not guaranteed
//
//   - No lock over a network can keep a process that was paused (by its scheduler, a
//     garbage collector, a debugger, a suspended virtual machine) from going on after
//     its lease has ended, believing for a moment that it holds the lock. State in the
//     lock is safe from that, because the late write fails. Anything else is not,
//     unless it checks the fencing token and refuses one that is smaller than the
//     greatest it has seen.
//   - A suspended virtual machine may stop the monotonic clock that leases are
//     measured with. Fencing covers that, too.
//   - Who may write the objects can break the rules: `kubectl edit` can take a lock away
//     from its holder, who notices at its next write. Restoring etcd from a backup can
//     lower fencing tokens; no token that is drawn from the cluster is safe from that.
//
// # Clocks
//
// Nobody trusts another machine's clock. A holder counts its lease by its own
// monotonic clock, from before the request that began or renewed it was sent. Others
// take a hold for expired when they have watched it unchanged for its whole duration
// by their own monotonic clock, in one call or in several; or when the API server's time,
// which it stamps into what it answers, is past the hold's renewal, its duration and
// Config.MaxClockSkew. So node clocks may be hours off, and so may those of proxies
// that write the Date header of answers. What is assumed is that
// monotonic clocks run at about the same rate, and that the clocks of the API
// servers are apart by no more than Config.MaxClockSkew.
//
// Somebody who has waited since before a holder died has the lock when its lease ends, if
// the reaper runs, or the holder has not renewed since, or the waiter has known for a second
// that it is the first in the queue; otherwise, and for somebody who comes later, it is at most about
// MaxClockSkew and three seconds after that, and at once when the lease ended longer ago. A
// waiter that is dead itself costs the next five seconds, if the reaper runs or the client
// that has handed it the lock; otherwise the next learns of it by its own reads.
//
// # Choosing a duration
//
// The lease's duration is how long others wait when a holder dies. It must be longer
// than the work, or the hold must be renewed: WithAutoRenew does that in the
// background, every third of the duration. Each renewal has at least three attempts
// before the lease ends, so a duration of ten times the API server's worst usual
// latency or more is robust. 10 to 60 seconds suit most uses. The last attempts may take all
// that is left, so that a hold of 30 seconds lasts also where each write takes 10.
//
// # Refusals
//
// A request that is refused, or not answered, is tried again with pauses that grow from 20
// milliseconds to two seconds: while the lease lasts or the call's context, and never at once but for
// the first time that the lock has changed. Retry-After is obeyed, as far as three more attempts fit
// into what is left. A refusal that cannot end by itself, as of a webhook, a policy or the schema, ends
// the call. One that may end is believed after 15 seconds: a denial of access to a client that
// has had access, or a conflict although the lock has not changed. The error of the call has
// the words of the refusal.
//
// # Cost
//
// An acquisition is one write when this client was the last to hold the lock and
// remembers it, as it does the last thousand with 16 MiB of states in all, else one read
// and one write. A release is one write, which also is the next waiter's
// acquisition. Joining the queue is one write; where others are faster, it is refused,
// and then lets them go first for a moment, reads and tries again: once, or up to five times
// if the API server is slow and more and more others come. Who is refused when it takes a free
// lock that others take in turns does the same, and then queues. A waiter costs no other request, save
// reads: one a lease of a lock that does not move, and, of one that changes hands, one
// every second or two when its turn is near, so that it may use at once what it is given.
// Its client has one watch, for all of its locks, which shows only what it holds; but the
// first in a queue watches the lock itself after a second. A client that never waited has no
// watch open. Who has handed a lock on reads it once, five seconds later, unless it has
// seen before what became of it.
//
// A client whose callers come back within 50 ms of each release, twice and again, while
// others queue (once, while sixteen do), puts an entry for the next one into the queue with the release itself, so
// that a cycle is one write. If nobody comes within that time, it leaves the queue.
//
// What is handed on has a lease of five seconds at first, or less if that was asked
// for: see Held.Deadline. It is renewed to the whole lease if it lasts.
//
// # Permissions
//
// In the locks' namespace: get, list, watch, create, update, patch and delete on
// distributedlocks.kubelock.dev. The ClusterRole kubelock-user in config/components
// grants it.
package kubelock
