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

package components_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// aggregate gives every ClusterRole that has an aggregation rule the rules of those that it
// selects, as the controller manager does, which no test has. It returns the roles by name.
func aggregate(t *testing.T) map[string]*rbacv1.ClusterRole {
	t.Helper()
	api := env.Clientset(t).RbacV1().ClusterRoles()
	list, err := api.List(within(t), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]*rbacv1.ClusterRole{}
	for i := range list.Items {
		roles[list.Items[i].Name] = &list.Items[i]
	}
	// What is selected may be aggregated itself, so the rules of a role are those of all
	// that can be reached from it.
	var rules func(role *rbacv1.ClusterRole, seen map[string]bool) []rbacv1.PolicyRule
	rules = func(role *rbacv1.ClusterRole, seen map[string]bool) (all []rbacv1.PolicyRule) {
		seen[role.Name] = true
		if role.AggregationRule == nil {
			return role.Rules
		}
		for i := range role.AggregationRule.ClusterRoleSelectors {
			selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range slices.Sorted(maps.Keys(roles)) {
				if other := roles[name]; !seen[name] && selector.Matches(labels.Set(other.Labels)) {
					all = append(all, rules(other, seen)...)
				}
			}
		}
		return all
	}
	for name, role := range roles {
		if role.AggregationRule == nil {
			continue
		}
		changed := role.DeepCopy()
		changed.Rules = rules(role, map[string]bool{})
		if _, err := api.Update(within(t), changed, metav1.UpdateOptions{}); err != nil {
			t.Fatalf("ClusterRole %s: %v", name, err)
		}
	}
	return roles
}

// TestPeopleMayUseLocks asks the API server what those may do to locks who have Kubernetes'
// own roles in a namespace.
func TestPeopleMayUseLocks(t *testing.T) {
	if installed != nil {
		t.Fatal(installed)
	}
	ns, other := env.Namespace(t), env.Namespace(t)
	roles := aggregate(t)
	for role, want := range map[string]string{
		"view":  "get list watch",
		"edit":  "create delete get list patch update watch",
		"admin": "create delete get list patch update watch",
	} {
		if roles[role] == nil || roles[role].AggregationRule == nil {
			t.Errorf("the API server has no aggregated ClusterRole %s", role)
			continue
		}
		// That they may read ConfigMaps does not come from here: it shows that the rules
		// are in force.
		env.AccountIn(t, ns, role, authorizationv1.ResourceAttributes{Verb: "get", Resource: "configmaps"})
		for in, want := range map[string]string{ns: want, other: ""} {
			var may []string
			for _, verb := range []string{"create", "delete", "deletecollection", "force", "get", "list", "patch", "update", "watch"} {
				allowed, err := env.Allowed(within(t), testenv.AccountUser(ns, role), authorizationv1.SubjectAccessReviewSpec{
					ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: in, Verb: verb, Group: "kubelock.dev", Resource: "distributedlocks"},
				})
				if err != nil {
					t.Fatal(err)
				}
				if allowed {
					may = append(may, verb)
				}
			}
			if got := strings.Join(may, " "); got != want {
				t.Errorf("%s of %s may %q locks in %s, want %q", role, ns, got, in, want)
			}
		}
		// For locks in other objects there is nothing to aggregate.
		for _, b := range backends[1:] {
			if role == "view" {
				continue // It has no Leases, by Kubernetes' own choice.
			}
			allowed, err := env.Allowed(within(t), testenv.AccountUser(ns, role), authorizationv1.SubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: "update", Group: b.resource.Group, Resource: b.resource.Resource},
			})
			if err != nil || !allowed {
				t.Errorf("%s of %s may update %s: %v, %v", role, ns, b.resource, allowed, err)
			}
		}
	}
}
