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
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// allowedFor and deniedFor are how long the API server's answer is believed: what it no longer allows is
	// served that long still, and what it allows since is refused that long.
	allowedFor = time.Minute
	deniedFor  = 10 * time.Second
	// maxJudgements bounds the memory for answers: forged tokens are many.
	maxJudgements = 1024
	// maxReviews is how many questions the API server is asked at once, however many requests come.
	maxReviews = 4
	// reviewTimeout bounds the questions of one request, with the wait for others'.
	reviewTimeout = 10 * time.Second
)

// authorized is a metricsserver.Options.FilterProvider: the API server says who a request's bearer token
// belongs to (TokenReview), and whether that account may send such a request (SubjectAccessReview).
//
// controller-runtime's own is k8s.io/apiserver with all that an API server has, CEL and gRPC among it, which is half
// of a program.
func authorized(config *rest.Config, client *http.Client) (metricsserver.Filter, error) {
	tokens, err := authenticationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	access, err := authorizationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return newAuthorizer(next, log, tokens.TokenReviews(), access.SubjectAccessReviews()), nil
	}, nil
}

// authorizer lets requests pass to next which the API server allows.
type authorizer struct {
	next    http.Handler
	log     logr.Logger
	tokens  authenticationclient.TokenReviewInterface
	access  authorizationclient.SubjectAccessReviewInterface
	now     func() time.Time
	reviews chan struct{} // has an element per request whose answer is asked for

	mu    sync.Mutex // protects known
	known map[question]judgement
}

func newAuthorizer(next http.Handler, log logr.Logger, tokens authenticationclient.TokenReviewInterface, access authorizationclient.SubjectAccessReviewInterface) *authorizer {
	return &authorizer{
		next: next, log: log, tokens: tokens, access: access, now: time.Now,
		reviews: make(chan struct{}, maxReviews), known: map[question]judgement{},
	}
}

// question is what the API server is asked. It has no token that could be read out of the memory.
type question struct {
	token      [sha256.Size]byte
	verb, path string
}

// judgement is an answer.
type judgement struct {
	status int // http.StatusOK, StatusUnauthorized or StatusForbidden
	until  time.Time
}

// ServeHTTP implements http.Handler.
func (g *authorizer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := g.status(r)
	if status == http.StatusOK {
		g.next.ServeHTTP(w, r)
		return
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	http.Error(w, http.StatusText(status), status)
}

// status is http.StatusOK if the request may pass, and otherwise the answer to it.
func (g *authorizer) status(r *http.Request) int {
	token := bearerToken(r)
	if token == "" {
		return http.StatusUnauthorized
	}
	q := question{token: sha256.Sum256([]byte(token)), verb: strings.ToLower(r.Method), path: r.URL.Path}
	if status, ok := g.recall(q); ok {
		return status
	}
	ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
	defer cancel()
	select {
	case g.reviews <- struct{}{}:
		defer func() { <-g.reviews }()
	case <-ctx.Done():
		return http.StatusServiceUnavailable
	}
	if status, ok := g.recall(q); ok { // Another request has asked.
		return status
	}
	status, err := g.ask(ctx, token, q)
	if err != nil {
		g.log.Error(err, "The API server does not say which account may get metrics")
		return http.StatusInternalServerError
	}
	g.remember(q, status)
	return status
}

// bearerToken is the token that a request carries; empty if none.
func bearerToken(r *http.Request) string {
	scheme, token, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// ask asks the API server.
func (g *authorizer) ask(ctx context.Context, token string, q question) (status int, _ error) {
	who, err := g.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("TokenReview: %w", err)
	}
	if !who.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := who.Status.User
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for name, values := range user.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	may, err := g.access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: q.path, Verb: q.verb},
	}}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return 0, fmt.Errorf("SubjectAccessReview: %w", err)
	case !may.Status.Allowed || may.Status.Denied:
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}

// recall returns an answer that is believed still.
func (g *authorizer) recall(q question) (status int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	j, ok := g.known[q]
	return j.status, ok && g.now().Before(j.until)
}

func (g *authorizer) remember(q question, status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) >= maxJudgements {
		clear(g.known)
	}
	lifetime := deniedFor
	if status == http.StatusOK {
		lifetime = allowedFor
	}
	g.known[q] = judgement{status: status, until: g.now().Add(lifetime)}
}
