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

package memapi

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// auditID is the header with the name of an answer, as in the audit log of a real server.
const auditID = "Audit-Id"

// manager returns the field manager of the request: its fieldManager parameter, or the beginning of its
// user agent.
func (c *call) manager() string {
	agent, _, _ := strings.Cut(c.UserAgent(), "/")
	return cmp.Or(c.URL.Query().Get("fieldManager"), agent, "unknown")
}

// managed records in u's managedFields that the current request has changed it, and when. It does not
// record the changed fields. u replaces old, unless old is nil.
func (s *Server) managed(u, old *unstructured.Unstructured, version schema.GroupVersion) {
	entry := metav1.ManagedFieldsEntry{
		Manager:    cmp.Or(s.manager, "unknown"),
		Operation:  metav1.ManagedFieldsOperationUpdate,
		APIVersion: version.String(),
		FieldsType: "FieldsV1",
		FieldsV1:   metav1.NewFieldsV1("{}"),
		Time:       &metav1.Time{Time: s.now().UTC().Truncate(time.Second)},
	}
	var entries []metav1.ManagedFieldsEntry
	if old != nil {
		for _, e := range old.GetManagedFields() {
			if e.Manager != entry.Manager || e.APIVersion != entry.APIVersion {
				entries = append(entries, e)
			}
		}
	}
	u.SetManagedFields(append(entries, entry))
}

// review answers a review of a user's own permissions: the user has all of them.
func (s *Server) review(c *call) (answer, bool, error) {
	path := "/apis/" + authorizationv1.SchemeGroupVersion.String() + "/selfsubjectaccessreviews"
	if c.Method != http.MethodPost || c.URL.Path != path {
		return answer{}, false, nil
	}
	if err := c.tooLong(); err != nil {
		return answer{}, true, err
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"kind": "SelfSubjectAccessReview", "apiVersion": authorizationv1.SchemeGroupVersion.String(),
		"metadata": map[string]any{"creationTimestamp": nil},
		"status":   map[string]any{"allowed": true},
	}}
	s.managed(u, nil, authorizationv1.SchemeGroupVersion)
	return jsonAnswer(http.StatusCreated, encode(u.Object)), true, nil
}

// answerID returns the name of the next answer.
func (s *Server) answerID() types.UID {
	s.answers++
	return uid(s.answers)
}
