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

package kubelock_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// programAccount creates a service account that may use locks, and returns a way to make tokens for it that
// end when end is called.
func programAccount(t *testing.T, ns string) (token func() (text string, end func())) {
	t.Helper()
	admin := env.Clientset(t)
	if _, err := admin.CoreV1().ServiceAccounts(ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "program"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	grant(t, ns, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "program"})
	n := 0
	return func() (string, func()) {
		n++
		secret, err := admin.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bound-%d", n)}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Secret", APIVersion: "v1", Name: secret.Name, UID: secret.UID},
		}}
		got, err := admin.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), "program", request, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return got.Status.Token, func() {
			if err := admin.CoreV1().Secrets(ns).Delete(context.WithoutCancel(t.Context()), secret.Name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
}

// grant lets a subject use the DistributedLocks of a namespace, until revoke is called.
func grant(t *testing.T, ns string, subject rbacv1.Subject) (revoke func()) {
	t.Helper()
	bindings := env.Clientset(t).RbacV1()
	name := "locks-" + strings.ToLower(subject.Name)
	if _, err := bindings.Roles(ns).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"distributedlocks"}, Verbs: []string{"*"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := bindings.RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{subject},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := bindings.RoleBindings(ns).Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
}

// permitted waits until the client may read its locks.
func permitted(t *testing.T, l *kubelock.Lock[int]) {
	t.Helper()
	var err error
	for ctx := within(t); ctx.Err() == nil; {
		if _, err = l.Get(ctx); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// TestTokenIsRotated ends a service account's token in the middle of a hold, after its file has got another.
func TestTokenIsRotated(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	token := programAccount(t, ns)
	file := filepath.Join(t.TempDir(), "token")
	write := func() (end func()) {
		t.Helper()
		text, end := token()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return end
	}
	end := write()
	refused := make(chan struct{}, 100)
	config := rest.AnonymousClientConfig(env.Config)
	config.BearerTokenFile = file
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &interceptor{next, func(req *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(req)
			if err == nil && resp.StatusCode == http.StatusUnauthorized {
				refused <- struct{}{}
			}
			return resp, err
		}}
	})
	l := kubelock.NewLock[int](newClientFor(t, config, kubelock.Config{Namespace: ns, LockDuration: 3 * time.Second}), "k")
	permitted(t, l)
	for len(refused) > 0 {
		<-refused
	}
	held := acquire(t, l, kubelock.WithAutoRenew())
	write()
	end()
	select {
	case <-refused: // The API server remembers for 10 s that a token was good.
	case <-held.Context().Done():
		t.Fatalf("the hold ended: %v", context.Cause(held.Context()))
	case <-time.After(patience):
		t.Fatal("the old token was not refused")
	}
	<-time.After(4 * time.Second) // More than a lease.
	if err := held.Context().Err(); err != nil {
		t.Fatalf("the hold ended: %v", context.Cause(held.Context()))
	}
	release(t, held.Update(1))
	if n := len(refused); n > 3 {
		t.Errorf("%d more requests were refused", n)
	}
}

func init() { transport.CertCallbackRefreshDuration = time.Second } // Otherwise five minutes.

// TestCertificateIsRotated replaces the files of a client's certificate in the middle of a hold, and then takes
// the rights of the first one away.
func TestCertificateIsRotated(t *testing.T) { //nolint:tparallel // What follows the subtest needs its end.
	t.Parallel()
	t.Run("in a hold", rotateCertificate) // When it has ended, nothing refers to its client any more.
	certificateWatchesEnd(t)
}

func rotateCertificate(t *testing.T) {
	ns := env.Namespace(t)
	dir := t.TempDir()
	config := rest.AnonymousClientConfig(env.Config)
	config.CertFile, config.KeyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(user string) (revoke func()) {
		t.Helper()
		of := env.User(t, user)
		for file, data := range map[string][]byte{config.KeyFile: of.KeyData, config.CertFile: of.CertData} {
			if err := os.WriteFile(file+".new", data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, file := range []string{config.KeyFile, config.CertFile} {
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		}
		return grant(t, ns, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user})
	}
	revoke := write("first-" + ns)
	var dials atomic.Int64
	dial := dialer().DialContext
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return dial(ctx, network, address)
	}
	l := kubelock.NewLock[int](newClientFor(t, config, kubelock.Config{Namespace: ns, LockDuration: 3 * time.Second}), "k")
	permitted(t, l)
	held := acquire(t, l, kubelock.WithAutoRenew())
	before := dials.Load()
	if before == 0 {
		t.Error("the program's own dialer is not used")
	}
	write("second-" + ns)
	for ctx := within(t); dials.Load() == before; { // Connections with the old one are closed.
		if ctx.Err() != nil {
			t.Fatal("no new connection")
		}
		<-time.After(50 * time.Millisecond)
	}
	revoke()
	<-time.After(4 * time.Second)
	if err := held.Context().Err(); err != nil {
		t.Fatalf("the hold ended: %v", context.Cause(held.Context()))
	}
	release(t, held.Update(1))
	if s, err := l.Get(within(t)); err != nil || s.Value != 1 {
		t.Errorf("in the end: %+v, %v", s, err)
	}
}

// certificateWatchesEnd returns when client-go's goroutines have ended that watch the files of
// certificates: when the closed client is garbage.
func certificateWatchesEnd(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	for stacks := make([]byte, 8<<20); ctx.Err() == nil; {
		runtime.GC()
		if !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("dynamicClientCert).run(")) {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Error("a goroutine watches a certificate of a closed client")
}

func dialer() *net.Dialer { return &net.Dialer{Timeout: 10 * time.Second} }
