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
	"os"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, func(e *testenv.Env) { env = e }))
}

// replica is a replica of the program.
type replica struct {
	stop  context.CancelFunc
	ended chan error
}

func start(t *testing.T, ns, identity string, shards ...string) *replica {
	t.Helper()
	locks, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, Identity: identity, LockDuration: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &replica{stop: stop, ended: make(chan error, 1)}
	go func() {
		r.ended <- lead(ctx, env.Config, locks, ns, shards)
		locks.Close()
	}()
	return r
}

// reconciled creates a ConfigMap, and returns the token with which it was reconciled.
func reconciled(t *testing.T, ns, name, shard string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	configMaps := env.Clientset(t).CoreV1().ConfigMaps(ns)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{shardLabel: shard}}}
	created, err := configMaps.Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := configMaps.Watch(ctx, metav1.ListOptions{
		ResourceVersion: created.ResourceVersion, FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		now, ok := event.Object.(*corev1.ConfigMap)
		if !ok || event.Type == watch.Deleted || now.Annotations[tokenAnnotation] == "" {
			continue
		}
		token, err := strconv.ParseInt(now.Annotations[tokenAnnotation], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	t.Fatalf("%s is not reconciled", name)
	return 0
}

// TestShardsAreLed checks that each shard has one leader, that a replica which stops hands over its shards long
// before its lease ends, and that a replica can lead a shard twice.
func TestShardsAreLed(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	first := start(t, ns, "first", "a", "b")
	before := map[string]int64{}
	for _, shard := range []string{"a", "b"} {
		before[shard] = reconciled(t, ns, "first-"+shard, shard)
	}
	second := start(t, ns, "second", "a", "b")
	for _, shard := range []string{"a", "b"} {
		if token := reconciled(t, ns, "while-both-run-"+shard, shard); token != before[shard] {
			t.Errorf("shard %s is led with the token %d, want %d still", shard, token, before[shard])
		}
	}
	first.stop()
	if err := <-first.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the first replica ended with %v", err)
	}
	began := time.Now()
	again := start(t, ns, "first again", "a", "b")
	for _, shard := range []string{"a", "b"} {
		if token := reconciled(t, ns, "second-"+shard, shard); token <= before[shard] {
			t.Errorf("shard %s is led with the token %d after %d", shard, token, before[shard])
		}
	}
	second.stop()
	if err := <-second.ended; err == nil {
		t.Error("it has ended without an error")
	}
	reconciled(t, ns, "again-a", "a")
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("two hand-overs took %v, as long as a lease", took)
	}
	again.stop()
	if err := <-again.ended; err == nil {
		t.Error("it has ended without an error")
	}
}
