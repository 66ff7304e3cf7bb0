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
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/kubelock/kubelock/test/chaos/checks"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// Manual edits: changes that users make by kubectl to locks in use.

// manualEdit makes a change by kubectl, and records it for the checks.
func (r *run) manualEdit(ctx context.Context, h checks.ManualEdit, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	h.From, h.To = history.Now(), history.Never-late
	r.mu.Lock()
	i := len(r.manualEdits)
	r.manualEdits = append(r.manualEdits, h)
	r.mu.Unlock()
	err := do(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manualEdits[i].To = history.Now()
	if err != nil { // The API server may still commit the change later.
		r.manualEdits[i].To += int64(10 * time.Second)
	}
	return err
}

const late = int64(time.Minute)

// heldLock returns one of the locks that are held at the moment.
func (r *run) heldLock(p planned) (history.Lock, error) {
	var held []history.Lock
	for lock, v := range r.recorder.Newest() {
		if v.Holder != nil {
			held = append(held, lock)
		}
	}
	if len(held) == 0 {
		return history.Lock{}, errors.New("no lock is held")
	}
	return held[p.target%len(held)], nil
}

var resources = map[string]string{
	history.DistributedLocks: "distributedlocks.kubelock.dev", history.Leases: "leases.coordination.k8s.io", history.ConfigMaps: "configmaps",
}

func kubectlDelete(ctx context.Context, r *run, p planned) (string, error) {
	lock, err := r.heldLock(p)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(lock), r.manualEdit(ctx, checks.ManualEdit{What: "delete", Kind: lock.Kind, Key: lock.Key}, func(ctx context.Context) error {
		_, err := r.cluster.Kubectl(ctx, nil, "delete", resources[lock.Kind], lock.Key, "-n", history.Namespace, "--wait=false")
		return err
	})
}

// kubectlDeleteKept deletes a lock whose object has a finalizer, as a foreground deletion gives it
// one, and removes the finalizer later.
func kubectlDeleteKept(ctx context.Context, r *run, p planned) (string, error) {
	lock, err := r.heldLock(p)
	if err != nil {
		return "", err
	}
	finalizers := func(ctx context.Context, list string) error {
		_, err := r.cluster.Kubectl(ctx, nil, "patch", resources[lock.Kind], lock.Key, "-n", history.Namespace, "--type=merge",
			"-p", `{"metadata":{"finalizers":`+list+`}}`)
		return err
	}
	err = r.manualEdit(ctx, checks.ManualEdit{What: "delete, kept by a finalizer", Kind: lock.Kind, Key: lock.Key}, func(ctx context.Context) error {
		if err := finalizers(ctx, `["example.com/keeps"]`); err != nil {
			return err
		}
		_, err := r.cluster.Kubectl(ctx, nil, "delete", resources[lock.Kind], lock.Key, "-n", history.Namespace, "--wait=false")
		return err
	})
	if err == nil {
		sleep(ctx, p.lasts)
	}
	// Even if the deletion failed: no client can take the lock while it has the finalizer.
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	removed := r.manualEdit(undo, checks.ManualEdit{What: "remove the finalizer", Kind: lock.Kind, Key: lock.Key}, func(ctx context.Context) error {
		return r.retry(ctx, func() error {
			err := finalizers(ctx, "null")
			if err != nil && strings.Contains(err.Error(), "NotFound") {
				return nil
			}
			return err
		})
	})
	return fmt.Sprintf("%v for %v", lock, p.lasts), errors.Join(err, removed)
}

func kubectlEdit(ctx context.Context, r *run, p planned) (string, error) {
	lock, err := r.heldLock(p)
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	what := []string{"free", "note"}[p.random%2]
	return what + " " + fmt.Sprint(lock), r.manualEdit(ctx, checks.ManualEdit{What: "edit", Kind: lock.Kind, Key: lock.Key}, func(ctx context.Context) error {
		_, err := r.cluster.Kubectl(ctx, []string{"KUBE_EDITOR=" + self + " --edit=" + what}, "edit", resources[lock.Kind], lock.Key, "-n", history.Namespace)
		return err
	})
}

func renewCRD(ctx context.Context, r *run, p planned) (string, error) {
	err := r.manualEdit(ctx, checks.ManualEdit{What: "renew CRD", Kind: history.DistributedLocks}, func(ctx context.Context) error {
		_, err := r.cluster.Kubectl(ctx, nil, "delete", "-f", r.crd(), "--timeout=10s", "--ignore-not-found")
		sleep(ctx, p.lasts)
		return r.recreateCRD(ctx, err)
	})
	return fmt.Sprintf("for %v", p.lasts), err
}

// recreateCRD creates the CRD again, and returns the error of its deletion, if there was one.
func (r *run) recreateCRD(ctx context.Context, deleted error) error {
	err := r.retry(ctx, func() error {
		if _, err := r.cluster.Kubectl(ctx, nil, "apply", "-f", r.crd()); err != nil {
			return err
		}
		_, err := r.cluster.Kubectl(ctx, nil, "wait", "--for=condition=Established", "--timeout=5s", "crd/distributedlocks.kubelock.dev")
		return err
	})
	if err != nil {
		return err
	}
	return deleted
}

func renewNamespace(ctx context.Context, r *run, _ planned) (string, error) {
	return "", r.manualEdit(ctx, checks.ManualEdit{What: "renew namespace"}, r.renewNamespace)
}
