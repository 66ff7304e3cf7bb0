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

package engine

import (
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
)

// authenticateByFile makes config take its token from its BearerTokenFile as client-go does, each
// minute anew, and also when the API server refuses it. What replaces the token before
// it expires may replace it before the minute is over, and a lease may be shorter than that.
func authenticateByFile(config *rest.Config) error {
	if config.BearerTokenFile == "" {
		return nil
	}
	tokens := &tokenFile{source: transport.NewCachedFileTokenSource(config.BearerTokenFile), fallback: config.BearerToken}
	if _, err := tokens.current(); err != nil {
		return fmt.Errorf("kubelock: the API server's configuration: %w", err)
	}
	config.BearerToken, config.BearerTokenFile = "", ""
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &tokenBearer{next, tokens} })
	return nil
}

// tokenFile is a token that stands in a file.
type tokenFile struct {
	source   transport.ResettableTokenSource
	fallback string // while the file cannot be read; "" for none
}

func (f *tokenFile) current() (string, error) {
	token, err := f.source.Token()
	switch {
	case err == nil:
		return token.AccessToken, nil
	case f.fallback != "":
		return f.fallback, nil
	}
	return "", err
}

// tokenBearer sends requests with the token of a file.
type tokenBearer struct {
	next   http.RoundTripper
	tokens *tokenFile
}

// RoundTrip implements http.RoundTripper. A request whose token was refused is sent once more
// if the file has another one: the API server has looked at nothing but the token of the first.
func (b *tokenBearer) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Authorization") != "" {
		return b.next.RoundTrip(req)
	}
	token, err := b.tokens.current()
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // As every RoundTripper has to; it is in memory.
		}
		return nil, err
	}
	sent := time.Now()
	resp, err := b.next.RoundTrip(bearing(req, token))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	b.tokens.source.ResetTokenOlderThan(sent)
	fresh, err := b.tokens.current()
	if err != nil || fresh == token || req.Body != nil && req.GetBody == nil {
		return resp, nil //nolint:nilerr // The refusal tells more.
	}
	again := bearing(req, fresh)
	if req.Body != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // As above.
		}
	}
	_ = resp.Body.Close()
	return b.next.RoundTrip(again)
}

// bearing is a copy of req with that token.
func bearing(req *http.Request, token string) *http.Request {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token)
	return req
}

// WrappedRoundTripper lets client-go find the transport below.
func (b *tokenBearer) WrappedRoundTripper() http.RoundTripper { return b.next }
