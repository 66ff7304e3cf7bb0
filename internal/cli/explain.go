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

package cli

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kubelock/kubelock/internal/store"
)

// forbidden reports whether somebody lacks a permission, or a policy forbids it.
func forbidden(err error) bool { return apierrors.IsForbidden(err) }

// explain adds to an error of the API server what a person can do about it.
func explain(verb string, kind store.Kind, namespace string, err error) error {
	resource := kind.Resource().GroupResource()
	where := fmt.Sprintf("in namespace %q", namespace)
	if namespace == "" {
		where = "in all namespaces"
	}
	switch {
	case err == nil:
		return nil
	case store.NoSuchResource(err):
		return fmt.Errorf("the API server does not know %s: install the CustomResourceDefinition with "+
			"\"kubectl apply -k config/crd\" from kubelock's sources, or use another --backend: %w", resource, err)
	case store.NoSuchNamespace(err):
		return fmt.Errorf("namespace %q does not exist: create it, or choose another with -n: %w", namespace, err)
	case strings.Contains(err.Error(), "ValidatingAdmissionPolicy"):
		return fmt.Errorf("the admission policy refuses it; whoever has the ClusterRole kubelock-force is excepted: %w", err)
	case store.DeniedVerb(err) != "": // A write may be an update or a patch.
		return fmt.Errorf("no permission to %s %s %s: bind the ClusterRole %s, which config ships, to yourself: %w",
			store.DeniedVerb(err), resource, where, kind.Role(), err)
	}
	return fmt.Errorf("%s %s %s: %w", verb, resource, where, err)
}
