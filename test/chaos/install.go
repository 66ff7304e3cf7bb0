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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/kubelock/kubelock/test/chaos/checks"
	"github.com/kubelock/kubelock/test/chaos/history"
)

const reaperUser = "system:serviceaccount:kubelock-system:kubelock-reaper"

// manifest returns the path of a file or folder of the manifests to install.
func (r *run) manifest(name string) string { return filepath.Join(r.manifests, "config", name) }

func (r *run) crd() string { return r.manifest("crd/bases/kubelock.dev_distributedlocks.yaml") }

// install installs the CRD and the roles of the project's manifests, and grants the roles to the
// clients.
func (r *run) install(ctx context.Context) error {
	for _, args := range [][]string{
		{"apply", "-f", r.crd()},
		{"apply", "-k", r.manifest("namespace")},
		{"apply", "-n", "kubelock-system", "-f", r.manifest("rbac/service_account.yaml"), "-f", r.manifest("rbac/leader_election_role.yaml")},
		{"apply", "-n", "kubelock-system", "-f", r.manifest("components/distributedlocks/reaper_role.yaml"), "-f", r.manifest("components/leases/reaper_role.yaml"), "-f", r.manifest("components/configmaps/reaper_role.yaml")},
		{"apply", "-f", r.manifest("components/distributedlocks/user_role.yaml"), "-f", r.manifest("components/leases/user_role.yaml"), "-f", r.manifest("components/configmaps/user_role.yaml")},
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
	for _, role := range roles {
		if err := r.bind(ctx, admin, role); err != nil {
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
			r.notef("%v", err) // The CRD may be deleted at the moment.
		}
	}
	ns, err := namespaces.Get(ctx, history.Namespace, metav1.GetOptions{})
	if err == nil && ns.Status.Phase == corev1.NamespaceTerminating {
		ns.Spec.Finalizers = nil
		if _, err = namespaces.Finalize(ctx, ns, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return r.retry(ctx, func() error {
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

// repair creates the CRD and the namespace if a fault has left the cluster without them.
func (r *run) repair(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := r.recreateCRD(ctx, nil); err != nil {
		r.sayf("Could not repair the CRD: %v", err) // The final checks will report that clients do not get their locks.
	}
	admin, err := kubernetes.NewForConfig(r.cluster.AdminConfig())
	if err != nil {
		r.sayf("%v", err)
		return
	}
	err = r.retry(ctx, func() error {
		ns, err := admin.CoreV1().Namespaces().Get(ctx, history.Namespace, metav1.GetOptions{})
		if err == nil && ns.Status.Phase == corev1.NamespaceActive {
			return nil
		}
		return r.manualEdit(ctx, checks.ManualEdit{What: "renew namespace"}, r.renewNamespace)
	})
	if err != nil {
		r.sayf("Could not repair the namespace: %v", err)
	}
}

// retry calls try until it succeeds or ctx ends.
func (r *run) retry(ctx context.Context, try func() error) error {
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

// edit changes a lock in a file as a user would in kubectl's editor: it removes the holder, or adds
// an annotation.
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

// cutLast cuts s at its last dot.
func cutLast(s string) (before, after string, ok bool) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
