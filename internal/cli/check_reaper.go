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

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/internal/cli/view"
	"github.com/kubelock/kubelock/internal/store"
)

// What the manifests and the chart call the reaper.
const (
	reaperLabels = "app.kubernetes.io/name=kubelock,app.kubernetes.io/component=reaper"
	reaperLease  = "reaper.kubelock.dev"
)

// what a cluster without a reaper does without.
const withoutReaper = "locks work, but dead holders stay shown until somebody waits for them, and unused locks are not deleted"

// reaper looks whether a reaper is deployed, ready and leading, and whether it reaps what
// is checked. Without one locks work, so that nothing of it is a fault.
func (c *check) reaper(ctx context.Context) []view.Finding {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	ns := c.reaperNamespace
	deployments, err := c.clients.AppsV1().Deployments(ns).List(ctx, metav1.ListOptions{LabelSelector: reaperLabels})
	switch {
	case apierrors.IsForbidden(err):
		return []view.Finding{warn("reaper", "you may not list deployments in namespace "+ns,
			"Ask who runs the cluster, or let them bind the ClusterRole view to you there.")}
	case err != nil:
		return []view.Finding{warn("reaper", err.Error(), "Try again.")}
	case len(deployments.Items) == 0:
		return []view.Finding{warn("reaper", fmt.Sprintf("none in namespace %s: %s", ns, withoutReaper),
			"Install it: kubectl apply -k config/default, from kubelock's sources. If it is elsewhere: --reaper-namespace.")}
	}
	found := make([]view.Finding, 0, len(deployments.Items)+1)
	elected := false
	for i := range deployments.Items {
		d := &deployments.Items[i]
		found = append(found, c.deployment(d))
		elected = elected || slices.Contains(arguments(d), "--leader-elect") || slices.Contains(arguments(d), "--leader-elect=true")
	}
	if elected {
		found = append(found, c.leader(ctx))
	}
	return found
}

// arguments are what the reaper is started with.
func arguments(d *appsv1.Deployment) []string {
	var args []string
	for i := range d.Spec.Template.Spec.Containers {
		args = append(args, d.Spec.Template.Spec.Containers[i].Args...)
	}
	return args
}

func (c *check) deployment(d *appsv1.Deployment) view.Finding {
	name := fmt.Sprintf("deployment %s in namespace %s", d.Name, d.Namespace)
	args := arguments(d)
	flag := "--" + strings.ToLower(kindName(c.kind))
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	switch {
	case wanted == 0:
		return warn("reaper", name+" is scaled to 0: "+withoutReaper,
			fmt.Sprintf("Start it: kubectl scale -n %s deployment/%s --replicas=2", d.Namespace, d.Name))
	case d.Status.ReadyReplicas == 0:
		return warn("reaper", fmt.Sprintf("0 of %d replicas of %s are ready: %s", wanted, name, withoutReaper),
			fmt.Sprintf("See why: kubectl describe -n %s deployment/%s; kubectl logs -n %[1]s deployment/%[2]s", d.Namespace, d.Name))
	case c.kind != store.DistributedLocks && !slices.Contains(args, flag) && !slices.Contains(args, flag+"=true"),
		slices.Contains(args, flag+"=false"):
		return warn("reaper", fmt.Sprintf("%s does not reap %s: %s", name, kindName(c.kind), withoutReaper),
			fmt.Sprintf("Start it with %s; config/components/%s has that, and the role for it.", flag, strings.ToLower(kindName(c.kind))))
	}
	for _, arg := range args {
		list, ok := strings.CutPrefix(arg, "--namespaces=")
		if ok && list != "" && !slices.ContainsFunc(strings.Split(list, ","), func(ns string) bool { return strings.TrimSpace(ns) == c.namespace }) {
			return warn("reaper", fmt.Sprintf("%s reaps in %s only: %s", name, list, withoutReaper),
				fmt.Sprintf("Add %s to its --namespaces, and bind its ClusterRole there.", c.namespace))
		}
	}
	return fine("reaper", fmt.Sprintf("%d of %d replicas of %s are ready", d.Status.ReadyReplicas, wanted, name))
}

// leader looks whether one of the replicas leads. The election's times are those of nodes'
// clocks, so a little is allowed for.
func (c *check) leader(ctx context.Context) view.Finding {
	logs := fmt.Sprintf("See why: kubectl logs -n %s -l %s", c.reaperNamespace, reaperLabels)
	lease, err := c.clients.CoordinationV1().Leases(c.reaperNamespace).Get(ctx, reaperLease, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return warn("leader", fmt.Sprintf("you may not get lease %s in namespace %s", reaperLease, c.reaperNamespace),
			fmt.Sprintf("Let who runs the cluster allow it: kubectl create role -n %s dlock-check --verb=get --resource=leases --resource-name=%s, and bind it to you.", c.reaperNamespace, reaperLease))
	case apierrors.IsNotFound(err):
		return warn("leader", "no replica of the reaper has ever led: "+withoutReaper, logs)
	case err != nil:
		return warn("leader", err.Error(), "Try again.")
	}
	spec := lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" || spec.RenewTime == nil || spec.LeaseDurationSeconds == nil {
		return warn("leader", "no replica of the reaper leads: "+withoutReaper, logs)
	}
	now := c.reader.now()
	age := now.Sub(spec.RenewTime.Time)
	if age > seconds(*spec.LeaseDurationSeconds)+clockTolerance {
		return warn("leader", fmt.Sprintf("%s led until %s ago: %s", *spec.HolderIdentity, view.Ago(now, spec.RenewTime.Time), withoutReaper), logs)
	}
	return fine("leader", *spec.HolderIdentity+" leads the reaper's replicas")
}
