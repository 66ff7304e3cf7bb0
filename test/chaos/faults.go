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
	affects           scope
	shortest, longest time.Duration
	// do injects the fault. It returns when the fault is over, with a description.
	do func(ctx context.Context, r *run, p planned) (string, error)
}

// scope says which clients a fault affects: its target, all, or none.
type scope int

const (
	affectsNone scope = iota
	affectsOne
	affectsAll
)

var faults []fault

var errDead = errors.New("is dead already")

func init() { // Not in the declaration: the faults' functions refer to the variable.
	faults = []fault{
		{"kill-client", affectsOne, 500 * time.Millisecond, 4 * time.Second, killClient},
		{"kill-reaper", affectsNone, 500 * time.Millisecond, 4 * time.Second, killReaper},
		{"kill-apiserver", affectsAll, time.Second, 6 * time.Second, killServer},
		{"kill-etcd", affectsAll, time.Second, 6 * time.Second, killEtcd},
		{"kill-etcd-leader", affectsAll, time.Second, 6 * time.Second, killLeader},
		{"pause-client", affectsOne, lease / 10, lease / 2, pauseClient},
		{"pause-client-long", affectsOne, lease * 5 / 4, lease * 3, pauseClient},
		{"pause-holder", affectsAll, lease * 3 / 2, lease * 3, pauseHolder},
		{"partition-client", affectsOne, time.Second, 10 * time.Second, partitionClient},
		{"partition-reaper", affectsNone, time.Second, 10 * time.Second, partitionReaper},
		{"partition-apiserver-etcd", affectsAll, time.Second, 8 * time.Second, partitionServer},
		{"partition-etcd-peers", affectsAll, time.Second, 8 * time.Second, partitionPeers},
		{"cut-answers", affectsOne, 2 * time.Second, 8 * time.Second, cutAnswers},
		{"slow-link", affectsAll, 2 * time.Second, 10 * time.Second, slowLink},
		{"late-requests", affectsOne, lease * 5 / 4, lease * 3, lateRequests},
		{"cut-watches", affectsOne, time.Second, 2 * time.Second, cutWatches},
		{"stall-watches", affectsOne, 3 * time.Second, 12 * time.Second, stallWatches},
		{"move-client", affectsOne, time.Second, 2 * time.Second, moveClient},
		{"compact", affectsAll, time.Second, 3 * time.Second, compact},
		{"throttle", affectsOne, 2 * time.Second, 8 * time.Second, throttle},
		{"deny-webhook", affectsAll, 2 * time.Second, 8 * time.Second, denyByWebhook},
		{"deny-proxy", affectsOne, 2 * time.Second, 10 * time.Second, denyAtProxy},
		{"retry-after", affectsOne, 3 * time.Second, 10 * time.Second, retryAfter},
		{"slow-writes", affectsOne, 8 * time.Second, 16 * time.Second, slowWrites},
		{"refuse-once", affectsOne, 2 * time.Second, 3 * time.Second, refuseOnce},
		{"renew-binding", affectsAll, time.Second, 4 * time.Second, renewBinding},
		{"kubectl-delete", affectsNone, time.Second, time.Second, kubectlDelete},
		{"kubectl-delete-kept", affectsNone, 2 * time.Second, 10 * time.Second, kubectlDeleteKept},
		{"kubectl-edit", affectsNone, time.Second, time.Second, kubectlEdit},
		{"renew-crd", affectsAll, time.Second, 3 * time.Second, renewCRD},
		{"renew-namespace", affectsAll, time.Second, 3 * time.Second, renewNamespace},
	}
}
