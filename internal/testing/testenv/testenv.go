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

// Package testenv gives tests a real API server.
package testenv

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
)

// Env is a running API server.
type Env struct {
	// Config is the configuration of an administrator.
	Config *rest.Config
	// Root is the project's root folder.
	Root string

	environment *envtest.Environment // nil if the server is in memory
	memory      *httptest.Server     // nil if it is not
	scheme      *runtime.Scheme
	kubeconfig  string
	namespaces  atomic.Int64
}

// Main runs the tests of a package with an API server that has the project's CRD, and returns the exit code.
// It calls ready with the server before the tests run. The exit code is also not 0 if the tests leave
// goroutines behind. With -short no test of the package runs.
func Main(m *testing.M, ready func(*Env)) int {
	return run(m, ready, func() (*Env, error) { return nil, nil })
}

// run runs the tests on a real API server, or with -short on the server that short starts.
func run(m *testing.M, ready func(*Env), short func() (*Env, error)) int {
	log.SetLogger(klog.Background())
	flag.Parse()
	begin := start
	if testing.Short() {
		begin = short
	}
	env, err := begin()
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the API server:", err)
		return 1
	}
	if env == nil {
		fmt.Fprintln(os.Stderr, "left out with -short: these tests need a control plane")
		return 0
	}
	ready(env)
	code := m.Run()
	if err := env.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the control plane:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

func start() (*Env, error) { return startWith(&envtest.Environment{}) }

// startTimeout is how long each part of a control plane may take to start. envtest's own limit, 20 s, is too short on a loaded machine.
const startTimeout = 4 * time.Minute

// stopTimeout is how long a control plane may take to stop. An API server first lets the requests end that it has begun, for up
// to a minute, and a loaded machine takes its time.
const stopTimeout = 3 * time.Minute

// startWith starts an API server in an environment that may have some fields.
func startWith(environment *envtest.Environment) (*Env, error) {
	environment.ControlPlaneStartTimeout, environment.ControlPlaneStopTimeout = startTimeout, stopTimeout
	root, err := assets.Root()
	if err != nil {
		return nil, err
	}
	dir, err := assets.Find(context.Background(), os.Stderr)
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	environment.BinaryAssetsDirectory = dir
	environment.CRDDirectoryPaths = []string{filepath.Join(root, "config", "crd", "bases")}
	environment.ErrorIfCRDPathMissing = true
	env := &Env{Root: root, scheme: scheme, environment: environment}
	if env.Config, err = env.environment.Start(); err != nil {
		return nil, err
	}
	err = env.writeKubeconfig(env.environment.KubeConfig)
	return env, err
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

func (e *Env) writeKubeconfig(content []byte) error {
	file, err := os.CreateTemp("", "kubelock-kubeconfig-*")
	if err != nil {
		return err
	}
	e.kubeconfig = file.Name()
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}

func (e *Env) stop() error {
	if e.memory != nil {
		return e.stopMemory()
	}
	return errors.Join(os.Remove(e.kubeconfig), os.RemoveAll(e.kubeconfig+".cache"), e.environment.Stop())
}

// Client returns an administrator's client for locks and the built-in kinds.
func (e *Env) Client(t testing.TB) client.Client {
	t.Helper()
	c, err := client.New(e.Config, client.Options{Scheme: e.scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Clientset returns an administrator's client for the built-in kinds.
func (e *Env) Clientset(t testing.TB) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Namespace creates a namespace for one test.
func (e *Env) Namespace(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test-%d", e.namespaces.Add(1))
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := e.Clientset(t).CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}

// ServiceAccount returns the configuration of a program that runs as a service account, with no more rights
// than the account's roles give.
func (e *Env) ServiceAccount(t testing.TB, namespace, name string) *rest.Config {
	t.Helper()
	e.NeedsControlPlane(t)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(3600))}}
	token, err := e.Clientset(t).CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(e.Config)
	config.BearerToken = token.Status.Token
	return config
}

// User returns the configuration of a user with a client certificate, with no more rights than the user's
// roles give.
func (e *Env) User(t testing.TB, name string) *rest.Config {
	t.Helper()
	e.NeedsControlPlane(t)
	user, err := e.environment.AddUser(envtest.User{Name: name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return user.Config()
}

// Kubeconfig returns the path of a kubeconfig of an administrator, for other programs.
func (e *Env) Kubeconfig() string { return e.kubeconfig }

// Kubectl runs kubectl as an administrator, with input on its standard input if that is not empty. It
// returns kubectl's output, and after a failure also its error messages.
func (e *Env) Kubectl(ctx context.Context, input string, args ...string) (string, error) {
	if e.environment == nil {
		return "", errNoKubectl
	}
	cmd := exec.CommandContext(ctx, e.environment.ControlPlane.KubectlPath, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+e.kubeconfig, "KUBECACHEDIR="+e.kubeconfig+".cache")
	cmd.Dir = e.Root
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Minor returns the minor version of the API server's Kubernetes.
func (e *Env) Minor(t testing.TB) int {
	t.Helper()
	info, err := e.Clientset(t).Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	minor, err := strconv.Atoi(info.Minor)
	if err != nil {
		t.Fatal(err)
	}
	return minor
}
