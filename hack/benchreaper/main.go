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

// Command benchreaper measures the reaper on a real API server that has many locks: its
// start, its memory, what it costs while nothing happens, and how soon it clears holders
// that expire all at once.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/hack/controlplane/assets"
)

const (
	namespace = "default"
	// heldPerCent of the locks are held for as long as the benchmark lasts.
	heldPerCent = 1
	// writers is how many requests create locks at once.
	writers = 16
	metrics = "http://127.0.0.1:18080/metrics"
	collect = "http://127.0.0.1:18082/debug/pprof/heap?gc=1"
	ready   = "http://127.0.0.1:18081/readyz"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "benchreaper:", err)
		os.Exit(1) //nolint:gocritic // Nothing is left to be done.
	}
}

// bench is one run.
type bench struct {
	config *rest.Config
	client client.WithWatch
	table  *tabwriter.Writer
}

func run(ctx context.Context) (err error) {
	dir := flag.String("assets", "", "folder of kube-apiserver and etcd")
	reaper := flag.String("reaper", "", "the reaper's program")
	locks := flag.Int("locks", 10000, "how many locks there are")
	expiring := flag.Int("expiring", 1000, "how many holders expire at once")
	idle := flag.Duration("idle", 20*time.Second, "for how long the reaper is watched while nothing happens")
	flag.Parse()

	root, err := assets.Root()
	if err != nil {
		return err
	}
	environment := &envtest.Environment{
		BinaryAssetsDirectory: *dir,
		CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	b := &bench{table: tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	if b.config, err = environment.Start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment.Stop()) }()
	b.config.QPS = -1
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	if b.client, err = client.NewWithWatch(b.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	kubeconfig, err := writeKubeconfig(environment.KubeConfig)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(kubeconfig)) }()

	defer func() { err = errors.Join(err, b.table.Flush()) }()
	return b.measure(ctx, *reaper, kubeconfig, *locks, *expiring, *idle)
}

func writeKubeconfig(content []byte) (string, error) {
	file, err := os.CreateTemp("", "kubelock-kubeconfig-*")
	if err != nil {
		return "", err
	}
	_, err = file.Write(content)
	return file.Name(), errors.Join(err, file.Close())
}

func (b *bench) sayf(what, format string, args ...any) {
	fmt.Fprintf(b.table, "%s\t%s\n", what, fmt.Sprintf(format, args...))
}

func (b *bench) measure(ctx context.Context, reaper, kubeconfig string, locks, expiring int, idle time.Duration) error {
	// The reaper without locks, to compare with.
	empty, err := b.start(ctx, reaper, kubeconfig)
	if err != nil {
		return err
	}
	before, err := empty.sample(ctx)
	if err := errors.Join(err, empty.stop()); err != nil {
		return err
	}

	begun := time.Now()
	if err := b.create(ctx, locks); err != nil {
		return err
	}
	b.sayf("locks, of which 1 % are held", "%d (made in %v)", locks, time.Since(begun).Round(time.Second))

	p, err := b.start(ctx, reaper, kubeconfig)
	if err != nil {
		return err
	}
	defer func() { _ = p.stop() }() // Its outcome counts only below.
	b.sayf("start until ready", "%v", p.started.Round(time.Millisecond))
	if err := p.settled(ctx); err != nil {
		return err
	}
	after, err := p.sample(ctx)
	if err != nil {
		return err
	}
	heap := after["go_memstats_heap_alloc_bytes"] - before["go_memstats_heap_alloc_bytes"]
	b.sayf("heap after a collection, more than without locks", "%.1f MB, %.0f B a lock", heap/1e6, heap/float64(locks))
	b.sayf("memory of the process", "%.1f MB, %.1f MB at most", after["process_resident_memory_bytes"]/1e6, after["peak"]/1e6)

	select {
	case <-time.After(idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	later, err := p.sample(ctx)
	if err != nil {
		return err
	}
	perSecond := func(name string) float64 { return (later[name] - after[name]) / idle.Seconds() }
	b.sayf("while nothing happens", "%.2f %% of a core, %.2f requests/s, %.0f writes", 100*perSecond("process_cpu_seconds_total"),
		perSecond("rest_client_requests_total"), later["writes"]-after["writes"])

	lag, err := b.expire(ctx, expiring)
	if err != nil {
		return err
	}
	b.sayf(fmt.Sprintf("%d holders expire at once, all are cleared within", expiring), "%v", lag.Round(10*time.Millisecond))
	return p.stop()
}

// create makes that many locks, as the library writes them.
func (b *bench) create(ctx context.Context, locks int) error {
	now := metav1.NowMicro()
	return b.parallel(ctx, locks, func(ctx context.Context, n int) error {
		obj := &v1alpha1.DistributedLock{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("lock-%06d", n)},
			Spec: v1alpha1.DistributedLockSpec{
				Value: new(`{"state":"of some length, as a program may keep it"}`), Waiters: []string{}, Transitions: 3,
				ObjectExpiry: &v1alpha1.Duration{Duration: metav1.Duration{Duration: 24 * time.Hour}.Duration},
				LastRelease: &v1alpha1.LastRelease{
					LockID: fmt.Sprintf("nabaue2b3fxt6rwh6qmz2rjbh7-%d", n), Identity: "worker-7d4f9c6b5-x2x7q", Token: 4711,
					Time: now, TimeSource: v1alpha1.TimeSourceServer, Reason: v1alpha1.ReasonReleased,
				},
			},
		}
		if n%100 < heldPerCent {
			hold(obj, now, 24*time.Hour)
		}
		return b.client.Create(ctx, obj)
	})
}

// hold makes obj held.
func hold(obj *v1alpha1.DistributedLock, since metav1.MicroTime, lasts time.Duration) {
	obj.Labels = map[string]string{v1alpha1.HolderLabel: "nabaue2b3fxt6rwh6qmz2rjbh7"}
	obj.Spec.Holder = &v1alpha1.Holder{
		Identity: "worker-7d4f9c6b5-x2x7q", Client: "nabaue2b3fxt6rwh6qmz2rjbh7", LockID: "nabaue2b3fxt6rwh6qmz2rjbh7-" + obj.Name[5:], Token: 4712,
		AcquireTime: since, RenewTime: since, RenewTimeSource: v1alpha1.TimeSourceServer, Duration: metav1.Duration{Duration: lasts},
	}
}

// expire makes that many locks whose leases end at the same instant, and returns how long
// after that the last of them was cleared.
func (b *bench) expire(ctx context.Context, locks int) (time.Duration, error) {
	const lasts = 15 * time.Second
	now := &v1alpha1.DistributedLockList{}
	if err := b.client.List(ctx, now, client.InNamespace(namespace), client.Limit(1)); err != nil {
		return 0, err
	}
	w, err := b.client.Watch(ctx, now, client.InNamespace(namespace), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: now.ResourceVersion}})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	cleared := make(chan error, 1)
	go func() { cleared <- awaitCleared(ctx, w, locks) }() // From now on: the API server ends watches that are not read.
	begun := metav1.NowMicro()
	end := begun.Add(lasts)
	err = b.parallel(ctx, locks, func(ctx context.Context, n int) error {
		obj := &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("dead-%06d", n)}}
		hold(obj, begun, lasts)
		return b.client.Create(ctx, obj)
	})
	if err != nil {
		return 0, err
	}
	if time.Now().After(end) {
		return 0, fmt.Errorf("making %d locks took longer than their lease of %v: choose fewer", locks, lasts)
	}
	err = <-cleared
	return time.Since(end), err
}

// awaitCleared returns when that many locks have been cleared.
func awaitCleared(ctx context.Context, w watch.Interface, locks int) error {
	timeout := time.After(2 * time.Minute)
	for cleared := 0; cleared < locks; {
		select {
		case event, ok := <-w.ResultChan():
			if !ok {
				return errors.New("the watch of the locks has ended")
			}
			obj, ok := event.Object.(*v1alpha1.DistributedLock)
			if ok && event.Type == watch.Modified && strings.HasPrefix(obj.Name, "dead-") && obj.Spec.Holder == nil {
				cleared++
			}
		case <-timeout:
			return fmt.Errorf("only %d of %d holders are cleared", cleared, locks)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// parallel does something for each number below n.
func (b *bench) parallel(ctx context.Context, n int, do func(ctx context.Context, n int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for n := range numbers {
				if err := do(ctx, n); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	all.Wait()
	return context.Cause(ctx)
}

// process is a running reaper.
type process struct {
	command *exec.Cmd
	started time.Duration // until it was ready
	log     bytes.Buffer
}

func (b *bench) start(ctx context.Context, reaper, kubeconfig string) (*process, error) {
	begun := time.Now()
	cmd := exec.CommandContext(ctx, reaper, "--kubeconfig", kubeconfig, "--metrics-bind-address=127.0.0.1:18080", "--metrics-secure=false",
		"--pprof-bind-address=127.0.0.1:18082",
		"--health-probe-bind-address=127.0.0.1:18081", "--zap-log-level=error")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	p := &process{command: cmd}
	cmd.Stderr = &p.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, 5*time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := get(ctx, ready)
		return err == nil, nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the reaper is not ready: %w", err), p.stop(), errors.New(p.log.String()))
	}
	p.started = time.Since(begun)
	return p, nil
}

// settled waits until the reaper has looked at every lock.
func (p *process) settled(ctx context.Context) error {
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 5*time.Minute, true, func(ctx context.Context) (bool, error) {
		now, err := metricsNow(ctx)
		return err == nil && now["workqueue_depth"] == 0, err
	})
}

// sample returns the reaper's metrics, summed over their labels, and what the kernel
// tells of its memory.
func (p *process) sample(ctx context.Context) (map[string]float64, error) {
	if _, err := get(ctx, collect); err != nil { // Garbage is not what is measured.
		return nil, err
	}
	now, err := metricsNow(ctx)
	if err != nil {
		return nil, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(status)) {
		if kilobytes, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseFloat(strings.Fields(kilobytes)[0], 64)
			if err != nil {
				return nil, err
			}
			now["peak"] = n * 1024
		}
	}
	return now, nil
}

func (p *process) stop() error {
	if p.command.ProcessState != nil {
		return nil
	}
	return errors.Join(p.command.Process.Signal(os.Interrupt), p.command.Wait())
}

// metricsNow returns the sum of each metric over its labels, and the number of requests
// that write as "writes".
func metricsNow(ctx context.Context) (map[string]float64, error) {
	text, err := get(ctx, metrics)
	if err != nil {
		return nil, err
	}
	sums := map[string]float64{}
	scanner := bufio.NewScanner(strings.NewReader(text))
	for scanner.Scan() {
		line := scanner.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, " ")
		if i := strings.LastIndexByte(line, ' '); i > 0 {
			name, value = line[:i], line[i+1:]
		}
		n, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			continue
		}
		base, labels, _ := strings.Cut(name, "{")
		sums[base] += n
		if base == "rest_client_requests_total" && !strings.Contains(labels, `method="GET"`) {
			sums["writes"] += n
		}
	}
	return sums, scanner.Err()
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}
