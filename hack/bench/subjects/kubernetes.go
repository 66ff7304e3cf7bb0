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

// Namespace is where the benchmark's objects are.
const Namespace = "default"

// Kubernetes is how an API server is reached.
type Kubernetes struct {
	Host          string
	CA, Cert, Key []byte
}

// Reached returns how config reaches its server.
func Reached(config *rest.Config) Kubernetes {
	return Kubernetes{Host: config.Host, CA: config.CAData, Cert: config.CertData, Key: config.KeyData}
}

// config has no rate limit: the server is what is measured.
func (k Kubernetes) config(meter *Meter) *rest.Config {
	return meter.counted(&rest.Config{
		Host: k.Host, QPS: -1, UserAgent: rest.DefaultKubernetesUserAgent(), // As client-go's typed clients have it.
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
