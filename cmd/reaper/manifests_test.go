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
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// TestManifestsAreApplied checks that the API server has stored every object as the manifests
// describe it: applying them again changes nothing.
func TestManifestsAreApplied(t *testing.T) {
	if deployed != nil {
		t.Fatal(deployed)
	}
	rendered, err := env.Kubectl(within(t, patience), "", "kustomize", "config/default")
	if err != nil {
		t.Fatal(rendered)
	}
	objects := len(strings.Split(rendered, "\n---\n"))
	out, err := env.Kubectl(within(t, patience), "", "apply", "-k", "config/default")
	if err != nil {
		t.Fatal(out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != objects || objects < 10 {
		t.Errorf("%d objects, but kubectl tells of %d:\n%s", objects, len(lines), out)
	}
	for _, line := range lines {
		// kubectl sends the selector of a budget each time, since it is replaced as a whole.
		if !strings.HasSuffix(line, " unchanged") && line != "poddisruptionbudget.policy/kubelock-reaper configured" {
			t.Errorf("applied again: %s", line)
		}
	}
	if out, err := env.Kubectl(within(t, patience), "", "diff", "-k", "config/default"); err != nil || out != "" {
		t.Errorf("after that there are differences: %v\n%s", err, out)
	}
}

// TestSamplesWork checks that the API server accepts the samples, and that they give the program
// in them the rights that it needs.
func TestSamplesWork(t *testing.T) {
	ns := env.Namespace(t)
	out, err := env.Kubectl(within(t, patience), "", "apply", "-k", "config/samples", "-n", ns)
	if err != nil || strings.Contains(out, "Warning") || strings.Count(out, " created") != 4 {
		t.Fatalf("the samples: %v\n%s", err, out)
	}
	err = env.AwaitAccess(within(t, patience), testenv.AccountUser(ns, "report-worker"), authorizationv1.ResourceAttributes{
		Namespace: ns, Verb: "create", Group: v1alpha1.GroupVersion.Group, Resource: "distributedlocks",
	})
	if err != nil {
		t.Error(err)
	}
}

// tryPod creates a Pod from a Deployment's template, as a dry run, in a namespace with the Pod
// Security standard "restricted". It returns the API server's warnings.
func tryPod(t *testing.T, d *appsv1.Deployment) (warnings string, err error) {
	t.Helper()
	var text bytes.Buffer
	config := rest.CopyConfig(env.Config)
	config.WarningHandler = rest.NewWarningWriter(&text, rest.WarningWriterOptions{})
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: d.Name + "-", Labels: d.Spec.Template.Labels},
		Spec:       d.Spec.Template.Spec,
	}
	_, err = clients.CoreV1().Pods(testenv.ReaperNamespace).Create(within(t, patience), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return text.String(), err
}

// TestPodsAreRestricted checks that the Pods of the manifests comply with the Pod Security standard
// "restricted", which the reaper's namespace enforces.
func TestPodsAreRestricted(t *testing.T) {
	reaper := deployment(t)
	sample := &appsv1.Deployment{}
	text, err := os.ReadFile(filepath.Join(env.Root, "config", "samples", "workload.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(text), "\n---\n")
	last := []byte(documents[len(documents)-1])
	if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(last, nil, sample); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*appsv1.Deployment{reaper, sample} {
		if warnings, err := tryPod(t, d); err != nil || warnings != "" {
			t.Errorf("a Pod of the Deployment %s: %v %s", d.Name, err, warnings)
		}
	}
	bold := reaper.DeepCopy()
	bold.Spec.Template.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = new(true)
	if _, err := tryPod(t, bold); !apierrors.IsForbidden(err) {
		t.Errorf("a Pod that may escalate its privileges: %v; want that it is forbidden", err)
	}
}

// TestDeploymentFitsTheProgram checks that the Deployment's arguments, ports, probes, image, account
// and grace period match the program.
func TestDeploymentFitsTheProgram(t *testing.T) {
	spec := deployment(t).Spec.Template.Spec
	container := spec.Containers[0]
	var o options
	flags := flag.NewFlagSet("reaper", flag.ContinueOnError)
	o.bind(flags)
	if err := flags.Parse(container.Args); err != nil || flags.NArg() > 0 || o.check() != nil {
		t.Errorf("the arguments are %q: %v", container.Args, err)
	}
	if !o.leaderElect {
		t.Error("several replicas run without an election")
	}
	ports := map[string]string{}
	for _, port := range container.Ports {
		ports[port.Name] = fmt.Sprintf(":%d", port.ContainerPort)
	}
	if ports["metrics"] != o.metricsAddress || ports["probes"] != o.probeAddress {
		t.Errorf("the ports are %v, but the program listens on %s and %s", ports, o.metricsAddress, o.probeAddress)
	}
	for path, probe := range map[string]*corev1.Probe{"/healthz": container.LivenessProbe, "/readyz": container.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "probes" {
			t.Errorf("the probe for %s is %+v", path, probe)
		}
	}
	if image := container.Image; !strings.HasPrefix(image, "ghcr.io/kubelock/reaper:v") {
		t.Errorf("the image is %s", image)
	}
	if spec.ServiceAccountName != testenv.ReaperAccount {
		t.Errorf("the Pods run as %s", spec.ServiceAccountName)
	}
	// How long controller-runtime's manager waits for its runnables to end.
	const graceful = 30 * time.Second
	if grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second; grace <= graceful {
		t.Errorf("the Pods are killed after %v, while the program may end within %v", grace, graceful)
	}
}

// TestSelectorsFindTheReaper checks that each selector of the manifests selects the reaper's Pods.
// The API server also accepts a selector that selects no Pod.
func TestSelectorsFindTheReaper(t *testing.T) {
	template := deployment(t).Spec.Template
	ctx := within(t, patience)
	clients := env.Clientset(t)
	selectors := map[string]*metav1.LabelSelector{}

	budget, err := clients.PolicyV1().PodDisruptionBudgets(testenv.ReaperNamespace).Get(ctx, "kubelock-reaper", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	selectors["the PodDisruptionBudget"] = budget.Spec.Selector

	service, err := clients.CoreV1().Services(testenv.ReaperNamespace).Get(ctx, "kubelock-reaper-metrics", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	selectors["the Service"] = &metav1.LabelSelector{MatchLabels: service.Spec.Selector}
	if port := service.Spec.Ports[0]; port.TargetPort.StrVal != "metrics" {
		t.Errorf("the Service's port is %+v", port)
	}

	for _, spread := range template.Spec.TopologySpreadConstraints {
		selectors["the spread over "+spread.TopologyKey] = spread.LabelSelector
	}
	if len(selectors) != 4 {
		t.Errorf("the Pods are spread by %+v", template.Spec.TopologySpreadConstraints)
	}

	policy := &networkingv1.NetworkPolicy{}
	component(t, "networkpolicy", "network_policy.yaml", policy)
	selectors["the NetworkPolicy"] = &policy.Spec.PodSelector
	if port := policy.Spec.Ingress[0].Ports[0].Port; port.StrVal != "metrics" {
		t.Errorf("the NetworkPolicy is for the port %v", port)
	}
	if err := env.Client(t).Create(ctx, policy, client.DryRunAll); err != nil {
		t.Error(err)
	}

	monitor := &unstructured.Unstructured{}
	component(t, "prometheus", "service_monitor.yaml", &monitor.Object)
	found, _, err := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
	if err != nil || !labels.SelectorFromSet(found).Matches(labels.Set(service.Labels)) || len(found) == 0 {
		t.Errorf("the ServiceMonitor selects %v, %v; the Service is %v", found, err, service.Labels)
	}
	endpoints, _, err := unstructured.NestedSlice(monitor.Object, "spec", "endpoints")
	if err != nil || len(endpoints) != 1 || endpoints[0].(map[string]any)["port"] != service.Spec.Ports[0].Name {
		t.Errorf("the ServiceMonitor scrapes %v, %v; the Service has %v", endpoints, err, service.Spec.Ports)
	}

	for what, of := range selectors {
		selector, err := metav1.LabelSelectorAsSelector(of)
		if err != nil || selector.Empty() || !selector.Matches(labels.Set(template.Labels)) {
			t.Errorf("%s selects %v, %v; the Pods are %v", what, selector, err, template.Labels)
		}
	}
}

// component decodes a manifest of config/components.
func component(t *testing.T, name, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(env.Root, "config", "components", name, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatal(err)
	}
}
