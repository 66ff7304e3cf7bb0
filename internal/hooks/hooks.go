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

// Package hooks lets the project's own simulations give a client what only a machine
// gives otherwise, and its kubectl plugin know which entry in a queue is its own.
package hooks

import (
	"time"

	"k8s.io/client-go/rest"
)

// NewClientAt is kubelock.NewClient for a node with a clock of its own. cfg is a
// kubelock.Config and the result a *kubelock.Client: the package that they are in
// sets this variable, and so cannot be imported here.
var NewClientAt func(config *rest.Config, cfg any, now func() time.Time) (any, error)

// ClientID is the instance ID of a *kubelock.Client, which its entries in queues begin with.
var ClientID func(client any) string
