//go:build unix

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

package cli_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubelock/kubelock/internal/testing/testenv"
)

var deployed = sync.OnceValue(func() error { return env.Deploy(context.Background()) })

// deploy installs everything as a person does.
func deploy(t *testing.T) {
	t.Helper()
	env.NeedsControlPlane(t)
	if err := deployed(); err != nil {
		t.Fatal(err)
	}
}

// kubeconfig writes the configuration of a service account to a file.
func kubeconfig(t *testing.T, config *rest.Config) string {
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

// account creates a service account without rights, and returns its configuration.
func account(t *testing.T, ns, name string) (path string) {
	t.Helper()
	obj := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := env.Clientset(t).CoreV1().ServiceAccounts(ns).Create(t.Context(), obj, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return kubeconfig(t, env.ServiceAccount(t, ns, name))
}

// between puts an administrator's proxy between the plugin and the API server, and returns
// its address.
func between(t *testing.T, request func(*http.Request), response func(http.Header)) string {
	t.Helper()
	transport, err := rest.TransportFor(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(env.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(server)
			if request != nil {
				request(r.Out)
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if response != nil {
				response(r.Header)
			}
			return nil
		},
	}
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil // Only what the API server says.
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(listener.Close)
	return listener.URL
}

// says checks that a line of what check prints begins with a grade and a thing, and goes
// on with text.
func (r result) says(t *testing.T, grade, about, text string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + grade + ` +` + about + ` +.*` + regexp.QuoteMeta(text))
	if !line.MatchString(r.out) {
		t.Errorf("no %s of %s tells %q:\n%s%s", grade, about, text, r.out, r.err)
	}
}

// TestCheck finds a cluster without a fault, for each kind, and leaves nothing behind.
func TestCheck(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	for backend, resource := range map[string]string{
		"DistributedLocks": "distributedlocks.kubelock.dev", "Leases": "leases.coordination.k8s.io", "ConfigMaps": "configmaps",
	} {
		r := dlock(t, ns, "check", "--backend", backend, "--reaper-namespace", ns, "--timeout", patience.String())
		r.want(t, 0)
		r.says(t, "ok", "API server", "v1.")
		r.says(t, "ok", resource, "served as v1")
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
			r.says(t, "ok", "permission", "to "+verb+" "+resource+" in namespace "+ns)
		}
		r.says(t, "warning", "reaper", "none in namespace "+ns)
		r.says(t, "ok", "clock", "this machine's is")
		r.says(t, "ok", "round trip", "a lock was acquired in ")
	}
	if left := dlock(t, ns, "list", "-o", "name"); left.out != "" {
		t.Errorf("left behind: %s", left.out)
	}
	dlock(t, ns, "check", "--timeout", "0s").want(t, 64, "--timeout must be positive")
}

// TestCheckPermissions misses each verb, and finds nothing to miss when a person has done
// what the remedy says.
func TestCheckPermissions(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	deploy(t)
	config := account(t, ns, "me")
	look := func() result {
		cmd := command(t, ns, "check", "--timeout", patience.String())
		cmd.Env = append(cmd.Env, "KUBECONFIG="+config)
		return finish(t, cmd)
	}
	r := look()
	r.want(t, 78, "7 of 12 findings are faults")
	for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
		r.says(t, "fault", "permission", "no permission to "+verb+" distributedlocks.kubelock.dev in namespace "+ns)
	}
	r.says(t, "warning", "reaper", "may not list deployments")
	r.says(t, "warning", "round trip", "no lock was tried")

	remedy := regexp.MustCompile(`kubectl (create rolebinding .*)`).FindStringSubmatch(r.out)
	if remedy == nil {
		t.Fatalf("no remedy:\n%s", r.out)
	}
	if out, err := env.Kubectl(t.Context(), "", strings.Fields(remedy[1])...); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	eventually(t, "the remedy helps", func() bool { r = look(); return r.code == 0 })
	r.says(t, "ok", "round trip", "a lock was acquired")
}

// TestCheckFaults has the real API server say what it says when something is amiss.
func TestCheckFaults(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	rename := func(from, to string) func(*http.Request) {
		return func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, from, to, 1) }
	}
	for name, tt := range map[string]struct {
		request            func(*http.Request)
		response           func(http.Header)
		ns                 string
		code               int
		grade, about, text string
		remedy             string
	}{
		"no CRD": {
			request: rename("/apis/kubelock.dev", "/apis/nothing.kubelock.dev"),
			code:    78, grade: "fault", about: "distributedlocks.kubelock.dev", text: "does not know the group kubelock.dev",
			remedy: "kubectl apply -k config/crd",
		},
		"another version": {
			request: rename("/apis/kubelock.dev/v1alpha1", "/apis/kubelock.dev/v9"),
			code:    78, grade: "fault", about: "distributedlocks.kubelock.dev", text: "served as v1alpha1, but not as v1alpha1",
			remedy: "Use the plugin of the release that is installed",
		},
		"no namespace": {
			ns:   "there-is-none",
			code: 78, grade: "fault", about: "round trip", text: `"there-is-none"`,
			remedy: "kubectl create namespace there-is-none",
		},
		"a proxy with a wrong clock": {
			response: func(h http.Header) {
				date, err := http.ParseTime(h.Get("Date"))
				if err != nil {
					t.Error(err)
				}
				h.Set("Date", date.Add(-time.Hour-30*time.Second).Format(http.TimeFormat))
			},
			grade: "warning", about: "clock", text: "is 1h0m",
			remedy: "NTP",
		},
		"no Date": {
			response: func(h http.Header) { h.Del("Date") },
			grade:    "warning", about: "clock", text: "no Date header",
			remedy: "pass the header on",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := ns
			if tt.ns != "" {
				in = tt.ns
			}
			r := dlock(t, in, "check", "--timeout", patience.String(), "--server", between(t, tt.request, tt.response))
			r.want(t, tt.code)
			r.says(t, tt.grade, tt.about, tt.text)
			if !strings.Contains(r.out, tt.remedy) {
				t.Errorf("no remedy tells %q:\n%s", tt.remedy, r.out)
			}
		})
	}
	r := dlock(t, ns, "check", "--server", "http://127.0.0.1:1")
	r.want(t, 78)
	r.says(t, "fault", "API server", "connection refused")
}

// TestCheckReaper looks at a reaper that is deployed, and then works and leads.
func TestCheckReaper(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	deploy(t)
	look := func(flags ...string) result {
		r := dlock(t, ns, append([]string{"check", "--timeout", patience.String()}, flags...)...)
		r.want(t, 0)
		return r
	}
	r := look()
	r.says(t, "warning", "reaper", "0 of 2 replicas of deployment kubelock-reaper in namespace kubelock-system are ready")
	r.says(t, "warning", "leader", "has ever led")

	// Nobody starts its Pods here.
	deployments := env.Clientset(t).AppsV1().Deployments(testenv.ReaperNamespace)
	ready := []byte(`{"status": {"replicas": 2, "readyReplicas": 2}}`)
	if _, err := deployments.Patch(t.Context(), "kubelock-reaper", "application/merge-patch+json", ready, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	reaper := filepath.Join(t.TempDir(), "reaper")
	build := exec.CommandContext(within(t, 5*patience), "go", "build", "-o", reaper, "./cmd/reaper")
	build.Dir, build.Stderr = env.Root, os.Stderr
	if err := build.Run(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t, 4*patience), reaper, "--leader-elect", "--leader-election-namespace="+testenv.ReaperNamespace,
		"--namespaces="+ns, "--metrics-bind-address=0", "--health-probe-bind-address=0")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig(t, env.ServiceAccount(t, testenv.ReaperNamespace, testenv.ReaperAccount)))
	var output testenv.Logs
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reaper leads", func() bool { return strings.Contains(look().out, " leads the reaper's replicas") })
	look().says(t, "ok", "reaper", "2 of 2 replicas of deployment kubelock-reaper")
	replaceArgument(t, "--leader-elect", "--leader-elect=true")
	look().says(t, "ok", "leader", " leads the reaper's replicas")
	look("--backend", "leases").says(t, "warning", "reaper", "does not reap Leases")

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the reaper: %v\n%s", err, strings.Join(output.With(""), ""))
	}
	look().says(t, "warning", "leader", "no replica of the reaper leads")

	leases := env.Clientset(t).CoordinationV1().Leases(testenv.ReaperNamespace)
	stale := []byte(`{"spec": {"holderIdentity": "gone", "renewTime": "2001-02-03T04:05:06.000000Z"}}`)
	if _, err := leases.Patch(t.Context(), "reaper.kubelock.dev", "application/merge-patch+json", stale, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	look().says(t, "warning", "leader", "gone led until 25y ago")
}

// replaceArgument changes what the reaper's Deployment says, which nobody runs here.
func replaceArgument(t *testing.T, from, to string) {
	t.Helper()
	deployments := env.Clientset(t).AppsV1().Deployments(testenv.ReaperNamespace)
	d, err := deployments.Get(t.Context(), "kubelock-reaper", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	args := d.Spec.Template.Spec.Containers[0].Args
	i := slices.Index(args, from)
	if i < 0 {
		t.Fatalf("the arguments are %q", args)
	}
	args[i] = to
	if _, err := deployments.Update(t.Context(), d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}
