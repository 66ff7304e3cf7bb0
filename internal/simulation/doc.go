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

// Package simulation runs the real library and the real reaper against an API server
// in memory, in virtual time, on a network that delays, loses, repeats and cuts, with
// clients that are paused, die and come back, and people who edit locks by hand. All
// of it follows from a seed. At every version of a lock's object and at every step of
// a client it checks the protocol's invariants.
//
// It consists of tests. See TestSimulation for how to run one seed or many. A seed gives the
// same transcript each time if the test was built by hack/simulate.sh, as by make sim;
// by go test alone, what happens at the same instant may come in another order.
package simulation
