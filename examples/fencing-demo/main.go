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

// Command fencing-demo shows why fencing tokens are needed. A holder is paused in its critical section. It
// writes after its lease has ended, while another holder has the lock. No lock can prevent that. A store that
// does not check fencing tokens loses an update. A store that checks them refuses the late write.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

const lease = 3 * time.Second

func main() {
	worker := flag.String("worker", "", "be the worker of that name")
	storeURL := flag.String("store", "", "where a worker finds the store")
	dir := flag.String("assets", "", "folder with kube-apiserver and etcd")
	flag.Parse()
	var err error
	if *worker != "" {
		err = work(*worker, *storeURL)
	} else {
		err = stage(*dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fencing-demo:", err)
		os.Exit(1)
	}
}

// work adds one to both numbers of the store, under the lock.
func work(name, storeURL string) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	client, err := kubelock.NewClient(config, kubelock.Config{Namespace: "default", Identity: name, LockDuration: lease})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // Never fails.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	held, err := kubelock.NewLock[int](client, "counter").Acquire(ctx)
	if err != nil {
		return err
	}
	now, err := send(ctx, storeURL, access{Worker: name, Token: held.Token()})
	if err != nil {
		return err
	}
	// The machine may pause the worker here for any time. The worker does not check its hold again: the pause
	// could also come right after the check.
	if _, err := send(ctx, storeURL, access{Worker: name, Token: held.Token(), Write: true, Unfenced: now.Unfenced + 1, Fenced: now.Fenced + 1}); err != nil {
		return err
	}
	if err := held.Release(ctx); err != nil && !errors.Is(err, kubelock.ErrLost) {
		return err
	}
	return nil
}

func send(ctx context.Context, storeURL string, a access) (now answer, err error) {
	body, err := json.Marshal(a)
	if err != nil {
		return answer{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, storeURL, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	err = json.NewDecoder(response.Body).Decode(&now)
	return now, err
}

// stage runs two workers, and stops the first while it holds the lock.
func stage(dir string) (err error) {
	root, err := assets.Root()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "kubelock-fencing-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	sayf("Starting kube-apiserver and etcd")
	environment := &envtest.Environment{
		BinaryAssetsDirectory: dir, ControlPlaneStartTimeout: time.Minute,
		CRDDirectoryPaths: []string{filepath.Join(root, "config", "crd", "bases")}, ErrorIfCRDPathMissing: true,
	}
	defer func() { err = errors.Join(err, environment.Stop()) }()
	if _, err := environment.Start(); err != nil {
		return err
	}
	kubeconfig := filepath.Join(folder, "kubeconfig")
	if err := os.WriteFile(kubeconfig, environment.KubeConfig, 0o600); err != nil {
		return err
	}

	var first *exec.Cmd
	paused, goesOn := make(chan error, 1), make(chan struct{})
	numbers := &store{read: func(worker string) {
		if worker == "worker-1" {
			paused <- first.Process.Signal(syscall.SIGSTOP)
			<-goesOn // The answer must not arrive before the signal that stops the worker.
		}
	}}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It does not block.
	if err != nil {
		return err
	}
	server := &http.Server{Handler: numbers, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }() // Until Close.
	defer func() { err = errors.Join(err, server.Close()); <-served }()

	command := func(name string) (*exec.Cmd, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(self, "--worker="+name, "--store=http://"+listener.Addr().String()) //nolint:noctx // The worker ends by itself.
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
		cmd.Stderr = os.Stderr
		return cmd, nil
	}
	if first, err = command("worker-1"); err != nil {
		return err
	}
	second, err := command("worker-2")
	if err != nil {
		return err
	}
	if err := first.Start(); err != nil {
		return err
	}
	select {
	case err := <-paused:
		if err != nil {
			close(goesOn)
			return errors.Join(err, first.Process.Kill(), first.Wait())
		}
	case <-time.After(time.Minute):
		return errors.Join(errors.New("worker-1 did not come to read the store"), first.Process.Kill(), first.Wait())
	}
	sayf("worker-1 has the lock and has read the store; it is stopped (SIGSTOP)")
	if err := second.Run(); err != nil {
		close(goesOn)
		return errors.Join(err, first.Process.Kill(), first.Wait())
	}
	sayf("worker-2 has had the lock since the lease of worker-1 ended; worker-1 goes on (SIGCONT)")
	close(goesOn)
	if err := errors.Join(first.Process.Signal(syscall.SIGCONT), first.Wait()); err != nil {
		return err
	}
	return numbers.verdict()
}

// verdict prints the numbers after two additions. It returns an error if they are not as promised.
func (s *store) verdict() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sayf("The unfenced store accepted two additions, and has %d: one was lost", s.unfenced)
	sayf("The fenced store accepted one addition and has %d: none was lost, one was refused", s.fenced)
	if s.unfenced != 1 || s.fenced != 1 {
		return errors.New("want 1 and 1: the pause has not shown what it was to show")
	}
	return nil
}

var begun = time.Now()

func sayf(format string, args ...any) {
	fmt.Printf("[%4.1fs] %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
}
