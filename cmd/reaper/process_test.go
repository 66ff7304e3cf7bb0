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
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/internal/version"
)

// deployment returns the reaper's Deployment as the API server has stored it.
func deployment(t testing.TB) *appsv1.Deployment {
	t.Helper()
	if deployed != nil {
		t.Fatal(deployed)
	}
	d, err := env.Clientset(t).AppsV1().Deployments(testenv.ReaperNamespace).Get(t.Context(), "kubelock-reaper", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// kubeconfig writes a configuration to a file.
func kubeconfig(t testing.TB, config *rest.Config) string {
	t.Helper()
	out := clientcmdapi.NewConfig()
	out.Clusters["test"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	out.AuthInfos["test"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	out.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	out.CurrentContext = "test"
	path := filepath.Join(t.TempDir(), "config")
	if err := clientcmd.WriteToFile(*out, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// process is a reaper that runs as a process of its own.
type process struct {
	*exec.Cmd
	output testenv.Logs
}

// startProcess starts the reaper with the arguments of the manifest, and returns when it is
// ready.
func startProcess(t testing.TB) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	probes := freeAddress(t)
	args := append(slices.Clone(deployment(t).Spec.Template.Spec.Containers[0].Args),
		// In a cluster each Pod has a network and a namespace of its own.
		"--leader-election-namespace="+testenv.ReaperNamespace, "--metrics-bind-address="+freeAddress(t), "--health-probe-bind-address="+probes)
	p := &process{Cmd: exec.CommandContext(t.Context(), self, args...)}
	p.Env = append(os.Environ(), runAsReaper+"=1", "KUBECONFIG="+kubeconfig(t, account(t)))
	p.Stdout, p.Stderr = &p.output, &p.output
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process is ready", func() bool {
		code, _ := get(t, "http://"+probes+"/readyz", "")
		return code == http.StatusOK
	})
	return p
}

// TestProcess runs the reaper as a process, with the arguments of the manifest, and ends it by
// SIGTERM.
func TestProcess(t *testing.T) {
	ns := env.Namespace(t)
	cmd := startProcess(t)
	die(t, ns, "orders")
	env.Event(t, patience, ns, "orders", "HolderExpired") // The reaper's last write for this lock.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM the process ended with %v", err)
	}

	lines := cmd.output.With("")
	freed := false
	for _, line := range lines {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("a line of the log is no JSON: %q", line)
		}
		freed = freed || entry["msg"] == "Freed a lock whose holder did not renew it" && entry["name"] == "orders" && entry["namespace"] == ns
	}
	if !freed || len(cmd.output.With("forbidden")) > 0 {
		t.Errorf("the log does not have the freed lock, or says that a request was denied:\n%s", strings.Join(lines, ""))
	}
	lease, err := env.Clientset(t).CoordinationV1().Leases(testenv.ReaperNamespace).Get(t.Context(), "reaper.kubelock.dev", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder != "" {
		t.Errorf("after its end the process still leads the election, as %s", *holder)
	}
}

// TestWrongKubeconfig checks that each kubeconfig that cannot be used ends the process at once, with one line that says
// what is wrong and where.
func TestWrongKubeconfig(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const config = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {cluster: c, user: u}\n"
	for what, tt := range map[string]struct {
		text  string // empty for no file
		wants []string
	}{
		"no file":       {"", []string{"no API server is known", "FILE", "service account's token", "--kubeconfig"}},
		"no cluster":    {"apiVersion: v1\nkind: Config\n", []string{"no API server is known", "FILE"}},
		"no YAML":       {"not: [yaml", []string{"the kubeconfig cannot be used", "FILE", "line 1"}},
		"no context":    {"apiVersion: v1\nkind: Config\ncurrent-context: gone\n", []string{"the kubeconfig cannot be used", "specified context: gone"}},
		"no server":     {config, []string{"no API server is known", "FILE"}},
		"no CA":         {config + "clusters:\n- name: c\n  cluster: {server: 'https://127.0.0.1:1', certificate-authority: /no/ca}\n", []string{"the kubeconfig cannot be used", "/no/ca"}},
		"no connection": {config + "clusters:\n- name: c\n  cluster: {server: 'https://127.0.0.1:1'}\n", []string{"https://127.0.0.1:1 does not answer", "check the network"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "kubeconfig")
			if tt.text != "" {
				if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(within(t, patience), self, "--metrics-bind-address=0", "--health-probe-bind-address=0")
			cmd.Env = append(os.Environ(), runAsReaper+"=1", "KUBECONFIG="+file)
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); err == nil || code != 1 {
				t.Errorf("it ends with %v", err)
			}
			last := string(out[bytes.LastIndexByte(bytes.TrimSpace(out), '\n')+1:])
			for _, want := range tt.wants {
				if !strings.Contains(last, strings.ReplaceAll(want, "FILE", file)) {
					t.Errorf("it does not say %q: %s", want, out)
				}
			}
			if bytes.Contains(out, []byte("stacktrace")) || bytes.Contains(out, []byte("goroutine ")) {
				t.Errorf("it prints a stack trace: %s", out)
			}
		})
	}
}

// TestLogHasNoStackTraces starts a reaper that has no rights. The log says so, and no line has a stack trace. That of one
// without a connection is in TestWrongKubeconfig.
func TestLogHasNoStackTraces(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ns := env.Namespace(t)
	if err := env.Client(t).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "without-rights"}}); err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(t.Context(), self, "--namespaces="+ns, "--metrics-bind-address=0", "--health-probe-bind-address=0")}
	p.Env = append(os.Environ(), runAsReaper+"=1", "KUBECONFIG="+kubeconfig(t, env.ServiceAccount(t, ns, "without-rights")))
	p.Stdout, p.Stderr = &p.output, &p.output
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log says which rights are missing", func() bool { return len(p.output.With("lacks rights")) > 0 })
	eventually(t, "the log says that a request is denied", func() bool { return len(p.output.With("is forbidden")) > 0 })
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // What it ends with does not matter.
	for _, line := range p.output.With("") {
		if strings.Contains(line, "stacktrace") || strings.Contains(line, "goroutine ") || strings.Contains(line, ".go:") {
			t.Errorf("a line of the log has a stack trace: %s", line)
		}
	}
}

// TestVersion checks that the program prints its version.
func TestVersion(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t, patience), self, "--version")
	cmd.Env = append(os.Environ(), runAsReaper+"=1")
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "kubelock reaper version "+version.Version+" ") {
		t.Errorf("it prints %q, %v", out, err)
	}
}
