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
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// applied applies a folder of manifests in a namespace with the restricted Pod security.
func applied(t *testing.T, folder, account string) (ns string) {
	t.Helper()
	env.NeedsControlPlane(t)
	deploy(t) // The role.
	ns = env.Namespace(t)
	if out, err := env.Kubectl(t.Context(), "", "label", "namespace", ns, "pod-security.kubernetes.io/enforce=restricted"); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if out, err := env.Kubectl(t.Context(), "", "apply", "-n", ns, "-f", folder); err != nil || strings.Contains(out, "Warning") {
		t.Fatalf("%s: %v", out, err)
	}
	may := authorizationv1.ResourceAttributes{Verb: "create", Group: "kubelock.dev", Resource: "distributedlocks", Namespace: ns}
	if err := env.AwaitAccess(within(t, patience), testenv.AccountUser(ns, account), may); err != nil {
		t.Fatal(err)
	}
	return ns
}

// admitted creates the Pod of a template, which the API server checks as it does
// any Pod.
func admitted(t *testing.T, ns string, template corev1.PodTemplateSpec) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: template.Labels}, Spec: template.Spec}
	made, err := env.Clientset(t).CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	if minor := env.Minor(t); minor < 35 {
		t.Logf("Kubernetes 1.%d mounts no images as volumes: the example needs 1.35", minor)
		return
	}
	if !slices.ContainsFunc(made.Spec.Volumes, func(v corev1.Volume) bool { return v.Image != nil }) {
		t.Errorf("the API server has dropped the image's volume")
	}
}

// contained is a container's command as its Pod would run it, with the rights of the Pod's
// service account.
func contained(t *testing.T, ns string, pod corev1.PodSpec, container corev1.Container) *exec.Cmd {
	t.Helper()
	if container.Command[0] != "/dlock/kubectl-dlock" {
		t.Fatalf("the container runs %q", container.Command)
	}
	cmd := command(t, ns, container.Command[1:]...)
	cmd.Env = append(cmd.Env, "KUBECONFIG="+kubeconfig(t, env.ServiceAccount(t, ns, pod.ServiceAccountName)), "POD_NAME="+container.Name+"-pod")
	return cmd
}

// TestCronJobExample runs the job while another run works, and then alone.
func TestCronJobExample(t *testing.T) {
	t.Parallel()
	ns := applied(t, "examples/cronjob-singleton", "nightly-backup")
	job, err := env.Clientset(t).BatchV1().CronJobs(ns).Get(t.Context(), "nightly-backup", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	template := job.Spec.JobTemplate.Spec.Template
	admitted(t, ns, template)
	pod := template.Spec
	r := finish(t, contained(t, ns, pod, pod.Containers[0]))
	r.want(t, 0)
	if !strings.Contains(r.out, "backing up, with fencing token ") {
		t.Errorf("alone it says %q", r.out)
	}
	name := dlock(t, ns, "list", "-o", "name").out
	name = strings.TrimSpace(name[strings.Index(name, "/")+1:])
	free(t, ns, name, v1alpha1.ReasonReleased)
	if last := object(t, ns, name).Spec.LastRelease; last.Identity != "backup-pod" {
		t.Errorf("the holder was %q, want the Pod", last.Identity)
	}

	hold(t, ns, "nightly/backup")
	r = finish(t, contained(t, ns, pod, pod.Containers[0]))
	r.want(t, 0, "not acquired")
	if r.out != "" {
		t.Errorf("beside another it says %q", r.out)
	}
}

// TestMigrationExample starts all replicas at once: one migrates.
func TestMigrationExample(t *testing.T) {
	t.Parallel()
	ns := applied(t, "examples/schema-migration", "orders")
	deployment, err := env.Clientset(t).AppsV1().Deployments(ns).Get(t.Context(), "orders", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	template := deployment.Spec.Template
	admitted(t, ns, template)
	pod := template.Spec
	var replicas sync.WaitGroup
	results := make([]result, *deployment.Spec.Replicas)
	for i := range results {
		cmd := contained(t, ns, pod, pod.InitContainers[0])
		replicas.Go(func() { results[i] = finish(t, cmd) })
	}
	replicas.Wait()
	migrated := 0
	for _, r := range results {
		r.want(t, 0)
		if strings.Contains(r.out, "migrating the schema to 7") {
			migrated++
		} else if !strings.Contains(r.out, "the schema is at 7 already") {
			t.Errorf("a replica says %q", r.out)
		}
	}
	if migrated != 1 || len(results) != 3 {
		t.Errorf("%d of %d replicas have migrated, want 1 of 3", migrated, len(results))
	}
}
