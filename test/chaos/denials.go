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
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubelock/kubelock/test/chaos/checks"
	"github.com/kubelock/kubelock/test/chaos/cluster"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// Faults that refuse requests or delay writes.

// followRule makes the gate of a client follow a rule while the fault lasts.
func followRule(ctx context.Context, m *member, p planned, rule cluster.Rule) error {
	undo, err := m.gate.Obey(rule)
	if err != nil {
		return err
	}
	defer undo()
	sleep(ctx, p.lasts)
	return nil
}

// denials are answers that a proxy gives instead of an API server. None of them means that the lock
// has changed, or that the client lacks a right.
var denials = []cluster.Answer{
	{Code: http.StatusConflict, Text: checks.NotNow},
	{Code: http.StatusGone, Text: checks.NotNow},
	{Code: http.StatusNotFound, Text: checks.NotNow},
	{Code: http.StatusUnprocessableEntity, Text: checks.NotNow},
	{Code: http.StatusForbidden, Text: checks.NotNow, Page: true},
}

// denyAtProxy makes a client's gate refuse its writes, and every third time also its reads.
func denyAtProxy(ctx context.Context, r *run, p planned) (string, error) {
	c, answer := r.client(p), denials[p.random%uint64(len(denials))]
	reads := p.random>>8%3 == 0
	return fmt.Sprintf("%s by %d for %v, reads too: %v", c.Name, answer.Code, p.lasts, reads), followRule(ctx, c, p, func(req *http.Request) cluster.Verdict {
		if _, ok := history.LockAt(req.URL.Path); !ok || !reads && req.Method == http.MethodGet {
			return cluster.Verdict{}
		}
		return cluster.Verdict{Answer: &answer}
	})
}

// denyByWebhook makes a webhook deny the writes of one client, or of all clients and the reaper,
// with a status code that usually means something else.
func denyByWebhook(ctx context.Context, r *run, p planned) (string, error) {
	admin, err := kubernetes.NewForConfig(r.cluster.AdminConfig())
	if err != nil {
		return "", err
	}
	users := []string{r.client(p).Name}
	if p.random>>8%2 == 0 {
		users = []string{reaperUser}
		for _, c := range r.clients {
			users = append(users, c.Name)
		}
	}
	answer := denials[p.random%uint64(len(denials))]
	answer.Text = "chaos does not allow it"
	undo, err := r.webhook.Deny(users, answer)
	if err != nil {
		return "", err
	}
	defer undo()
	name, path := fmt.Sprintf("chaos-%d", p.random%10000), "denials.chaos.example.com"
	rule := func(group, version, resource string) admissionregistrationv1.RuleWithOperations {
		return admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update, admissionregistrationv1.Delete},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}},
		}
	}
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: path, AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: new(int32(2)),
			ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &r.webhook.URL, CABundle: r.webhook.CA},
			FailurePolicy:     new(admissionregistrationv1.Fail),
			SideEffects:       new(admissionregistrationv1.SideEffectClassNone),
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": history.Namespace}},
			Rules: []admissionregistrationv1.RuleWithOperations{
				rule("kubelock.dev", "*", "distributedlocks"), rule("coordination.k8s.io", "*", "leases"), rule("", "*", "configmaps"),
			},
		}},
	}
	client := admin.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := client.Create(ctx, configuration, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		// The API server may have created it. It does no harm once the webhook denies nothing.
		return name, errors.Join(err, r.withoutWebhook(ctx, admin, name))
	}
	sleep(ctx, p.lasts)
	undo()
	return fmt.Sprintf("%s by %d for %v", strings.Join(users, " "), answer.Code, p.lasts), r.withoutWebhook(ctx, admin, name)
}

func (r *run) withoutWebhook(ctx context.Context, admin kubernetes.Interface, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return r.retry(ctx, func() error {
		return ignoreNotFound(admin.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(ctx, name, metav1.DeleteOptions{}))
	})
}

// retryAfter answers a client's first write to each lock with 429, and a Retry-After that is longer
// than a lease of half a minute. Like the answer of API priority and fairness it is no Status: beside a Status,
// client-go does not read the header.
func retryAfter(ctx context.Context, r *run, p planned) (string, error) {
	c, met := r.client(p), map[history.Lock]bool{}
	err := followRule(ctx, c, p, func(req *http.Request) cluster.Verdict {
		lock, ok := history.LockAt(req.URL.Path)
		if !ok || req.Method == http.MethodGet || met[lock] {
			return cluster.Verdict{}
		}
		met[lock] = true
		return cluster.Verdict{Answer: &cluster.Answer{Code: http.StatusTooManyRequests, Text: checks.NotNow, Page: true, RetryAfter: 32}}
	})
	return fmt.Sprintf("%s for %v", c.Name, p.lasts), err
}

// slowWrites delays each write of a client by seconds, as a slow webhook does. Only writes to locks
// with a long lease are delayed by more than eight.
func slowWrites(ctx context.Context, r *run, p planned) (string, error) {
	c := r.client(p)
	short := 2*time.Second + time.Duration(p.random%6000)*time.Millisecond
	long := 5*time.Second + time.Duration(p.random>>16%5000)*time.Millisecond
	return fmt.Sprintf("%s by %v and %v for %v", c.Name, short, long, p.lasts), followRule(ctx, c, p, func(req *http.Request) cluster.Verdict {
		lock, ok := history.LockAt(req.URL.Path)
		switch {
		case !ok || req.Method == http.MethodGet:
			return cluster.Verdict{}
		case lock.Long():
			return cluster.Verdict{Delay: long}
		}
		return cluster.Verdict{Delay: short}
	})
}

// refuseOnce answers one request of a client with 401, 403 or 404.
func refuseOnce(ctx context.Context, r *run, p planned) (string, error) {
	c := r.client(p)
	answer := cluster.Answer{Code: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}[p.random%3], Text: checks.NotNow, Page: true}
	writes, what := p.random>>8%2 == 0, "nothing"
	err := followRule(ctx, c, p, func(req *http.Request) cluster.Verdict {
		if _, ok := history.LockAt(req.URL.Path); !ok || what != "nothing" || writes && req.Method == http.MethodGet {
			return cluster.Verdict{}
		}
		what = req.Method + " " + req.URL.RequestURI()
		return cluster.Verdict{Answer: &answer}
	})
	if err == nil && what == "nothing" {
		err = errors.New("the client sent nothing")
	}
	return fmt.Sprintf("%s by %d: %s", c.Name, answer.Code, what), err
}

// renewBinding removes the permission of all clients to use one kind of lock, and restores it.
func renewBinding(ctx context.Context, r *run, p planned) (string, error) {
	admin, err := kubernetes.NewForConfig(r.cluster.AdminConfig())
	if err != nil {
		return "", err
	}
	role := roles[p.target%len(roles)]
	client := admin.RbacV1().ClusterRoleBindings()
	if err := ignoreNotFound(client.Delete(ctx, bindingOf(role), metav1.DeleteOptions{})); err != nil {
		return role, errors.Join(err, r.bind(ctx, admin, role))
	}
	sleep(ctx, p.lasts)
	return fmt.Sprintf("%s for %v", role, p.lasts), r.bind(ctx, admin, role)
}

// bind grants a role to all clients.
func (r *run) bind(ctx context.Context, admin kubernetes.Interface, role string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	// A ClusterRoleBinding outlives the namespace.
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: bindingOf(role)},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	for i := range r.options.clients {
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: fmt.Sprintf("client-%d", i)})
	}
	return r.retry(ctx, func() error {
		_, err := admin.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

var roles = []string{"kubelock-user", "kubelock-leases-user", "kubelock-configmaps-user"}

func bindingOf(role string) string { return "chaos-" + role }

// refusals returns the refused requests of all clients.
func (r *run) refusals() (all []history.Refusal) {
	for _, c := range r.clients {
		all = slices.Concat(all, c.gate.Refusals())
	}
	return all
}
