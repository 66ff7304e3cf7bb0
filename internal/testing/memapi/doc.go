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

// Package memapi is a Kubernetes API server in memory. It is for tests and simulations that need the
// server's behaviour and not its process.
//
// A Server is an http.RoundTripper. It handles each request completely during the call, without sockets,
// goroutines or a clock of its own. So it can be used in a testing/synctest bubble, and gives the same
// answers to the same requests in the same order.
//
// It serves custom resources, with their schema's defaults, pruning, validation and CEL rules, and the
// built-in resources Namespace, ConfigMap, Pod, Event (of both groups) and Lease. The package's tests
// compare its answers with those of a real API server.
//
// Differences from a real API server:
//
//   - There is no authentication, authorization, admission (other than that a
//     namespace must exist), garbage collection, controller or aggregation.
//   - There is no server-side apply, no dry run, no field validation directive, no Table and no
//     PartialObjectMetadata. managedFields has the manager and the time of the last change, but not the
//     changed fields.
//   - The only review is that of a user's own permissions. Every user may do everything.
//   - Answers are always JSON. Requests may also be protobuf, for built-in resources.
//   - Built-in objects are hardly validated beyond their metadata, and Pods get no defaults.
//   - Deleting a Pod ignores its grace period. Deleting a namespace deletes all of its objects at once.
//     Propagation policies are ignored; finalizers are respected.
//   - The two groups of Events are stored separately.
//   - Only the storage version of a CustomResourceDefinition is served.
//   - A read is never stale, even if its resourceVersion allows that. Bookmarks are sent only at the end of
//     initial events and by Server.Bookmark.
package memapi
