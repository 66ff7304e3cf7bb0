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
	"context"
	"encoding/json"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/internal/cli/view"
)

// verbs are what the library needs, and what the roles for its users grant.
var verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete"}

func decode(text []byte, into any) error {
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("what answers is no API server: %w", err)
	}
	return nil
}

// served looks whether the API server has the kind of object, in the version that this
// plugin speaks.
func (c *check) served(ctx context.Context) view.Finding {
	resource := c.kind.Resource()
	about := resource.GroupResource().String()
	path, group := "/apis/"+resource.Group, metav1.APIGroup{}
	if resource.Group == "" {
		path = "/api"
		var versions metav1.APIVersions
		if err := c.ask(ctx, path, &versions); err != nil {
			return fail(about, err.Error(), "Ask who runs the cluster to allow discovery (ClusterRole system:discovery).")
		}
		for _, v := range versions.Versions {
			group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{Version: v})
		}
	} else if err := c.ask(ctx, path, &group); err != nil {
		if !apierrors.IsNotFound(err) {
			return fail(about, err.Error(), "Ask who runs the cluster to allow discovery (ClusterRole system:discovery).")
		}
		return fail(about, "the API server does not know the group "+resource.Group, install)
	}
	var versions []string
	for _, v := range group.Versions {
		versions = append(versions, v.Version)
	}
	list := metav1.APIResourceList{}
	switch err := c.ask(ctx, path+"/"+resource.Version, &list); {
	case apierrors.IsNotFound(err):
		return fail(about, fmt.Sprintf("served as %s, but not as %s, which this plugin speaks", strings.Join(versions, ", "), resource.Version),
			"Use the plugin of the release that is installed, or:\n"+install)
	case err != nil:
		return fail(about, err.Error(), "Try again; if it stays, look at the API server's log.")
	}
	for i := range list.APIResources {
		if list.APIResources[i].Name == resource.Resource {
			return fine(about, "served as "+resource.Version)
		}
	}
	return fail(about, fmt.Sprintf("%s/%s is served, but has no %s", resource.Group, resource.Version, resource.Resource), install)
}

// install is how to get the kind that is not Kubernetes' own.
const install = "Install the CustomResourceDefinition: kubectl apply -k config/crd, from kubelock's sources;\n" +
	"or keep locks in Leases, which every cluster has: --backend Leases."

// permissions asks the API server, verb by verb, what this user may do.
func (c *check) permissions(ctx context.Context) []view.Finding {
	resource := c.kind.Resource()
	found := make([]view.Finding, 0, len(verbs))
	remedy := ""
	for _, verb := range verbs {
		allowed, err := c.allowed(ctx, &authorizationv1.ResourceAttributes{
			Verb: verb, Group: resource.Group, Version: resource.Version, Resource: resource.Resource, Namespace: c.namespace,
		})
		f := fine("permission", fmt.Sprintf("to %s %s in namespace %s", verb, resource.GroupResource(), c.namespace))
		switch {
		case err != nil:
			f.Grade, f.Text, f.Remedy = view.Fault, f.Text+" is unknown: "+err.Error(), "Ask who runs the cluster to allow selfsubjectaccessreviews (ClusterRole system:basic-user)."
		case !allowed:
			if remedy == "" {
				remedy = c.bind(ctx)
			}
			f.Grade, f.Text, f.Remedy = view.Fault, "no permission "+f.Text, remedy
		}
		found = append(found, f)
	}
	return found
}

func (c *check) allowed(ctx context.Context, what *authorizationv1.ResourceAttributes) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: what}}
	review, err := c.clients.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// bind is the command that gives this user what the library needs.
func (c *check) bind(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	subject, binding := "--user=YOU", c.kind.Role()
	if me, err := c.clients.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}); err == nil {
		name := me.Status.UserInfo.Username
		subject = fmt.Sprintf("--user='%s'", strings.ReplaceAll(name, "'", `'\''`))
		binding += "-" + strings.Map(func(r rune) rune { // So that it is not somebody else's.
			if r == '-' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			return '-'
		}, strings.ToLower(name[strings.LastIndex(name, ":")+1:]))
		if account, ok := strings.CutPrefix(name, "system:serviceaccount:"); ok {
			subject = "--serviceaccount=" + account
		}
	}
	return fmt.Sprintf("Let who runs the cluster bind the role to you: kubectl create rolebinding -n %s %s --clusterrole=%s %s",
		c.namespace, binding, c.kind.Role(), subject)
}
