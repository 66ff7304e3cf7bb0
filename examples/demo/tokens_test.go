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
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// TestTokensAreReplaced checks that the token file of a process gets new tokens while the demo runs, also after
// a replacement that failed.
func TestTokensAreReplaced(t *testing.T) {
	var requests atomic.Int64
	third := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := requests.Add(1)
		if n == 2 {
			http.Error(w, "not now", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		answer := authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: fmt.Sprint("token-", n)}}
		answer.Kind, answer.APIVersion = "TokenRequest", authenticationv1.SchemeGroupVersion.String()
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
		if n == 4 { // The third token has been written then.
			close(third)
		}
	}))
	defer server.Close()
	s := &stage{config: &rest.Config{Host: server.URL}, folder: t.TempDir(), rotation: time.Millisecond}
	s.config.ContentType = "application/json"
	path, err := s.kubeconfig(t.Context(), "demo", "worker")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	user := config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo]
	if user.TokenFile == "" || user.Token != "" { // Clients read a token in the kubeconfig itself only once.
		t.Fatalf("the kubeconfig has %v", user)
	}
	select {
	case <-third:
	case <-time.After(time.Minute):
		t.Fatal("the token is not replaced")
	}
	s.endRotation()
	s.rotating.Wait()
	if token, err := os.ReadFile(user.TokenFile); err != nil || string(token) == "token-1" {
		t.Errorf("the file has %q, %v; want a later token", token, err)
	}
}
