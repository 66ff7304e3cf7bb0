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

// Package simulation runs the real library and the real reaper against an API server in memory, in
// virtual time. The network delays, loses and repeats messages and cuts connections. Clients are paused,
// die and are started again. Users edit locks by hand. All of that follows from a seed.
//
// The simulation checks the protocol's invariants at every version of a lock's object and at every step
// of a client. After the last fault follows a scene with one rare situation. It also checks within what
// time each waiter gets the lock.
//
// The package has only tests. See TestSimulation for how to run one seed or many. A seed gives the same
// transcript each time if the test was built by hack/simulate.sh, as make sim does. If it was built by go
// test alone, steps at the same instant may come in another order.
package simulation
