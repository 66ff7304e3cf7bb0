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

// Package kubelock is a distributed lock whose only server is the Kubernetes API. Each lock, with
// a small JSON state, is one object, and each change of a lock is one conditional write.
//
//	lock := kubelock.NewLock[State](client, "orders")
//	state, err := lock.Do(ctx, func(ctx context.Context, s State) (State, error) {
//		s.Count++
//		return s, nil
//	})
//
// # Guarantees
//
//   - Every version of the object records at most one hold. Only the holder's write, or a deletion,
//     changes the state.
//   - A holder learns that its hold has ended (Held.Context, Do's context) no later than its lease
//     ends. No other client takes the lock over before that, by the holder's own clock.
//   - Fencing tokens (Held.Token) increase from hold to hold of a key, also across its deletion.
//   - If a write gets no answer, the client reads the object back before the call returns. If it
//     cannot, the error Is ErrUnknownOutcome.
//   - Clients have the lock in the order of its queue, and callers of one client in the order of
//     their calls. TryAcquire does not overtake them. The queue has room for 128 clients, and passes
//     a client over that does not use its grant for five seconds. In Leases and ConfigMaps, clients
//     that join at the same moment may swap places.
//
// # Limits
//
//   - A process that was paused may believe that it has the lock when its lease has ended. Its late
//     write of state fails. Other systems have to refuse a token that is smaller than the greatest
//     that they have seen.
//   - Every account that may write the objects can break the guarantees. A restore of etcd can lower
//     tokens.
//   - Clocks of nodes do not matter. Monotonic clocks must run at about the same rate, and clocks of
//     API servers may be apart by Config.MaxClockSkew.
//
// # Durations and take-over
//
// The lease must be longer than the work, or renewed (WithAutoRenew: every third of it). 10 to 60
// seconds suit most uses. Ten times the API server's worst usual latency is robust.
//
//	a client waits for a holder that has died, and          it has the lock
//	------------------------------------------------------  ---------------------------------
//	the reaper runs, or the client has been first in the    when the lease ends
//	queue for a second, or it has seen the last renewal
//	otherwise, also for a client that came later            MaxClockSkew and up to 3 s later
//	a client before it in the queue is dead, too            5 s later for each
//
// # Costs
//
//	call                                                    requests
//	------------------------------------------------------  ---------------------------------
//	Acquire, as the last holder (of 4,096 locks, 16 MiB)    1 write
//	Acquire of another free lock                            1 read, 1 write
//	Acquire of a held lock, until it is in the queue        1 read, 1 write; in a herd up to 6
//	waiting                                                 1 read per lease, 1 watch; near
//	                                                        the front 1 read per 1 to 2 s
//	Release, which also is the next waiter's acquisition    1 write, at times 1 read 5 s later
//	Save, Renew; Get                                        1 write; 1 read
//	Apply; calls of a client that wait at once share it     those of Acquire
//
// The ClusterRole kubelock-user in config/components has the permissions that a program needs.
// docs/design explains costs, take-over and retries, and docs/guide shows tasks.
package kubelock
