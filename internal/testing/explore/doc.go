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

// Package explore goes through all interleavings of a few sessions, a small model of the API server and
// a network with a few faults. It checks the protocol's invariants in each state. Only tests use it.
//
// A state is a world: one lock object, the requests and answers on their way, the changes that watches
// have not shown yet, and the clients. Each client has its session, and callers that make the calls of a
// Scope.
//
// Time passes in ticks. A tick happens only when all messages have been delivered that no fault has
// delayed. So an ordinary message takes no time, and messages may arrive in any order. A session whose
// timer fires within a tick is woken at the end of the tick.
//
// The exploration does not cover clocks with different rates, pauses shorter than a tick, a full queue,
// jitter (Random is always 0), or anything beyond its scopes.
package explore
