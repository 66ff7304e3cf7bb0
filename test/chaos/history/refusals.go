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

package history

import "strings"

// Refusal is a request for a lock's object that was answered with a status of 4xx.
type Refusal struct {
	Lock           // without a key for a creation or a list
	At      int64  `json:"at"`
	Process string `json:"process"` // the client, in any of its runs
	Method  string `json:"method"`
	Code    int    `json:"code"`
}

// paths are the paths of the objects in the API, by kind.
var paths = map[string]string{
	DistributedLocks: "/apis/kubelock.dev/v1alpha1/namespaces/" + Namespace + "/distributedlocks",
	Leases:           "/apis/coordination.k8s.io/v1/namespaces/" + Namespace + "/leases",
	ConfigMaps:       "/api/v1/namespaces/" + Namespace + "/configmaps",
}

// LockAt returns the lock whose object has that path. The path of a whole kind has no key.
func LockAt(path string) (lock Lock, ok bool) {
	for kind, prefix := range paths {
		if rest, ok := strings.CutPrefix(path, prefix); ok && (rest == "" || rest[0] == '/') {
			return Lock{kind, strings.TrimPrefix(rest, "/")}, true
		}
	}
	return Lock{}, false
}
