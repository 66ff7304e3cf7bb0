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
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/kubelock/kubelock/hack/chaos/checks"
	"github.com/kubelock/kubelock/hack/chaos/history"
)

const reaperUser = "system:serviceaccount:kubelock-system:kubelock-reaper"

const crd = "config/crd/bases/kubelock.dev_distributedlocks.yaml"

// install installs the kind and the roles, as the project's manifests have them, and
// binds the roles to the clients.
func (r *run) install(ctx context.Context) error {
	for _, args := range [][]string{
		{"apply", "-f", crd},
		{"apply", "-k", "config/namespace"},
		{"apply", "-n", "kubelock-system", "-f", "config/rbac/service_account.yaml", "-f", "config/rbac/leader_election_role.yaml"},
		{"apply", "-n", "kubelock-system", "-f", "config/components/distributedlocks/reaper_role.yaml", "-f", "config/components/leases/reaper_role.yaml", "-f", "config/components/configmaps/reaper_role.yaml"},
		{"apply", "-f", "config/components/distributedlocks/user_role.yaml", "-f", "config/components/leases/user_role.yaml", "-f", "config/components/configmaps/user_role.yaml"},
		{"wait", "--for=condition=Established", "crd/distributedlocks.kubelock.dev"},
		{"create", "namespace", history.Namespace},
	} {
		if _, err := r.cluster.Kubectl(ctx, nil, args...); err != nil {
			return err
		}
	}
	admin, err := kubernetes.NewForConfig(r.cluster.AdminConfig())
	if err != nil {
		return err
	}
	for _, role := range []string{"kubelock-user", "kubelock-leases-user", "kubelock-configmaps-user"} {
		// Bound for the cluster, so that it outlives the namespace.
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "chaos-" + role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		}
		for i := range r.options.clients {
			binding.Subjects = append(binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: fmt.Sprintf("client-%d", i)})
		}
		if _, err := admin.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// renewNamespace deletes the namespace with everything in it, and creates it again. It
// does the work of the namespace controller, which is not part of an API server.
func (r *run) renewNamespace(ctx context.Context) error {
	admin, err := kubernetes.NewForConfig(r.cluster.AdminConfig())
	if err != nil {
		return err
	}
	namespaces := admin.CoreV1().Namespaces()
	if err := namespaces.Delete(ctx, history.Namespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	for _, resource := range []string{"distributedlocks.kubelock.dev", "leases", "configmaps"} {
		if _, err := r.cluster.Kubectl(ctx, nil, "delete", resource, "--all", "-n", history.Namespace, "--timeout=10s"); err != nil {
			r.notef("%v", err) // The kind may be away as well.
		}
	}
	ns, err := namespaces.Get(ctx, history.Namespace, metav1.GetOptions{})
	if err == nil && ns.Status.Phase == corev1.NamespaceTerminating {
		ns.Spec.Finalizers = nil
		if _, err = namespaces.Finalize(ctx, ns, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return r.again(ctx, func() error {
		_, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: history.Namespace}}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			if ns, err := namespaces.Get(ctx, history.Namespace, metav1.GetOptions{}); err != nil || ns.Status.Phase == corev1.NamespaceTerminating {
				return fmt.Errorf("the namespace is still being deleted: %w", err)
			}
			return nil
		}
		return err
	})
}

// repair has kind and namespace there, whatever faults have left of them.
func (r *run) repair(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := r.created(ctx, nil); err != nil {
		r.sayf("Could not repair the kind: %v", err) // The clients will say that they do not get their locks.
	}
	admin, err := kubernetes.NewForConfig(r.cluster.AdminConfig())
	if err != nil {
		r.sayf("%v", err)
		return
	}
	err = r.again(ctx, func() error {
		ns, err := admin.CoreV1().Namespaces().Get(ctx, history.Namespace, metav1.GetOptions{})
		if err == nil && ns.Status.Phase == corev1.NamespaceActive {
			return nil
		}
		return r.hand(ctx, checks.Hand{What: "renew namespace"}, r.renewNamespace)
	})
	if err != nil {
		r.sayf("Could not repair the namespace: %v", err)
	}
}

// again tries until it works or ctx ends.
func (r *run) again(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// edit does what a person does in kubectl's editor: takes the holder out of a lock, or
// writes a note on it.
func edit(what, path string) error {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return err
	}
	var obj map[string]any
	if err := yaml.Unmarshal(data, &obj); err != nil {
		return err
	}
	meta, _ := obj["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
		meta["annotations"] = annotations
	}
	switch what {
	case "free":
		delete(annotations, "kubelock.dev/holder")
		if spec, ok := obj["spec"].(map[string]any); ok {
			for _, field := range []string{"holder", "holderIdentity", "renewTime", "acquireTime", "leaseDurationSeconds"} {
				delete(spec, field)
			}
		}
		if labels, ok := meta["labels"].(map[string]any); ok {
			delete(labels, "kubelock.dev/holder")
		}
	case "note":
		annotations["example.com/note"] = time.Now().Format(time.RFC3339Nano)
	default:
		return fmt.Errorf("unknown edit %q", what)
	}
	if data, err = yaml.Marshal(obj); err != nil {
		return err
	}
	return os.WriteFile(path, bytes.TrimSpace(data), 0o600)
}

// cutLast cuts at the last dot.
func cutLast(s string) (before, after string, ok bool) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
