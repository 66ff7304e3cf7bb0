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
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/healthz"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
)

// reachable returns an error if the API server does not answer or does not accept the reaper's
// credentials. With distributedLocks it also returns one if the server does not know that kind.
func reachable(config *rest.Config, distributedLocks bool) error {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("the configuration for the API server at %s cannot be used: %w", config.Host, err)
	}
	if distributedLocks {
		_, err = client.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	} else {
		_, err = client.ServerVersion()
	}
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("the API server does not know %s, install the CustomResourceDefinition with \"kubectl apply -k config/crd\": %w",
			v1alpha1.Resource("distributedlocks"), err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server at %s does not accept the credentials: check the token of the reaper's service account, or outside of a Pod the user in KUBECONFIG: %w",
			config.Host, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("the reaper may not ask the API server at %s what it serves: bind the ClusterRole system:discovery to its account: %w", config.Host, err)
	}
	return fmt.Errorf("the API server at %s does not answer: check the network and NetworkPolicies, or outside of a Pod the server in KUBECONFIG: %w", config.Host, err)
}

// synced returns a check that fails until the reaper has listed all locks. A reaper that cannot list
// them does nothing.
func synced(r *controllers.Reaper) healthz.Checker {
	return func(*http.Request) error {
		if !r.HasSynced() {
			return fmt.Errorf("%s are not watched yet", r.Kind.Resource().Resource)
		}
		return nil
	}
}
