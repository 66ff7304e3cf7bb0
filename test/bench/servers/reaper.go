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

package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Reaper is kubelock's reaper, for all three kinds of objects.
type Reaper struct {
	process *exec.Cmd
	dir     string
	log     bytes.Buffer
}

// StartReaper starts the program on the control plane, and returns when it is ready.
func (c *ControlPlane) StartReaper(ctx context.Context, program string) (_ *Reaper, err error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kubelock-bench-reaper-")
	if err != nil {
		return nil, err
	}
	kubeconfig, probes := filepath.Join(dir, "kubeconfig"), net.JoinHostPort("127.0.0.1", port)
	if err := os.WriteFile(kubeconfig, c.environment.KubeConfig, 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	r := &Reaper{dir: dir, process: exec.CommandContext(ctx, program, "--kubeconfig", kubeconfig, "--leases", "--configmaps",
		"--health-probe-bind-address", probes, "--metrics-bind-address", "0", "--zap-log-level", "error")}
	r.process.Stderr = &r.log
	r.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must reach only the benchmark, which then stops the reaper.
	if err := r.process.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ticker, patience := time.NewTicker(20*time.Millisecond), time.After(30*time.Second)
	defer ticker.Stop()
	for {
		if err = get(ctx, "http://"+probes+"/readyz"); err == nil {
			return r, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), r.Stop())
		case <-patience:
			return nil, errors.Join(fmt.Errorf("the reaper is not ready: %w", err), r.Stop(), errors.New(r.log.String()))
		}
	}
}

// Stop ends the reaper.
func (r *Reaper) Stop() error {
	_ = r.process.Process.Kill() // It has no data to lose, and may have ended already.
	_ = r.process.Wait()         // The error says that it was killed.
	return os.RemoveAll(r.dir)
}

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}
