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

package policy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/cli"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

var (
	env *testenv.Env
	// installed is why the policies are not in force; nil if they are.
	installed error
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "__guard" { // That of a command which kubectl dlock runs in this process.
		os.Exit(cli.Main(os.Args[1:]))
	}
	os.Exit(testenv.Main(m, func(e *testenv.Env) {
		env = e
		installed = errors.Join(e.Deploy(context.Background()), install(context.Background()))
	}))
}

// patience bounds what must happen but may take long on a loaded machine.
const patience = 60 * time.Second

// install applies the policies as a person does, and returns when they are in force:
// when the two refuse what they are to refuse.
func install(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if out, err := env.Kubectl(ctx, "", "apply", "-k", "config/policy"); err != nil {
		return fmt.Errorf("kubectl apply: %w: %s", err, strings.TrimSpace(out))
	}
	reaper := rest.CopyConfig(env.Config) // It may update and delete, and does not force.
	reaper.Impersonate = rest.ImpersonationConfig{UserName: testenv.AccountUser(testenv.ReaperNamespace, testenv.ReaperAccount)}
	c, err := client.New(reaper, client.Options{Scheme: scheme()})
	if err != nil {
		return err
	}
	admin, err := client.New(env.Config, client.Options{Scheme: scheme()})
	if err != nil {
		return err
	}
	probe := &v1alpha1.DistributedLock{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "probe", Labels: map[string]string{v1alpha1.HolderLabel: "c"}},
		Spec:       v1alpha1.DistributedLockSpec{Holder: holder("somebody", "c-1", time.Minute), Transitions: 1},
	}
	if err := admin.Create(ctx, probe); err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		deletion := c.Delete(ctx, probe, client.DryRunAll)
		changed := probe.DeepCopy()
		changed.Spec.Value = new("1")
		update := c.Update(ctx, changed, client.DryRunAll)
		for _, err := range []error{deletion, update} {
			if err != nil && !apierrors.IsForbidden(err) {
				return false, err
			}
		}
		return deletion != nil && update != nil, nil
	})
}

// within returns a context for a call that must come to an end.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// namespace returns a new namespace in which the accounts may use locks.
func namespace(t testing.TB, accounts ...string) string {
	t.Helper()
	if installed != nil {
		t.Fatal(installed)
	}
	ns := env.Namespace(t)
	for _, account := range accounts {
		admit(t, ns, ns, account)
	}
	return ns
}

// admit creates a service account in its namespace, unless there is one, and lets it use the locks in ns.
func admit(t testing.TB, ns, home, account string) {
	t.Helper()
	bind(t, ns, home, account, "kubelock-user", "update")
}

// bind gives a service account a role in ns, and returns when it may do what verb says.
func bind(t testing.TB, ns, home, account, role, verb string) {
	t.Helper()
	admin := env.Client(t)
	err := admin.Create(within(t), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: account}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	err = admin.Create(within(t), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: role + "-" + home + "-" + account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: home, Name: account}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := env.AwaitAccess(within(t), testenv.AccountUser(home, account), authorizationv1.ResourceAttributes{
		Namespace: ns, Verb: verb, Group: v1alpha1.GroupVersion.Group, Resource: "distributedlocks",
	}); err != nil {
		t.Fatal(err)
	}
}

// pod creates a Pod of a service account, and returns the configuration of a program that
// runs in it and the Pod itself.
func pod(t testing.TB, ns, account, name string) (*rest.Config, *corev1.Pod) {
	t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: corev1.PodSpec{
			ServiceAccountName:           account,
			AutomountServiceAccountToken: new(false),
			Containers:                   []corev1.Container{{Name: "program", Image: "example.com/program"}},
		},
	}
	if err := env.Client(t).Create(within(t), p); err != nil {
		t.Fatal(err)
	}
	return bound(t, p), p
}

// bound returns the configuration of a program whose token is bound to a Pod.
func bound(t testing.TB, p *corev1.Pod) *rest.Config {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: new(int64(3600)),
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID},
	}}
	token, err := env.Clientset(t).CoreV1().ServiceAccounts(p.Namespace).
		CreateToken(within(t), p.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(env.Config)
	config.BearerToken = token.Status.Token
	return config
}

// clientOf returns a client for the objects themselves.
func clientOf(t testing.TB, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{Scheme: scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}

// holder is a hold that begins now.
func holder(identity, lockID string, d time.Duration) *v1alpha1.Holder {
	now := metav1.NowMicro()
	return &v1alpha1.Holder{
		Identity: identity, Client: lockID[:strings.LastIndexByte(lockID, '-')], LockID: lockID,
		AcquireTime: now, RenewTime: now, RenewTimeSource: v1alpha1.TimeSourceServer,
		Duration: metav1.Duration{Duration: d},
	}
}
