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

package fenced

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
)

// Resource is an object in a store that knows conditional writes by HTTP, and nothing of tokens: a
// service with If-Match, or an object store such as S3 (PutObject with If-Match and If-None-Match).
//
// The fence is in the content, and not in a header or in metadata: the ETag of many object stores is
// a hash of the content, and would not show that a newer holder has written the same text.
type Resource struct {
	Client *http.Client
	URL    string
	// Sign is called with each request, such as to sign it; nil for nothing.
	Sign func(*http.Request) error
}

// content is what is stored.
type content struct {
	Fence int64  `json:"fence"`
	Body  string `json:"body"`
}

// Read implements Store. It writes, if the token is greater than the one that is stored.
func (r Resource) Read(ctx context.Context, token int64) (string, error) {
	var body string
	err := r.change(ctx, token, func(c content) content {
		body = c.Body
		return c
	})
	return body, err
}

// Write implements Store.
func (r Resource) Write(ctx context.Context, token int64, text string) error {
	return r.change(ctx, token, func(c content) content {
		c.Body = text
		return c
	})
}

// change reads, checks the fence, and writes on the condition that nothing has changed since. It begins
// again if something has, until ctx ends.
func (r Resource) change(ctx context.Context, token int64, change func(content) content) error {
	for {
		was, etag, err := r.get(ctx)
		if err != nil {
			return err
		}
		if token < was.Fence {
			return stale(token)
		}
		next := change(was)
		next.Fence = token
		if next == was && etag != "" {
			return nil
		}
		done, err := r.put(ctx, next, etag)
		if done || err != nil {
			return err
		}
	}
}

// get returns what is stored, and its ETag; an empty one if there is nothing.
func (r Resource) get(ctx context.Context) (c content, etag string, err error) {
	status, header, body, err := r.do(ctx, http.MethodGet, nil, nil)
	switch {
	case err != nil:
		return c, "", err
	case status == http.StatusNotFound:
		return c, "", nil
	case status != http.StatusOK:
		return c, "", fmt.Errorf("fenced: GET %s: %d: %.200s", r.URL, status, body)
	}
	if etag = header.Get("ETag"); etag == "" {
		return c, "", fmt.Errorf("fenced: GET %s: the answer has no ETag, so a write could not be conditional", r.URL)
	}
	err = json.Unmarshal(body, &c)
	return c, etag, err
}

// put returns false if the condition does not hold any more.
func (r Resource) put(ctx context.Context, c content, etag string) (done bool, err error) {
	text, err := json.Marshal(c)
	if err != nil {
		return false, err
	}
	condition := http.Header{"If-Match": {etag}}
	if etag == "" {
		condition = http.Header{"If-None-Match": {"*"}}
	}
	status, _, body, err := r.do(ctx, http.MethodPut, condition, text)
	switch {
	case err != nil: // It may have been done.
		return false, err
	case status == http.StatusPreconditionFailed, status == http.StatusConflict, status == http.StatusNotFound && etag != "":
		return false, nil
	case status < 200 || status > 299:
		return false, fmt.Errorf("fenced: PUT %s: %d: %.200s", r.URL, status, body)
	}
	return true, nil
}

func (r Resource) do(ctx context.Context, method string, header http.Header, text []byte) (status int, _ http.Header, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, r.URL, bytes.NewReader(text))
	if err != nil {
		return 0, nil, nil, err
	}
	maps.Copy(req.Header, header)
	if r.Sign != nil {
		if err := r.Sign(req); err != nil {
			return 0, nil, nil, err
		}
	}
	resp, err := r.Client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // It was read.
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, body, err
}
