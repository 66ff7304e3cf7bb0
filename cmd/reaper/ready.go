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

// installed returns an error if the API server does not know DistributedLocks.
func installed(config *rest.Config) error {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	if _, err = client.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String()); apierrors.IsNotFound(err) {
		return fmt.Errorf("the API server does not know %s, install the CustomResourceDefinition with \"kubectl apply -k config/crd\": %w",
			v1alpha1.Resource("distributedlocks"), err)
	}
	return err
}

// synced is ready when the locks are watched: a reaper that cannot list them reaps
// nothing.
func synced(reapers []*controllers.Reaper) healthz.Checker {
	return func(*http.Request) error {
		for _, r := range reapers {
			if !r.HasSynced() {
				return fmt.Errorf("%s are not watched yet", r.Kind.Resource().Resource)
			}
		}
		return nil
	}
}
