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
	"errors"
	"time"
)

// fault is a kind of fault.
type fault struct {
	name              string
	shortest, longest time.Duration
	// do lets it happen, and returns when it is over, with what it was.
	do func(ctx context.Context, r *run, p planned) (string, error)
}

var faults []fault

var errDead = errors.New("is dead already")

func init() { // They refer to the run, which refers to them.
	faults = []fault{
		{"kill-client", 500 * time.Millisecond, 4 * time.Second, killClient},
		{"kill-reaper", 500 * time.Millisecond, 4 * time.Second, killReaper},
		{"kill-apiserver", time.Second, 6 * time.Second, killServer},
		{"kill-etcd", time.Second, 6 * time.Second, killEtcd},
		{"kill-etcd-leader", time.Second, 6 * time.Second, killLeader},
		{"pause-client", lease / 10, lease / 2, pauseClient},
		{"pause-client-long", lease * 5 / 4, lease * 3, pauseClient},
		{"pause-holder", lease * 3 / 2, lease * 3, pauseHolder},
		{"partition-client", time.Second, 10 * time.Second, partitionClient},
		{"partition-reaper", time.Second, 10 * time.Second, partitionReaper},
		{"partition-apiserver-etcd", time.Second, 8 * time.Second, partitionServer},
		{"partition-etcd-peers", time.Second, 8 * time.Second, partitionPeers},
		{"cut-answers", 2 * time.Second, 8 * time.Second, cutAnswers},
		{"slow-link", 2 * time.Second, 10 * time.Second, slowLink},
		{"late-requests", lease * 5 / 4, lease * 3, lateRequests},
		{"cut-watches", time.Second, 2 * time.Second, cutWatches},
		{"stall-watches", 3 * time.Second, 12 * time.Second, stallWatches},
		{"move-client", time.Second, 2 * time.Second, moveClient},
		{"compact", time.Second, 3 * time.Second, compact},
		{"throttle", 2 * time.Second, 8 * time.Second, throttle},
		{"kubectl-delete", time.Second, time.Second, kubectlDelete},
		{"kubectl-delete-kept", 2 * time.Second, 10 * time.Second, kubectlDeleteKept},
		{"kubectl-edit", time.Second, time.Second, kubectlEdit},
		{"renew-crd", time.Second, 3 * time.Second, renewCRD},
		{"renew-namespace", time.Second, 3 * time.Second, renewNamespace},
	}
}
