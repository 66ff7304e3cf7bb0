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
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
)

// Webhook is a validating admission webhook that denies the requests of some users.
type Webhook struct {
	// URL and CA belong into a ValidatingWebhookConfiguration.
	URL string
	CA  []byte

	server *http.Server

	mu     sync.Mutex // protects the fields below
	users  []string   // whose requests it denies
	answer *Answer
}

// Webhook starts a webhook that denies nothing yet.
func (c *Cluster) Webhook() (*Webhook, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It does not block.
	if err != nil {
		return nil, err
	}
	w := &Webhook{URL: "https://" + listener.Addr().String(), CA: c.ca}
	w.server = &http.Server{Handler: w, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	go func() { _ = w.server.ServeTLS(listener, c.file("tls.crt"), c.file("tls.key")) }() // Ends with Close.
	return w, nil
}

// Close ends the webhook.
func (w *Webhook) Close() { _ = w.server.Close() }

// Deny makes the webhook deny the requests of those users until undo is called.
func (w *Webhook) Deny(users []string, answer Answer) (undo func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.users != nil {
		return nil, ErrUpset
	}
	w.users, w.answer = users, &answer
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.users = nil
	}, nil
}

// ServeHTTP answers a review of an API server.
func (w *Webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(rw, "want an AdmissionReview", http.StatusBadRequest)
		return
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: w.review(review.Request)})
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = rw.Write(body) // The API server may be gone.
}

func (w *Webhook) review(request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.users, request.UserInfo.Username) {
		return &admissionv1.AdmissionResponse{UID: request.UID, Allowed: true}
	}
	return &admissionv1.AdmissionResponse{UID: request.UID, Result: w.answer.Status()}
}
