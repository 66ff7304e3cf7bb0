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

package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	certutil "k8s.io/client-go/util/cert"

	"github.com/kubelock/kubelock/test/chaos/history"
)

// certified returns a cluster without processes that has certificates, and a server with handler as
// its API server.
func certified(t *testing.T, handler http.Handler) (c *Cluster, server string, client *http.Client) {
	t.Helper()
	certificate, key, err := certutil.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c = &Cluster{Folder: t.TempDir(), ca: certificate}
	for name, data := range map[string][]byte{"tls.crt": certificate, "tls.key": key} {
		if err := os.WriteFile(c.file(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	s.TLS, s.EnableHTTP2 = &tls.Config{Certificates: []tls.Certificate{pair}}, true
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	if block, _ := pem.Decode(certificate); block == nil || !roots.AppendCertsFromPEM(certificate) {
		t.Fatal("no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return c, s.Listener.Addr().String(), &http.Client{Transport: transport}
}

func send(t *testing.T, client *http.Client, method, url, body string) (answer received, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return answer, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return received{response.StatusCode, response.Header, string(text)}, err
}

// received is an answer that the client has got.
type received struct {
	code   int
	header http.Header
	text   string
}

const path = "/api/v1/namespaces/" + history.Namespace + "/configmaps/k"

// TestGate sends requests through a gate with and without a rule.
func TestGate(t *testing.T) {
	var reached atomic.Int64
	c, server, client := certified(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusConflict)
		}
		_, _ = io.WriteString(w, r.Proto+" "+r.URL.Path) //nolint:gosec // The test itself reads it.
	}))
	g, err := c.Gate("client-0", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	url := "https://" + g.Address() + path
	if got, err := send(t, client, http.MethodGet, url, ""); err != nil || got.code != http.StatusOK || got.text != "HTTP/2.0 "+path {
		t.Fatalf("without a rule: %v, %q", err, got.text)
	}
	if _, err := send(t, client, http.MethodPut, url, ""); err != nil {
		t.Fatal(err)
	}
	undo, err := g.Obey(func(r *http.Request) Verdict {
		if r.Method == http.MethodGet {
			return Verdict{Delay: 20 * time.Millisecond}
		}
		return Verdict{Answer: &Answer{Code: http.StatusTooManyRequests, Text: "later", RetryAfter: 32}}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Obey(func(*http.Request) Verdict { return Verdict{} }); err == nil {
		t.Error("there are two rules")
	}
	before := reached.Load()
	got, err := send(t, client, http.MethodPatch, url, "")
	if err != nil || got.code != http.StatusTooManyRequests || got.header.Get("Retry-After") != "32" ||
		!strings.Contains(got.text, `"reason":"TooManyRequests"`) || reached.Load() != before {
		t.Errorf("refused: %v, %v, %q", err, got, got.text)
	}
	start := time.Now()
	if _, err := send(t, client, http.MethodGet, url, ""); err != nil || time.Since(start) < 20*time.Millisecond || reached.Load() != before+1 {
		t.Errorf("held up: %v after %v", err, time.Since(start))
	}
	undo()
	if got, err := send(t, client, http.MethodPatch, url, ""); err != nil || got.code != http.StatusOK {
		t.Errorf("after the rule: %v", err)
	}
	refusals := g.Refusals()
	lock := history.Lock{Kind: history.ConfigMaps, Key: "k"}
	if len(refusals) != 2 || refusals[0].Code != http.StatusConflict || refusals[1].Code != http.StatusTooManyRequests || refusals[1].Lock != lock || refusals[1].Process != "client-0" {
		t.Errorf("noted %+v", refusals)
	}
	g.Lead("127.0.0.1:1")
	if _, err := send(t, client, http.MethodGet, url, ""); err == nil {
		t.Error("an answer comes without an API server")
	}
}

// TestWebhook asks the webhook about the requests of two users, one of whom it denies.
func TestWebhook(t *testing.T) {
	c, _, client := certified(t, http.NotFoundHandler())
	w, err := c.Webhook()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	review := func(user string) *admissionv1.AdmissionResponse {
		t.Helper()
		question, err := json.Marshal(admissionv1.AdmissionReview{Request: &admissionv1.AdmissionRequest{UID: "1", UserInfo: authenticationv1.UserInfo{Username: user}}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := send(t, client, http.MethodPost, w.URL, string(question))
		if err != nil {
			t.Fatal(err)
		}
		var answer admissionv1.AdmissionReview
		if err := json.Unmarshal([]byte(got.text), &answer); err != nil || answer.Response == nil || answer.Response.UID != "1" {
			t.Fatalf("%v: %s", err, got.text)
		}
		return answer.Response
	}
	undo, err := w.Deny([]string{"a"}, Answer{Code: http.StatusGone, Text: "no"})
	if err != nil {
		t.Fatal(err)
	}
	if r := review("a"); r.Allowed || r.Result.Code != http.StatusGone || r.Result.Message != "no" {
		t.Errorf("denied: %+v", r)
	}
	if r := review("b"); !r.Allowed {
		t.Errorf("another: %+v", r)
	}
	undo()
	if r := review("a"); !r.Allowed {
		t.Errorf("afterwards: %+v", r)
	}
}
