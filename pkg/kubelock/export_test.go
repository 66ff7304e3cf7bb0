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

package kubelock

import (
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/engine"
)

// NewClientAt is NewClient for a node with a clock of its own.
func NewClientAt(config *rest.Config, cfg Config, now func() time.Time) (*Client, error) {
	return newClient(config, cfg, now)
}

// Queued is how many callers of the client have or want the key.
func (c *Client) Queued(name string) int {
	k, err := engine.NewKey(name)
	if err != nil {
		panic(err)
	}
	return c.engine.Callers(k)
}

// Remembered is how many locks, and how many bytes of states, the client remembers.
func (c *Client) Remembered() (locks, bytes int) { return c.engine.Remembered() }
