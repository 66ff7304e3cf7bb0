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
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubelock/kubelock/config/crd"
	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
	"github.com/kubelock/kubelock/internal/testing/memapi"
)

// MainOrMemory is Main, but with -short it uses an API server in memory, which starts at once and needs no
// control plane. Every user may do everything there. Tests that need a real server call NeedsControlPlane.
// The functions of Env that need one call it, too.
func MainOrMemory(m *testing.M, ready func(*Env)) int {
	return run(m, ready, startMemory)
}

// NeedsControlPlane skips a test that runs on the API server in memory.
func (e *Env) NeedsControlPlane(t testing.TB) {
	t.Helper()
	if e.environment == nil {
		t.Skip("needs a control plane: run it without -short")
	}
}

// Slow skips a test with -short, because it takes seconds of real time on any server.
func Slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds: run it without -short")
	}
}

// startMemory starts an API server in memory that serves by TLS and HTTP/2, as a real one does.
func startMemory() (*Env, error) {
	root, err := assets.Root()
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	locks, err := memapi.Compile(crd.DistributedLocks)
	if err != nil {
		return nil, err
	}
	server := httptest.NewUnstartedServer(memapi.New(memapi.Options{CRDs: []*memapi.CRD{locks}, Namespaces: []string{"default"}}))
	server.EnableHTTP2 = true
	server.StartTLS()
	env := &Env{Root: root, scheme: scheme, memory: server, Config: &rest.Config{
		Host:            server.URL,
		TLSClientConfig: rest.TLSClientConfig{CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})},
		QPS:             -1,
	}}
	kubeconfig, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"memory": {Server: env.Config.Host, CertificateAuthorityData: env.Config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"anyone": {}},
		Contexts:       map[string]*clientcmdapi.Context{"memory": {Cluster: "memory", AuthInfo: "anyone"}},
		CurrentContext: "memory",
	})
	if err == nil {
		err = env.writeKubeconfig(kubeconfig)
	}
	if err != nil {
		server.Close()
		return nil, err
	}
	return env, nil
}

func (e *Env) stopMemory() error {
	e.memory.CloseClientConnections()
	e.memory.Close()
	return errors.Join(os.Remove(e.kubeconfig), os.RemoveAll(e.kubeconfig+".cache"))
}

var errNoKubectl = errors.New("the API server in memory has no kubectl: call NeedsControlPlane first")
