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
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Another starts one more API server, with an etcd of its own, for a test that needs two clusters, or that stops one. It
// has the project's CRD.
func Another(t *testing.T) *Env {
	t.Helper()
	environment := &envtest.Environment{}
	// Folders of the test are there until its end, and not only until the processes are stopped.
	environment.ControlPlane.Etcd = &envtest.Etcd{DataDir: t.TempDir()}
	environment.ControlPlane.GetAPIServer().CertDir = t.TempDir()
	env, err := startWith(environment)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.stop(); err != nil {
			t.Error(err)
		}
	})
	return env
}

// EtcdAddress returns the address of etcd.
func (e *Env) EtcdAddress() string { return e.environment.ControlPlane.Etcd.URL.String() }

// StopServers stops the API server and etcd of Another.
func (e *Env) StopServers(t *testing.T) {
	t.Helper()
	if err := e.environment.ControlPlane.Stop(); err != nil {
		t.Fatal(err)
	}
}

// StartServers starts what StopServers has stopped, at the same addresses and with the same credentials. etcd has the
// data of that folder.
func (e *Env) StartServers(t *testing.T, folder string) {
	t.Helper()
	e.environment.ControlPlane.Etcd.DataDir = folder
	if err := e.environment.ControlPlane.Etcd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := e.environment.ControlPlane.APIServer.Start(); err != nil {
		t.Fatal(err)
	}
}
