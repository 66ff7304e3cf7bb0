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

// Package hooks gives the project's own programs access to internals of the library: simulations set a
// client's clock, and the kubectl plugin finds its own entry in a queue.
package hooks

import (
	"time"

	"k8s.io/client-go/rest"
)

// NewClientAt is kubelock.NewClient with a clock. cfg is a kubelock.Config, and the result is a
// *kubelock.Client. Their package sets this variable, so it cannot be imported here.
var NewClientAt func(config *rest.Config, cfg any, now func() time.Time) (any, error)

// ClientID returns the instance ID of a *kubelock.Client. The client's entries in queues begin with it.
var ClientID func(client any) string
