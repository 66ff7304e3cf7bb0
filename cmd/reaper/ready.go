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
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/store"
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

// cacheSynced is ready when the locks are watched: a reaper that cannot list them
// reaps nothing.
func cacheSynced(c cache.Cache, kinds []store.Kind) healthz.Checker {
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		for _, kind := range kinds {
			resource := kind.Resource().Resource
			informer, err := c.GetInformer(ctx, kind.New())
			if err != nil {
				return fmt.Errorf("%s are not watched yet: %w", resource, err)
			}
			if !informer.HasSynced() { // GetInformer does not wait for a cache that has not been started.
				return fmt.Errorf("%s are not watched yet", resource)
			}
		}
		return nil
	}
}
