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

package kubelock_test

import (
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// TestApplyBesideAPerson has a person take the Lease by hand, and free it, after a change was stored whose answer is lost. That counts
// no transition.
func TestApplyBesideAPerson(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]func(t *testing.T, take, free func(), other *kubelock.Lock[string]){
		"who frees it": func(t *testing.T, take, free func(), _ *kubelock.Lock[string]) { t.Helper(); take(); free() },
		"who goes, and is followed": func(t *testing.T, take, _ func(), other *kubelock.Lock[string]) {
			t.Helper()
			take()
			holdFor(t, other)
		},
		"who follows another client": func(t *testing.T, take, _ func(), other *kubelock.Lock[string]) {
			t.Helper()
			holdAndRelease(t, other)
			take()
		},
		"who frees it, and is followed": func(t *testing.T, take, free func(), other *kubelock.Lock[string]) {
			t.Helper()
			take()
			free()
			holdFor(t, other)
		},
		"who frees it after the client's": func(t *testing.T, take, free func(), other *kubelock.Lock[string]) {
			t.Helper()
			holdAndRelease(t, other)
			take()
			free()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				newLock := func() *kubelock.Lock[string] {
					return kubelock.NewLock[string](server.NewClient(t, kubelock.Config{Backend: kubelock.Leases}), "k")
				}
				l, other := newLock(), newLock()
				release(t, acquire(t, l))
				set := func(holder string) {
					now := time.Now().UTC().Format(metav1.RFC3339Micro)
					patch := `{"spec":{"holderIdentity":"` + holder + `","leaseDurationSeconds":1,"renewTime":"` + now + `"}}`
					if _, err := leasesOf(server).Patch(t.Context(), "k", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				committedThen(t, server, nil, func() { others(t, func() { set("alice") }, func() { set("") }, other) })
				applyOnce(t, l)
				<-time.After(time.Minute)
			})
		})
	}
}

// holdFor has a client hold the lock for ten seconds from when it gets it.
func holdFor(t *testing.T, l *kubelock.Lock[string]) {
	t.Helper()
	held := acquire(t, l)
	time.AfterFunc(10*time.Second, func() { release(t, held) })
}

func holdAndRelease(t *testing.T, l *kubelock.Lock[string]) {
	t.Helper()
	release(t, acquire(t, l))
}
