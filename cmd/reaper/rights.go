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
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

// need is a set of rights that a role of config gives to the reaper.
type need struct {
	role      string
	group     string
	resource  string
	namespace string // empty means all namespaces
	name      string // empty means all objects
	verbs     []string
}

// needs returns the rights without which the reaper does not work.
func (o *options) needs() []need {
	namespaces := o.reaped()
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	var needs []need
	for _, kind := range o.kinds() {
		resource := kind.Resource()
		for _, ns := range namespaces {
			needs = append(needs, need{
				role: "kubelock-reaper-" + resource.Resource, group: resource.Group, resource: resource.Resource, namespace: ns,
				verbs: []string{"get", "list", "watch", "update", "delete"},
			})
		}
	}
	if o.podWitness {
		for _, ns := range namespaces {
			needs = append(needs, need{role: "kubelock-reaper-pod-witness", resource: "pods", namespace: ns, verbs: []string{"list", "watch"}})
		}
	}
	if o.leaderElect && o.electionNamespace != "" { // Otherwise controller-runtime uses the Pod's namespace, which is not known here.
		needs = append(needs, need{
			role: "kubelock-reaper-leader-election", group: "coordination.k8s.io", resource: "leases", namespace: o.electionNamespace,
			name: electionID, verbs: []string{"get", "create", "update"},
		})
	}
	return needs
}

// lacking asks the API server which rights the reaper does not have, and returns them with the role
// that grants each. It only gives advice: if the API server does not answer the question, lacking
// reports nothing more.
func lacking(ctx context.Context, config *rest.Config, o *options) []string {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil // The manager, which is created next, fails with the reason.
	}
	var missing []string
	for _, need := range o.needs() {
		var verbs []string
		for _, verb := range need.verbs {
			review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: need.namespace, Verb: verb, Group: need.group, Resource: need.resource, Name: need.name,
				}},
			}, metav1.CreateOptions{})
			if err != nil {
				ctrl.Log.V(1).Info("Could not ask the API server for the reaper's rights", "err", err)
				return missing
			}
			if !review.Status.Allowed {
				verbs = append(verbs, verb)
			}
		}
		if len(verbs) > 0 {
			where := "in every namespace"
			if need.namespace != "" {
				where = "in the namespace " + need.namespace
			}
			missing = append(missing, fmt.Sprintf("to %s %s %s (the role %s)", strings.Join(verbs, ", "), need.resource, where, need.role))
		}
	}
	return missing
}
