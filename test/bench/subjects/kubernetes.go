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

package subjects

import (
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/store"
)

// Namespace is the namespace of the benchmark's objects.
const Namespace = "default"

// Kubernetes has the address and the credentials of an API server.
type Kubernetes struct {
	Host          string
	CA, Cert, Key []byte
}

// Reached returns the address and the credentials in config.
func Reached(config *rest.Config) Kubernetes {
	return Kubernetes{Host: config.Host, CA: config.CAData, Cert: config.CertData, Key: config.KeyData}
}

// config returns a configuration without a rate limit: the benchmark measures the server.
func (k Kubernetes) config(meter *Meter) *rest.Config {
	return meter.counted(&rest.Config{
		Host: k.Host, QPS: -1, UserAgent: rest.DefaultKubernetesUserAgent(), // The default of client-go's typed clients.
		TLSClientConfig: rest.TLSClientConfig{CAData: k.CA, CertData: k.Cert, KeyData: k.Key},
	})
}

func (k Kubernetes) store(meter *Meter, kind store.Kind) (store.Store, error) {
	config := k.config(meter)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return kind.Open(config, client, Namespace)
}
