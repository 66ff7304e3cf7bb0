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

package testenv

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The reaper's namespace and service account in the manifests.
const (
	ReaperNamespace = "kubelock-system"
	ReaperAccount   = "kubelock-reaper"
)

// AccountUser returns the user name of a service account.
func AccountUser(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

// Deploy installs the manifests as a user would. It returns when the API server grants the reaper's service
// account the rights of its roles.
func (e *Env) Deploy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if out, err := e.Kubectl(ctx, "", "apply", "-k", "config/default"); err != nil {
		return fmt.Errorf("kubectl apply: %w: %s", err, strings.TrimSpace(out))
	}
	// One permission per binding, for the authorizer sees new bindings one by one.
	for _, attributes := range []authorizationv1.ResourceAttributes{
		{Verb: "update", Group: "kubelock.dev", Resource: "distributedlocks"},
		{Verb: "create", Group: "authentication.k8s.io", Resource: "tokenreviews"},
		{Verb: "create", Group: "coordination.k8s.io", Resource: "leases", Namespace: ReaperNamespace},
	} {
		if err := e.AwaitAccess(ctx, AccountUser(ReaperNamespace, ReaperAccount), attributes); err != nil {
			return err
		}
	}
	return nil
}

// AwaitAccess returns when the API server grants user a right, after a role was bound to it. It polls, since
// that cannot be watched.
func (e *Env) AwaitAccess(ctx context.Context, user string, attributes authorizationv1.ResourceAttributes) error {
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		return e.Allowed(ctx, user, authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: &attributes})
	})
	if err != nil {
		return fmt.Errorf("%s may not %s %s: %w", user, attributes.Verb, attributes.Resource, err)
	}
	return nil
}

// Allowed asks the API server whether user has the right in spec. The user counts as a member of the groups
// of all users.
func (e *Env) Allowed(ctx context.Context, user string, spec authorizationv1.SubjectAccessReviewSpec) (bool, error) {
	clients, err := kubernetes.NewForConfig(e.Config)
	if err != nil {
		return false, err
	}
	spec.User = user
	spec.Groups = []string{"system:authenticated", "system:serviceaccounts"}
	review, err := clients.AuthorizationV1().SubjectAccessReviews().
		Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// AccountIn creates a service account with the name of a ClusterRole, and binds the role to it in that
// namespace only. It returns the account's configuration when the API server grants the right may.
func (e *Env) AccountIn(t testing.TB, namespace, clusterRole string, may authorizationv1.ResourceAttributes) *rest.Config {
	t.Helper()
	e.NeedsControlPlane(t)
	meta := metav1.ObjectMeta{Namespace: namespace, Name: clusterRole}
	admin := e.Client(t)
	for _, obj := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: meta},
		&rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: meta.Namespace, Name: meta.Name}},
		},
	} {
		if err := admin.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	may.Namespace = namespace
	if err := e.AwaitAccess(ctx, AccountUser(namespace, clusterRole), may); err != nil {
		t.Fatal(err)
	}
	return e.ServiceAccount(t, namespace, clusterRole)
}
