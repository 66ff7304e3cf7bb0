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
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// process is a running reaper.
type process struct {
	command *exec.Cmd
	started time.Duration // time until it was ready
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

// awaitIdle waits until the reaper has processed every lock.
func (p *process) awaitIdle(ctx context.Context) error {
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 5*time.Minute, true, func(ctx context.Context) (bool, error) {
		now, err := metricsNow(ctx)
		return err == nil && now["workqueue_depth"] == 0, err
	})
}

// sample returns the reaper's metrics, summed over their labels, and its memory as the kernel reports
// it.
func (p *process) sample(ctx context.Context) (map[string]float64, error) {
	if _, err := get(ctx, collect); err != nil { // Collect first: garbage is not measured.
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

// metricsNow returns the sum of each metric over its labels. The number of requests that write is in
// "writes".
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
