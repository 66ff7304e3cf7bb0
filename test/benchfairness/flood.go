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
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

const (
	namespace = "default" // the namespace of the locks and of their holders' account
	elsewhere = "flood"   // the namespace of the other accounts
	holder    = "holder"
	// floodAccounts is large enough for the flows to be in most of workload-low's 128 queues.
	floodAccounts = 64
	// slow is how long an admission webhook delays each request of the flood. So the requests fill the
	// API server's queues, and not the processors that this program shares with it. The benchmark
	// measures the order in which the API server serves requests.
	slow = 500 * time.Millisecond
)

// prepare creates accounts with their roles.
func (b *bench) prepare(ctx context.Context) error {
	if err := b.kubectl(ctx, "apply", "-f", "config/components/distributedlocks/user_role.yaml"); err != nil {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}}
	if _, err := b.clients.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return err
	}
	writer := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "configmap-writer"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create"}}},
	}
	if _, err := b.clients.RbacV1().ClusterRoles().Create(ctx, writer, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := b.account(ctx, namespace, holder, "kubelock-user"); err != nil {
		return err
	}
	for i := range floodAccounts {
		if err := b.account(ctx, elsewhere, flooder(i), writer.Name); err != nil {
			return err
		}
	}
	return nil
}

func flooder(i int) string { return fmt.Sprintf("flooder-%d", i) }

// account creates a service account that has a role in its namespace.
func (b *bench) account(ctx context.Context, ns, name, role string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := b.clients.CoreV1().ServiceAccounts(ns).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := b.clients.RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: name}},
	}, metav1.CreateOptions{})
	return err
}

// as returns the configuration of a service account, with connections of its own.
func (b *bench) as(ctx context.Context, ns, name string) (*rest.Config, error) {
	token, err := b.clients.CoreV1().ServiceAccounts(ns).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(b.config)
	config.BearerToken = token.Status.Token
	config.QPS = -1
	config.Dial = (&net.Dialer{}).DialContext // client-go shares no connections between configurations with a Dial function.
	return config, nil
}

// flood sends requests of that many accounts until ctx ends, b.workers of them at once. It counts the
// successful ones.
func (b *bench) flood(ctx context.Context, accounts int, count *atomic.Int64) (wait func(), err error) {
	var wg sync.WaitGroup
	if accounts == 0 {
		return wg.Wait, nil
	}
	for i := range accounts {
		config, err := b.as(ctx, elsewhere, flooder(i))
		if err != nil {
			return wg.Wait, err
		}
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			return wg.Wait, err
		}
		for range b.workers / accounts {
			wg.Go(func() {
				defer client.CloseIdleConnections()
				for ctx.Err() == nil {
					if write(ctx, client, strings.TrimSuffix(config.Host, "/")) {
						count.Add(1)
						continue
					}
					select { // A client that was refused pauses before its next request.
					case <-ctx.Done():
					case <-time.After(50 * time.Millisecond):
					}
				}
			})
		}
	}
	return wg.Wait, nil
}

// write creates an object as a dry run, and reports whether the API server accepted it.
func write(ctx context.Context, client *http.Client, host string) bool {
	const object = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"flood-"}}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, host+"/api/v1/namespaces/"+elsewhere+"/configmaps?dryRun=All", strings.NewReader(object))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusCreated
}

// startWebhook starts the webhook that delays each request of the flood.
func (b *bench) startWebhook(ctx context.Context) (stop func(), err error) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(req.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "no AdmissionReview", http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(slow):
		case <-req.Context().Done():
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review) // It fails only if the API server has closed the connection.
	}))
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	_, err = b.clients.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "slow"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "slow.example.com",
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: elsewhere}},
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: ca},
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	return server.Close, err
}
