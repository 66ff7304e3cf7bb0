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

package main

import (
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// TestRolesGrantNoMoreThanNeeded asks the API server which verbs the roles allow: on the resources
// that the reaper uses, and on others that would help an attacker.
func TestRolesGrantNoMoreThanNeeded(t *testing.T) {
	if deployed != nil {
		t.Fatal(deployed)
	}
	const (
		locks  = "kubelock.dev/distributedlocks"
		leases = "coordination.k8s.io/leases"
		events = "events.k8s.io/events"
	)
	mine, other := env.Namespace(t), env.Namespace(t)
	env.AccountIn(t, mine, "kubelock-user", authorizationv1.ResourceAttributes{
		Verb: "create", Group: v1alpha1.GroupVersion.Group, Resource: "distributedlocks",
	})
	reaper := testenv.AccountUser(testenv.ReaperNamespace, testenv.ReaperAccount)
	user := testenv.AccountUser(mine, "kubelock-user")

	for _, tc := range []struct{ who, namespace, resource, name, may string }{
		{reaper, other, locks, "", "get list watch update delete"},
		{reaper, testenv.ReaperNamespace, locks, "", "get list watch update delete"},
		{reaper, "", locks, "", "get list watch update delete"},
		{reaper, other, locks + "/status", "", ""},
		{reaper, other, locks + "/finalizers", "", ""},
		{reaper, other, events, "", "create patch"},
		{reaper, other, "/events", "", ""},
		// client-go's elector still writes Events of the core group.
		{reaper, testenv.ReaperNamespace, "/events", "", "create patch"},
		{reaper, testenv.ReaperNamespace, leases, "reaper.kubelock.dev", "get create update"},
		{reaper, testenv.ReaperNamespace, leases, "another", "create"},
		{reaper, testenv.ReaperNamespace, leases, "", "create"},
		{reaper, other, leases, "reaper.kubelock.dev", ""},
		{reaper, "kube-system", leases, "", ""},
		{reaper, "", "authentication.k8s.io/tokenreviews", "", "create"},
		{reaper, "", "authorization.k8s.io/subjectaccessreviews", "", "create"},
		{reaper, testenv.ReaperNamespace, "/secrets", "", ""},
		{reaper, other, "/secrets", "", ""},
		{reaper, other, "/configmaps", "", ""},
		{reaper, other, "/pods", "", ""},
		{reaper, testenv.ReaperNamespace, "/serviceaccounts/token", "", ""},
		{reaper, "", "/namespaces", "", ""},
		{reaper, "", "apiextensions.k8s.io/customresourcedefinitions", "", ""},
		{reaper, "", "rbac.authorization.k8s.io/clusterrolebindings", "", ""},

		{user, mine, locks, "", "get list watch create update patch delete"},
		{user, other, locks, "", ""},
		{user, "", locks, "", ""},
		{user, mine, events, "", ""},
		{user, mine, leases, "", ""},
		{user, mine, "/configmaps", "", ""},
		{user, mine, "/secrets", "", ""},
		{user, mine, "/pods", "", ""},
	} {
		group, rest, _ := strings.Cut(tc.resource, "/")
		resource, subresource, _ := strings.Cut(rest, "/")
		var may []string
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
			allowed, err := env.Allowed(within(t, patience), tc.who, authorizationv1.SubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: tc.namespace, Verb: verb, Group: group, Resource: resource, Subresource: subresource, Name: tc.name,
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if allowed {
				may = append(may, verb)
			}
		}
		wanted := strings.Fields(tc.may)
		slices.Sort(may)
		slices.Sort(wanted)
		if !slices.Equal(may, wanted) {
			t.Errorf("%s may %q %s %q in %q, want %q", tc.who, may, tc.resource, tc.name, tc.namespace, wanted)
		}
	}
	for _, path := range []string{"/metrics", "/logs", "/debug/pprof"} {
		for _, who := range []string{reaper, user} {
			allowed, err := env.Allowed(within(t, patience), who, authorizationv1.SubjectAccessReviewSpec{
				NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
			})
			if err != nil || allowed {
				t.Errorf("%s may get %s: %v, %v; want that it may not", who, path, allowed, err)
			}
		}
	}
}
