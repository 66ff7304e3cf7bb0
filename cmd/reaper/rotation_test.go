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
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// refusals is a transport that reports each request whose token the API server does not accept.
type refusals struct {
	next http.RoundTripper
	seen chan struct{}
}

func (r *refusals) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		select {
		case r.seen <- struct{}{}:
		default: // A report is waiting already.
		}
	}
	return resp, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (r *refusals) WrappedRoundTripper() http.RoundTripper { return r.next }

// TestTokenIsRotated writes a new token to the reaper's file, ends the old token, and checks that the
// reaper goes on.
func TestTokenIsRotated(t *testing.T) {
	admin := env.Clientset(t).CoreV1()
	file := filepath.Join(t.TempDir(), "token")
	n := 0
	write := func() (end func()) { // The token is valid while its Secret exists.
		t.Helper()
		n++
		secret, err := admin.Secrets(testenv.ReaperNamespace).Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "token-" + strconv.Itoa(n)},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		end = func() {
			if err := admin.Secrets(testenv.ReaperNamespace).Delete(context.WithoutCancel(t.Context()), secret.Name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}
		token, err := admin.ServiceAccounts(testenv.ReaperNamespace).CreateToken(t.Context(), testenv.ReaperAccount, &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{
				BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Secret", APIVersion: "v1", Name: secret.Name, UID: secret.UID},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(token.Status.Token), 0o600); err != nil {
			t.Fatal(err)
		}
		return end
	}
	account(t) // The manifests are installed.
	end := write()
	seen := make(chan struct{}, 1)
	config := rest.AnonymousClientConfig(env.Config)
	config.BearerTokenFile = file
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &refusals{next, seen} })
	r := startReplica(t, config, elected(t))
	eventually(t, "the replica is ready", func() bool { return r.probe(t, "/readyz") == http.StatusOK })
	eventually(t, "the replica leads", func() bool { _, leader := electionLease(t); return leader != "" })

	t.Cleanup(write())
	end()
	select {
	case <-seen: // The API server caches for 10 s that a token is valid.
	case err := <-r.ended:
		t.Fatalf("the reaper ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the old token was not refused")
	}
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	die(t, ns, "orders")
	history.Until(patience, "orders", "freed", expired)
}
