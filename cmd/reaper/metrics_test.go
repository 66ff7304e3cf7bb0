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
	"net/http"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// TestMetricsNeedTheirRole checks that an account gets the metrics only if it has the ClusterRole
// kubelock-reaper-metrics-reader.
func TestMetricsNeedTheirRole(t *testing.T) {
	r := startReplica(t, account(t), elected(t))
	ns := env.Namespace(t)
	admin := env.Client(t)
	for _, obj := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "stranger"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "prometheus"}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: ns + "-prometheus"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubelock-reaper-metrics-reader"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "prometheus"}},
		},
	} {
		if err := admin.Create(within(t, patience), obj); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "prometheus may read metrics", func() bool {
		allowed, err := env.Allowed(within(t, patience), testenv.AccountUser(ns, "prometheus"), authorizationv1.SubjectAccessReviewSpec{
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
		})
		return err == nil && allowed
	})

	address := "https://" + r.metricsAddress + "/metrics"
	prometheus := env.ServiceAccount(t, ns, "prometheus").BearerToken
	eventually(t, "the controllers work", func() bool {
		_, text := get(t, address, prometheus)
		return strings.Contains(text, "\ncontroller_runtime_reconcile_total")
	})
	var body string
	for _, who := range []struct {
		name, token string
		want        int
	}{
		{"a client without credentials", "", http.StatusUnauthorized},
		{"a stranger", env.ServiceAccount(t, ns, "stranger").BearerToken, http.StatusForbidden},
		{"the reaper itself", account(t).BearerToken, http.StatusForbidden},
		{"prometheus", prometheus, http.StatusOK},
	} {
		code, text := get(t, address, who.token)
		if code != who.want {
			t.Errorf("/metrics answers %s with %d, want %d", who.name, code, who.want)
		}
		if code != http.StatusOK && strings.Contains(text, "kubelock_") {
			t.Errorf("%s reads %q", who.name, text)
		}
		body = text
	}
	for _, name := range []string{"kubelock_reaper_holders_expired_total", "kubelock_reaper_objects_deleted_total", "controller_runtime_reconcile_total"} {
		if !strings.Contains(body, "\n"+name) {
			t.Errorf("the metrics lack %s", name)
		}
	}
	if code, text := get(t, address, "not.a.token"); code == http.StatusOK || strings.Contains(text, "kubelock_") {
		t.Errorf("/metrics answers a forged token with %d: %s", code, text)
	}
}
