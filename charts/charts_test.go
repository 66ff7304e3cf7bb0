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

// Package charts tests the Helm chart beside it.
package charts

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/kubelock/kubelock/internal/testing/testenv"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, func(e *testenv.Env) { env = e }))
}

// patience is how long a test waits for what must happen. A loaded machine may need most of it.
const patience = time.Minute

// program builds the version of helm that hack/helm pins, and returns its path. Without Go's cache that takes
// minutes.
var program = sync.OnceValues(func() (string, error) {
	cmd := exec.CommandContext(context.Background(), "go", "tool", "-n", "helm") // All tests use the program, so it does not end with the first one.
	cmd.Dir = filepath.Join(env.Root, "hack", "helm")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("building helm: %w\n%s", err, &stderr)
	}
	return strings.TrimSpace(string(out)), nil
})

// helm runs helm as an administrator. It returns helm's output, and after a failure also its error messages.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	home := t.TempDir() // An empty home, without the user's plugins and settings.
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = env.Root
	cmd.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig(),
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out) + stderr.String(), err
	}
	return string(out), nil
}

// kubectl runs kubectl as an administrator.
func kubectl(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return env.Kubectl(ctx, input, args...)
}

// objects has the objects of a manifest, by kind, namespace and name.
type objects map[string]*unstructured.Unstructured

func parse(t *testing.T, manifest string) objects {
	t.Helper()
	all := objects{}
	for document := range strings.SplitSeq("\n"+manifest, "\n---\n") {
		obj := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &obj.Object); err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		if len(obj.Object) == 0 {
			continue
		}
		id := fmt.Sprintf("%s %s/%s", obj.GroupVersionKind().GroupKind(), obj.GetNamespace(), obj.GetName())
		if all[id] != nil {
			t.Errorf("%s is there twice", id)
		}
		all[id] = obj
	}
	return all
}

// manifest is the reverse of parse.
func (o objects) manifest(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, id := range slices.Sorted(maps.Keys(o)) {
		text.WriteString("---\n" + asYAML(t, o[id].Object))
	}
	return text.String()
}

func asYAML(t *testing.T, value any) string {
	t.Helper()
	out, err := sigsyaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// render returns the objects of a release that is named kubelock.
func render(t *testing.T, args ...string) objects {
	t.Helper()
	out, err := helm(t, append([]string{"template", "kubelock", "charts/kubelock", "--namespace", testenv.ReaperNamespace}, args...)...)
	if err != nil {
		t.Fatalf("%q: %s", args, out)
	}
	return parse(t, out)
}

// kustomized returns the objects of a kustomization that has folders of config, separated by
// commas, and some of its components.
func kustomized(t *testing.T, folders string, components []string) objects {
	t.Helper()
	dir := t.TempDir()
	config, err := filepath.Rel(dir, filepath.Join(env.Root, "config"))
	if err != nil {
		t.Fatal(err)
	}
	paths := make([]string, 0, len(components))
	for _, name := range components {
		paths = append(paths, filepath.Join(config, "components", name))
	}
	var resources []string
	for folder := range strings.SplitSeq(folders, ",") {
		resources = append(resources, filepath.Join(config, folder))
	}
	kustomization := map[string]any{"resources": resources, "components": paths}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(asYAML(t, kustomization)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := kubectl(t, "", "kustomize", dir)
	if err != nil {
		t.Fatal(out)
	}
	return parse(t, out)
}

// ofHelm has the labels and annotations that only objects of a chart have.
var ofHelm = []string{
	"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart",
	"helm.sh/resource-policy",
}

// withoutHelm removes Helm's labels and annotations from an object, also from its selectors.
func withoutHelm(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range ofHelm {
			delete(value, key)
		}
		for key, part := range value {
			value[key] = withoutHelm(part)
			if labels, ok := part.(map[string]any); ok && len(labels) == 0 && (key == "labels" || key == "annotations") {
				delete(value, key)
			}
		}
	case []any:
		for i, part := range value {
			value[i] = withoutHelm(part)
		}
	}
	return value
}

// TestChartRendersWhatKustomizeRenders checks that the chart and config describe the same objects. The chart
// has no namespace: it has to exist before the release.
func TestChartRendersWhatKustomizeRenders(t *testing.T) {
	for _, tc := range []struct {
		folder     string
		components []string
		values     string
	}{
		{folder: "crd,default"},
		{folder: "no-crd", values: "crds.install=false,distributedLocks.enabled=false,leases.enabled=true,configMaps.enabled=true"},
		{
			folder: "crd,default", components: []string{"leases", "configmaps", "podwitness", "networkpolicy", "prometheus", "flowcontrol"},
			values: "leases.enabled=true,configMaps.enabled=true,podWitness.enabled=true,networkPolicy.enabled=true,serviceMonitor.enabled=true,flowControl.enabled=true",
		},
		{folder: "crd,default,policy", values: "policy.enabled=true"},
		{folder: "crd,default,monitoring", values: "prometheusRule.enabled=true,dashboard.enabled=true"},
	} {
		t.Run(tc.folder+" "+strings.Join(tc.components, " "), func(t *testing.T) {
			want := kustomized(t, tc.folder, tc.components)
			namespace := "Namespace /" + testenv.ReaperNamespace
			if want[namespace] == nil {
				t.Errorf("config/%s has no namespace", tc.folder)
			}
			delete(want, namespace)
			got := render(t, "--set", tc.values)
			if len(want) < 12 {
				t.Errorf("config/%s has but %d objects", tc.folder, len(want))
			}
			for id, obj := range got {
				if labels := obj.GetLabels(); obj.GetKind() != "CustomResourceDefinition" && labels["app.kubernetes.io/managed-by"] != "Helm" {
					t.Errorf("%s has the labels %v", id, labels)
				}
				if want[id] == nil {
					t.Errorf("only the chart has %s", id)
				}
			}
			for id, obj := range want {
				if got[id] == nil {
					t.Errorf("the chart lacks %s", id)
					continue
				}
				withoutHelm(got[id].Object)
				if !reflect.DeepEqual(got[id].Object, obj.Object) {
					t.Errorf("%s differs, config has:\n%s\nthe chart has:\n%s", id, asYAML(t, obj.Object), asYAML(t, got[id].Object))
				}
			}
		})
	}
}

// kinds counts the objects of each kind.
func (o objects) kinds() map[string]int {
	count := map[string]int{}
	for _, obj := range o {
		count[obj.GetKind()]++
	}
	return count
}

// TestValues checks that each value has its effect, and that the API server accepts the result.
func TestValues(t *testing.T) {
	const reaper = "Deployment.apps kubelock-system/kubelock-reaper"
	for _, ns := range []string{testenv.ReaperNamespace, "team-a", "team-b"} {
		if out, err := kubectl(t, "", "create", "namespace", ns); err != nil {
			t.Fatal(out)
		}
	}
	usual := render(t).kinds()
	for _, tc := range []struct {
		name  string
		args  []string
		kinds map[string]int // how many more objects of each kind than with the defaults
		has   map[string]string
		also  map[string][]string // further parts
		lacks []string            // texts that no object contains
	}{
		{name: "defaults"},
		{
			name:  "restricted to namespaces",
			args:  []string{"--set", "namespaces={team-a,team-b}"},
			kinds: map[string]int{"ClusterRoleBinding": -1, "RoleBinding": 2},
			has: map[string]string{
				reaper: "--namespaces=team-a,team-b",
				"RoleBinding.rbac.authorization.k8s.io team-a/kubelock-reaper-distributedlocks": "namespace: kubelock-system",
				"RoleBinding.rbac.authorization.k8s.io team-b/kubelock-reaper-distributedlocks": "namespace: kubelock-system",
			},
		},
		{
			name:  "without metrics",
			args:  []string{"--set", "metrics.enabled=false,networkPolicy.enabled=true"},
			kinds: map[string]int{"ClusterRoleBinding": -1, "ClusterRole": -2, "Service": -1, "NetworkPolicy": 1},
			has:   map[string]string{reaper: "--metrics-bind-address=0"},
			lacks: []string{"8443", "port: metrics", "tokenreviews"},
		},
		{
			name:  "metrics for everybody",
			args:  []string{"--set", "metrics.secure=false,serviceMonitor.enabled=true,serviceMonitor.interval=30s,serviceMonitor.labels.release=prometheus"},
			kinds: map[string]int{"ClusterRoleBinding": -1, "ClusterRole": -2, "ServiceMonitor": 1},
			has: map[string]string{
				reaper: "--metrics-secure=false",
				"ServiceMonitor.monitoring.coreos.com kubelock-system/kubelock-reaper": "interval: 30s\n    path: /metrics\n    port: metrics\n    scheme: http\n",
			},
			lacks: []string{"bearerTokenFile", "tokenreviews"},
		},
		{
			name:  "another network",
			args:  []string{"--set", "networkPolicy.enabled=true,networkPolicy.apiServerPorts={16443}", "--set-json", `networkPolicy.metricsNamespaceLabels={"metrics":null,"team":"sre"}`},
			kinds: map[string]int{"NetworkPolicy": 1},
			has: map[string]string{
				"NetworkPolicy.networking.k8s.io kubelock-system/kubelock-reaper": "egress:\n  - ports:\n    - port: 16443\n      protocol: TCP\n  ingress:\n  - from:\n" +
					"    - namespaceSelector:\n        matchLabels:\n          team: sre\n",
			},
		},
		{
			name:  "policies that refuse nothing",
			args:  []string{"--set", "policy.enabled=true,policy.validationActions={Warn,Audit}"},
			kinds: map[string]int{"ValidatingAdmissionPolicy": 2, "ValidatingAdmissionPolicyBinding": 2, "ClusterRole": 1},
			has: map[string]string{
				"ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io /kubelock-writes":    "validationActions:\n  - Warn\n  - Audit\n",
				"ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io /kubelock-deletions": "validationActions:\n  - Warn\n  - Audit\n",
			},
			lacks: []string{"- Deny"},
		},
		{
			name: "a share for Leases",
			args: []string{
				"--set", "flowControl.enabled=true,flowControl.nominalConcurrencyShares=30,distributedLocks.enabled=false,leases.enabled=true,crds.install=false,userRoles.aggregate=false",
				"--set-json", `flowControl.accounts=[{"namespace":"team-a","name":"worker"}]`,
			},
			kinds: map[string]int{"PriorityLevelConfiguration": 1, "FlowSchema": 2, "CustomResourceDefinition": -1, "ClusterRole": -2},
			has: map[string]string{
				"PriorityLevelConfiguration.flowcontrol.apiserver.k8s.io /kubelock": "nominalConcurrencyShares: 30\n",
				"FlowSchema.flowcontrol.apiserver.k8s.io /kubelock-accounts":        "serviceAccount:\n        name: worker\n        namespace: team-a\n",
			},
		},
		{
			name: "disruption",
			args: []string{"--set", "podDisruptionBudget.minAvailable=50%,topologySpread.whenUnsatisfiable=DoNotSchedule,replicas=3"},
			has: map[string]string{
				reaper: "replicas: 3\n",
				"PodDisruptionBudget.policy kubelock-system/kubelock-reaper": "minAvailable: 50%",
			},
			lacks: []string{"maxUnavailable", "ScheduleAnyway"},
		},
		{
			name:  "none of what can be left out",
			args:  []string{"--set", "podDisruptionBudget.enabled=false,crds.install=false,userRoles.create=false,userRoles.aggregate=false"},
			kinds: map[string]int{"PodDisruptionBudget": -1, "CustomResourceDefinition": -1, "ClusterRole": -3},
			lacks: []string{"aggregate-to-"},
		},
		{
			name: "a CRD that goes with the release",
			args: []string{"--set", "crds.keep=false"}, lacks: []string{"resource-policy"},
		},
		{
			name:  "another name",
			args:  []string{"--set", "fullnameOverride=mine"},
			has:   map[string]string{"ServiceAccount kubelock-system/mine-reaper": "", "Deployment.apps kubelock-system/mine-reaper": "serviceAccountName: mine-reaper"},
			lacks: []string{"kubelock-reaper"},
		},
		{
			name: "an image of one's own",
			args: []string{"--set", "image.repository=registry.example.com/reaper,image.digest=sha256:" + strings.Repeat("a", 64) +
				",image.pullPolicy=Always,imagePullSecrets[0].name=registry"},
			has:   map[string]string{reaper: "image: registry.example.com/reaper@sha256:" + strings.Repeat("a", 64) + "\n        imagePullPolicy: Always"},
			lacks: []string{"ghcr.io"},
		},
		{
			name:  "an account of one's own",
			args:  []string{"--set", "serviceAccount.create=false,serviceAccount.name=mine,metrics.secure=false"},
			kinds: map[string]int{"ServiceAccount": -1, "ClusterRole": -2, "ClusterRoleBinding": -1},
			has: map[string]string{
				reaper: "serviceAccountName: mine\n",
				"ClusterRoleBinding.rbac.authorization.k8s.io /kubelock-reaper-distributedlocks":        "name: mine\n",
				"RoleBinding.rbac.authorization.k8s.io kubelock-system/kubelock-reaper-leader-election": "name: mine\n",
			},
		},
		{
			name: "an account for a cloud, and labels",
			args: []string{"--set", `serviceAccount.annotations.example\.com/role=reaper,commonLabels.cost=sre`},
			has: map[string]string{
				"ServiceAccount kubelock-system/kubelock-reaper":  "annotations:\n    example.com/role: reaper\n",
				"Service kubelock-system/kubelock-reaper-metrics": "cost: sre\n",
				reaper: "app.kubernetes.io/name: kubelock\n        cost: sre\n",
			},
		},
		{
			name: "what the program gets, and how it is replaced",
			args: []string{
				"--set", "logLevel=debug,strategy.type=Recreate,podSecurityContext.runAsUser=1000,securityContext.privileged=false",
				"--set-json", `extraEnv=[{"name":"GOMEMLIMIT","value":"400MiB"}]`,
				"--set-json", `extraVolumes=[{"name":"ca","emptyDir":{}}]`, "--set-json", `extraVolumeMounts=[{"name":"ca","mountPath":"/ca"}]`,
			},
			has: map[string]string{reaper: "- --zap-log-level=debug\n        env:\n        - name: GOMEMLIMIT\n          value: 400MiB\n"},
			also: map[string][]string{reaper: {
				"strategy:\n    type: Recreate\n", "privileged: false\n", "runAsUser: 1000\n", "readOnlyRootFilesystem: true\n", "runAsNonRoot: true\n",
				"volumeMounts:\n        - mountPath: /ca\n          name: ca\n", "volumes:\n      - emptyDir: {}\n        name: ca\n",
			}},
		},
		{
			name:  "monitoring",
			args:  []string{"--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true,prometheusRule.labels.release=prometheus,dashboard.enabled=true", "--set-json", `serviceMonitor.relabelings=[{"action":"labeldrop","regex":"pod"}]`, "--set-json", `serviceMonitor.metricRelabelings=[{"action":"drop","regex":"go_.*"}]`},
			also:  map[string][]string{"ServiceMonitor.monitoring.coreos.com kubelock-system/kubelock-reaper": {"metricRelabelings:\n    - action: drop\n      regex: go_.*\n"}},
			kinds: map[string]int{"ServiceMonitor": 1, "PrometheusRule": 1, "ConfigMap": 1},
			has: map[string]string{
				"PrometheusRule.monitoring.coreos.com kubelock-system/kubelock":        "release: prometheus\n",
				"ServiceMonitor.monitoring.coreos.com kubelock-system/kubelock-reaper": "relabelings:\n    - action: labeldrop\n      regex: pod\n",
				"ConfigMap kubelock-system/kubelock-dashboard":                         "grafana_dashboard: \"1\"\n",
			},
		},
		{
			name: "where and how the Pods run",
			args: []string{
				"--set", "image.tag=v9,nodeSelector.pool=infra,priorityClassName=system-cluster-critical,podAnnotations.note=x,podLabels.team=sre,extraArgs={--max-clock-skew=2s}",
				"--set-json", `tolerations=[{"key":"infra","operator":"Exists"}]`, "--set-json", `resources={"limits":{"memory":"1Gi"}}`,
				"--set-json", `affinity={"nodeAffinity":{}}`,
			},
			has:   map[string]string{reaper: "- --max-clock-skew=2s\n        image: ghcr.io/kubelock/reaper:v9\n"},
			lacks: []string{"512Mi"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := render(t, tc.args...)
			kinds := got.kinds()
			for _, kind := range slices.Sorted(maps.Keys(kinds)) {
				if want := usual[kind] + tc.kinds[kind]; kinds[kind] != want {
					t.Errorf("there are %d objects of kind %s, want %d", kinds[kind], kind, want)
				}
			}
			for kind, n := range usual {
				if kinds[kind] == 0 && n+tc.kinds[kind] != 0 {
					t.Errorf("there is no %s", kind)
				}
			}
			for id, part := range tc.has {
				if got[id] == nil {
					t.Errorf("there is no %s", id)
				} else if text := asYAML(t, got[id].Object); !strings.Contains(text, part) {
					t.Errorf("%s lacks %q:\n%s", id, part, text)
				}
			}
			for id, parts := range tc.also {
				for _, part := range parts {
					if got[id] == nil || !strings.Contains(asYAML(t, got[id].Object), part) {
						t.Errorf("%s lacks %q", id, part)
					}
				}
			}
			for id, obj := range got {
				for _, part := range tc.lacks {
					if text := asYAML(t, obj.Object); strings.Contains(text, part) {
						t.Errorf("%s has %q:\n%s", id, part, text)
					}
				}
				if obj.GroupVersionKind().Group == "monitoring.coreos.com" {
					delete(got, id) // The server does not know the Prometheus Operator's kinds.
				}
			}
			out, err := kubectl(t, got.manifest(t), "apply", "--server-side", "--dry-run=server", "-f", "-")
			if err != nil || strings.Count(out, " serverside-applied (server dry run)\n") != len(got) || strings.Contains(out, "Warning") {
				t.Errorf("applying %d objects: %v\n%s", len(got), err, out)
			}
		})
	}
}

// TestNamesFollowTheRelease checks that two releases can share a cluster. They have only the roles of programs
// and the CustomResourceDefinition in common.
func TestNamesFollowTheRelease(t *testing.T) {
	first := render(t)
	out, err := helm(t, "template", "mine", "charts/kubelock", "--namespace", "elsewhere")
	if err != nil {
		t.Fatal(out)
	}
	second := parse(t, out)
	if len(second) != len(first) {
		t.Errorf("another release has %d objects, want %d", len(second), len(first))
	}
	var common []string
	for id := range second {
		if first[id] != nil {
			common = append(common, id)
		}
	}
	slices.Sort(common)
	want := []string{
		"ClusterRole.rbac.authorization.k8s.io /kubelock-edit",
		"ClusterRole.rbac.authorization.k8s.io /kubelock-user",
		"ClusterRole.rbac.authorization.k8s.io /kubelock-view",
		"CustomResourceDefinition.apiextensions.k8s.io /distributedlocks.kubelock.dev",
	}
	if !slices.Equal(common, want) {
		t.Errorf("two releases both have %q, want %q", common, want)
	}
	if second["Deployment.apps elsewhere/mine-kubelock-reaper"] == nil {
		t.Errorf("the Deployment has another name; there are %q", slices.Sorted(maps.Keys(second)))
	}
}

// TestWrongValuesAreRefused checks that the error of the schema or the template says what is wrong.
func TestWrongValuesAreRefused(t *testing.T) {
	for values, want := range map[string]string{
		"replicas=-1":                                       "/replicas",
		"replica=3":                                         "'replica'",
		"metrics.on=true":                                   "'on'",
		"metrics.enabled=maybe":                             "/metrics/enabled",
		"namespaces={Team_A}":                               "/namespaces/0",
		"image.digest=sha256:1":                             "/image/digest",
		"extraArgs={leases}":                                "/extraArgs/0",
		"policy.validationActions={Allow}":                  "/policy/validationActions/0",
		"flowControl.accounts[0].name=worker":               "/flowControl/accounts/0",
		"flowControl.nominalConcurrencyShares=0":            "/flowControl/nominalConcurrencyShares",
		"networkPolicy.apiServerPorts={0}":                  "/networkPolicy/apiServerPorts/0",
		"podDisruptionBudget.maxUnavailable=some":           "/podDisruptionBudget/maxUnavailable",
		"topologySpread.whenUnsatisfiable=Never":            "/topologySpread/whenUnsatisfiable",
		"distributedLocks.enabled=false":                    "there is nothing to reap",
		"serviceAccount.create=false":                       "serviceAccount.create=false needs serviceAccount.name",
		"serviceAccount.name=My_Account":                    "/serviceAccount/name",
		"logLevel=loud":                                     "/logLevel",
		"metrics.enabled=false,serviceMonitor.enabled=true": "serviceMonitor.enabled needs metrics.enabled",
	} {
		out, err := helm(t, "template", "kubelock", "charts/kubelock", "--set", values)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("with %s helm says: %v, want %q in\n%s", values, err, want, out)
		}
	}
}

// TestRelease installs, upgrades and removes the chart in a namespace with the Pod Security standard
// "restricted". The CustomResourceDefinition is upgraded, and stays after the removal.
func TestRelease(t *testing.T) {
	if out, err := kubectl(t, "", "delete", "-k", "config/crd", "--wait"); err != nil { // Helm does not replace objects that it has not created.
		t.Fatal(out)
	}
	ns := env.Namespace(t)
	if out, err := kubectl(t, "", "label", "namespace", ns, "pod-security.kubernetes.io/enforce=restricted"); err != nil {
		t.Fatal(out)
	}
	out, err := helm(t, "install", "kubelock", "charts/kubelock", "--namespace", ns)
	if err != nil {
		t.Fatal(out)
	}
	if !strings.Contains(out, "--clusterrole=kubelock-user") || !strings.Contains(out, "It reaps in every namespace.") {
		t.Errorf("the notes are:\n%s", out)
	}
	tryPods(t, ns)

	const crd = "customresourcedefinition/distributedlocks.kubelock.dev"
	if out, err := kubectl(t, "", "wait", crd, "--for=condition=Established", "--timeout=30s"); err != nil {
		t.Fatal(out)
	}
	lock := "apiVersion: kubelock.dev/v1alpha1\nkind: DistributedLock\nmetadata:\n  name: orders\n  namespace: " + ns + "\n"
	if out, err := kubectl(t, lock, "create", "-f", "-"); err != nil {
		t.Fatal(out)
	}
	before := columns(t, crd)
	if out, err := kubectl(t, "", "patch", crd, "--type=json", "-p", `[{"op":"remove","path":"/spec/versions/0/additionalPrinterColumns/0"}]`); err != nil {
		t.Fatal(out)
	}
	if columns(t, crd) == before {
		t.Fatal("the patch has not changed the CustomResourceDefinition")
	}
	if out, err := helm(t, "upgrade", "kubelock", "charts/kubelock", "--namespace", ns, "--set", "leases.enabled=true", "--force-conflicts"); err != nil {
		t.Fatal(out)
	}
	if after := columns(t, crd); after != before {
		t.Errorf("after an upgrade the columns are %q, want %q", after, before)
	}
	if out, err := kubectl(t, "", "get", "clusterrole", "kubelock-leases-user"); err != nil {
		t.Error(out)
	}

	if out, err := helm(t, "uninstall", "kubelock", "--namespace", ns); err != nil {
		t.Fatal(out)
	}
	if out, err := kubectl(t, "", "get", "distributedlock", "orders", "-n", ns); err != nil {
		t.Errorf("a lock is gone with the release: %s", out)
	}
	out, err = kubectl(t, "", "get", "deployments,clusterroles,clusterrolebindings", "-A", "-o", "name", "-l", "app.kubernetes.io/managed-by=Helm")
	if err != nil || strings.TrimSpace(out) != "No resources found" && out != "" {
		t.Errorf("of the release is left: %v\n%s", err, out)
	}
	if out, err := helm(t, "install", "kubelock", "charts/kubelock", "--namespace", ns); err != nil {
		t.Errorf("installing it again: %s", out)
	}
}

func columns(t *testing.T, crd string) string {
	t.Helper()
	out, err := kubectl(t, "", "get", crd, "-o", "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}")
	if err != nil {
		t.Fatal(out)
	}
	return out
}

// tryPods checks that a Pod of each Deployment is accepted by the Pod Security standard "restricted".
func tryPods(t *testing.T, ns string) {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("apps/v1")
	list.SetKind("DeploymentList")
	if err := env.Client(t).List(t.Context(), list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 {
		t.Fatalf("there are %d Deployments", len(list.Items))
	}
	template, _, err := unstructured.NestedMap(list.Items[0].Object, "spec", "template")
	if err != nil {
		t.Fatal(err)
	}
	pod := func() *unstructured.Unstructured {
		p := (&unstructured.Unstructured{Object: template}).DeepCopy()
		p.SetAPIVersion("v1")
		p.SetKind("Pod")
		p.SetNamespace(ns)
		p.SetName("reaper")
		return p
	}
	if err := env.Client(t).Create(t.Context(), pod(), client.DryRunAll); err != nil {
		t.Errorf("a Pod of the chart: %v", err)
	}
	bold := pod()
	if err := unstructured.SetNestedField(bold.Object, true, "spec", "hostNetwork"); err != nil {
		t.Fatal(err)
	}
	if err := env.Client(t).Create(t.Context(), bold, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		t.Errorf("a Pod in the node's network: %v; want that it is forbidden", err)
	}
}
