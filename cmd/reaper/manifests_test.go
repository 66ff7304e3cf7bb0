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

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testenv"
)

// TestManifestsAreApplied checks that the API server has every object as the manifests
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
		if !strings.HasSuffix(line, " unchanged") {
			t.Errorf("applied again: %s", line)
		}
	}
}

// TestSamplesWork checks that the API server accepts the samples, and that they give
// their program what it needs.
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

// tryPod creates a Pod from a Deployment's template where Pods are restricted, as a
// dry run, and returns what the API server warns of.
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

// TestPodsAreRestricted checks that the Pods of the manifests keep to the Pod Security
// standard "restricted", which the reaper's namespace enforces.
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

// TestDeploymentFitsTheProgram checks that the ports and the image are those of the
// program, and that nothing is missing which only shows in a cluster.
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
}
