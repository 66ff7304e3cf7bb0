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
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
)

// stage is a control plane, and the processes that were started on it.
type stage struct {
	environment *envtest.Environment
	config      *rest.Config
	folder      string // for kubeconfigs and logs
	admin       string // path of an administrator's kubeconfig
	kubectlPath string
	root        string
	processes   []*process
	rotation    time.Duration  // how often tokens are replaced
	rotating    sync.WaitGroup // goroutines that replace tokens
	endRotation context.CancelFunc
}

// process is a child process that the stage ends.
type process struct {
	*exec.Cmd
	ended chan struct{} // closed when the process has ended
}

// set starts the control plane and the reaper.
func (s *stage) set(ctx context.Context, dir string) (err error) {
	if s.root, err = assets.Root(); err != nil {
		return err
	}
	if s.folder, err = os.MkdirTemp("", "kubelock-demo-"); err != nil {
		return err
	}
	s.kubectlPath = filepath.Join(dir, "kubectl")
	sayf("Starting kube-apiserver and etcd")
	environment := &envtest.Environment{BinaryAssetsDirectory: dir, ControlPlaneStartTimeout: time.Minute}
	s.environment = environment
	if s.config, err = environment.Start(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // Start ignores ctx.
		return err
	}
	s.admin = filepath.Join(s.folder, "admin.kubeconfig")
	if err := os.WriteFile(s.admin, environment.KubeConfig, 0o600); err != nil {
		return err
	}

	sayf("Installing kubelock: kubectl apply -k config/crd, and -k config/default")
	for _, args := range [][]string{
		{"apply", "-k", filepath.Join(s.root, "config", "crd")},
		{"apply", "-k", filepath.Join(s.root, "config", "default")},
		{"wait", "--for=condition=Established", "crd/distributedlocks.kubelock.dev"},
		{"create", "namespace", namespace},
		{"create", "serviceaccount", "worker", "-n", namespace},
		{"create", "rolebinding", "worker", "-n", namespace, "--clusterrole=kubelock-user", "--serviceaccount=" + namespace + ":worker"},
	} {
		if out, err := s.kubectl(ctx, args...); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
	}

	sayf("Starting the reaper as a process, with the service account of its manifests")
	kubeconfig, err := s.kubeconfig(ctx, "kubelock-system", "kubelock-reaper")
	if err != nil {
		return err
	}
	logs, err := os.Create(filepath.Join(s.folder, "reaper.log"))
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }()                                                                                         // The child has its own.
	reaper := exec.Command(filepath.Join(s.root, "bin", "reaper"), "--metrics-bind-address=0", "--health-probe-bind-address=0") //nolint:noctx // Ended by clear.
	reaper.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	reaper.Stdout, reaper.Stderr = logs, logs
	_, err = s.start(reaper)
	return err
}

// start starts a child in a process group of its own. So Ctrl-C in a terminal reaches only the demo, which
// then ends its children in order.
func (s *stage) start(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{Cmd: cmd, ended: make(chan struct{})}
	s.processes = append(s.processes, p)
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // The demo checks the effects of the process, and not its exit status.
	}()
	return p, nil
}

// clear ends all processes of the stage.
func (s *stage) clear() error {
	var errs []error
	if s.endRotation != nil {
		s.endRotation()
		s.rotating.Wait()
	}
	for _, p := range s.processes {
		_ = p.Process.Signal(syscall.SIGTERM) // The process may have ended already.
	}
	for _, p := range s.processes {
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
			_ = p.Process.Kill()
			<-p.ended
		}
	}
	if s.environment != nil {
		errs = append(errs, s.environment.Stop())
	}
	if s.folder != "" {
		errs = append(errs, os.RemoveAll(s.folder))
	}
	return errors.Join(errs...)
}

// kubectl runs kubectl as an administrator.
func (s *stage) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.kubectlPath, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.admin, "KUBECACHEDIR="+filepath.Join(s.folder, "cache"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return string(out), err
}

// show prints the command line and the output of kubectl.
func (s *stage) show(ctx context.Context, args ...string) error {
	out, err := s.kubectl(ctx, args...)
	fmt.Printf("  $ kubectl %s\n", strings.Join(args, " "))
	for line := range bytes.Lines([]byte(out)) {
		fmt.Printf("    %s", line)
	}
	return err
}

// worker starts a worker with its output to out, and returns the writer of its standard input.
func (s *stage) worker(kubeconfig, name string, out io.Writer) (*process, io.Writer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(self, "--worker", name) //nolint:noctx // Ended by clear.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	p, err := s.start(cmd)
	return p, stdin, err
}

var begun = time.Now()

func sayf(format string, args ...any) {
	fmt.Printf("[%4.1fs] %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
}
