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

// Package servers starts the servers that the benchmark needs.
package servers

import (
	"fmt"
	"path/filepath"

	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
	"github.com/kubelock/kubelock/test/bench/subjects"
)

// ControlPlane is an API server and its etcd.
type ControlPlane struct {
	Kubernetes subjects.Kubernetes
	Etcd       string

	environment *envtest.Environment
}

// StartControlPlane starts the programs in the folder bin. Without fsync, etcd does not wait for the
// disk, as in most tests.
func StartControlPlane(bin string, fsync bool) (*ControlPlane, error) {
	root, err := assets.Root()
	if err != nil {
		return nil, err
	}
	log.SetLogger(klog.Background())
	e := &envtest.Environment{
		BinaryAssetsDirectory: bin,
		CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	if fsync {
		e.ControlPlane.Etcd = &envtest.Etcd{}
		e.ControlPlane.Etcd.Configure().Disable("unsafe-no-fsync")
	}
	config, err := e.Start()
	if err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}
	return &ControlPlane{Kubernetes: subjects.Reached(config), Etcd: e.ControlPlane.Etcd.URL.String(), environment: e}, nil
}

// Stop ends the processes.
func (c *ControlPlane) Stop() error { return c.environment.Stop() }
