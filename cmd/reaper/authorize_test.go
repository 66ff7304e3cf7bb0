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
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// authorizing is an authorizer before a handler that answers all, and an API server that knows the token "good", whose account
// may get /metrics, and the token "stranger", whose account may nothing.
type authorizing struct {
	*authorizer

	mu      sync.Mutex // protects the fields below
	time    time.Time
	asked   []string // the tokens
	about   []authorizationv1.SubjectAccessReviewSpec
	down    bool          // the API server answers with an error
	blocked chan struct{} // if not nil, answers wait until it is closed
	asking  chan struct{} // has an element per TokenReview that has begun
}

func newAuthorizing(t *testing.T) *authorizing {
	t.Helper()
	g := &authorizing{time: time.Unix(1e9, 0), asking: make(chan struct{}, 100)}
	g.authorizer = newAuthorizer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), logr.Discard(), tokenReviews{g}, accessReviews{g})
	g.authorizer.now = func() time.Time {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.time
	}
	return g
}

// tokenReviews answers TokenReviews.
type tokenReviews struct{ *authorizing }

func (g tokenReviews) Create(_ context.Context, review *authenticationv1.TokenReview, _ metav1.CreateOptions) (*authenticationv1.TokenReview, error) {
	g.mu.Lock()
	g.asked = append(g.asked, review.Spec.Token)
	down, blocked := g.down, g.blocked
	g.mu.Unlock()
	g.asking <- struct{}{}
	if blocked != nil {
		<-blocked
	}
	if down {
		return nil, apierrors.NewInternalError(context.DeadlineExceeded)
	}
	if review.Spec.Token != "good" && review.Spec.Token != "stranger" {
		return &authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{Error: "no such token"}}, nil
	}
	return &authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{
		Username: review.Spec.Token, UID: "u", Groups: []string{"g"}, Extra: map[string]authenticationv1.ExtraValue{"e": {"x"}},
	}}}, nil
}

// accessReviews answers SubjectAccessReviews.
type accessReviews struct{ *authorizing }

func (g accessReviews) Create(_ context.Context, review *authorizationv1.SubjectAccessReview, _ metav1.CreateOptions) (*authorizationv1.SubjectAccessReview, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.about = append(g.about, review.Spec)
	allowed := review.Spec.User == "good" && *review.Spec.NonResourceAttributes == authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}
	return &authorizationv1.SubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: allowed}}, nil
}

// get sends a request, and returns the status of the answer.
func (g *authorizing) get(method, path, authorization string) int {
	r := httptest.NewRequestWithContext(context.Background(), method, path, http.NoBody)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w.Code
}

// questions returns how many questions of both kinds the API server got, and forgets them.
func (g *authorizing) questions() (tokens, access int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	tokens, access = len(g.asked), len(g.about)
	g.asked, g.about = nil, nil
	return tokens, access
}

// TestAuthorizer checks who passes, and what the API server is asked for that.
func TestAuthorizer(t *testing.T) {
	t.Parallel()
	g := newAuthorizing(t)
	for _, tt := range []struct {
		method, path, authorization string
		status, tokens, access      int
	}{
		{"GET", "/metrics", "", 401, 0, 0},
		{"GET", "/metrics", "Basic good", 401, 0, 0},
		{"GET", "/metrics", "Bearer ", 401, 0, 0},
		{"GET", "/metrics", "good", 401, 0, 0},
		{"GET", "/metrics", "Bearer forged", 401, 1, 0},
		{"GET", "/metrics", "Bearer stranger", 403, 1, 1},
		{"GET", "/metrics", "bearer good", 200, 1, 1},
		{"GET", "/metrics", "Bearer  good ", 200, 0, 0}, // It is known.
		{"GET", "/metrics", "Bearer stranger", 403, 0, 0},
		{"GET", "/metrics", "Bearer forged", 401, 0, 0},
		{"POST", "/metrics", "Bearer good", 403, 1, 1}, // The answer was for another request.
		{"GET", "/debug", "Bearer good", 403, 1, 1},
	} {
		status := g.get(tt.method, tt.path, tt.authorization)
		tokens, access := g.questions()
		if status != tt.status || tokens != tt.tokens || access != tt.access {
			t.Errorf("%s %s by %q: %d after %d and %d questions, want %d after %d and %d",
				tt.method, tt.path, tt.authorization, status, tokens, access, tt.status, tt.tokens, tt.access)
		}
	}
	g.mu.Lock()
	g.time = g.time.Add(deniedFor)
	g.mu.Unlock()
	if status := g.get("GET", "/metrics", "Bearer good"); status != 200 || len(g.asked) != 0 {
		t.Errorf("after %v an allowed request gets %d after %d questions", deniedFor, status, len(g.asked))
	}
	g.get("GET", "/metrics", "Bearer stranger")
	g.mu.Lock()
	g.time = g.time.Add(allowedFor - deniedFor)
	g.mu.Unlock()
	g.get("GET", "/metrics", "Bearer good")
	if want := []string{"stranger", "good"}; !slices.Equal(g.asked, want) {
		t.Errorf("what is not believed any more is asked again for %q, want %q", g.asked, want)
	}
	got := g.about[len(g.about)-1]
	if got.User != "good" || got.UID != "u" || !slices.Equal(got.Groups, []string{"g"}) || !slices.Equal(got.Extra["e"], []string{"x"}) {
		t.Errorf("the API server is asked about %+v", got)
	}
}

// TestAuthorizerWithoutAnAPIServer lets no request pass which the API server says nothing of, and asks again.
func TestAuthorizerWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	g := newAuthorizing(t)
	g.down = true
	if status := g.get("GET", "/metrics", "Bearer good"); status != 500 {
		t.Errorf("without an API server the answer is %d", status)
	}
	g.down = false
	if status := g.get("GET", "/metrics", "Bearer good"); status != 200 {
		t.Errorf("with the API server again the answer is %d", status)
	}
}

// TestAuthorizerOfManyTokens sends forged tokens, at once and one after another: the questions at once are few, and what
// is remembered is bounded.
func TestAuthorizerOfManyTokens(t *testing.T) {
	t.Parallel()
	g := newAuthorizing(t)
	g.blocked = make(chan struct{})
	var all sync.WaitGroup
	for i := range 3 * maxReviews {
		all.Go(func() { g.get("GET", "/metrics", fmt.Sprintf("Bearer forged-%d", i)) })
	}
	for range maxReviews {
		<-g.asking
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(gone, http.MethodGet, "/metrics", http.NoBody)
	r.Header.Set("Authorization", "Bearer another")
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	if tokens, _ := g.questions(); tokens != maxReviews || w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d questions at once, want %d; a request that does not wait gets %d", tokens, maxReviews, w.Code)
	}
	close(g.blocked)
	all.Wait()
	for i := range maxJudgements {
		g.remember(question{path: strconv.Itoa(i)}, http.StatusUnauthorized)
	}
	if n := len(g.known); n > maxJudgements {
		t.Errorf("%d answers are remembered, want %d at most", n, maxJudgements)
	}
}
