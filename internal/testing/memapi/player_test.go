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

package memapi_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// player sends requests to a server and records the answers.
type player struct {
	t         *testing.T
	client    *http.Client
	config    *rest.Config
	namespace string
	entries   []entry
	watches   map[string]*bufio.Reader
}

// entry is an answer or an event.
type entry struct {
	what string
	body map[string]any
}

func newPlayer(t *testing.T, config *rest.Config, namespace string) *player {
	t.Helper()
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return &player{t: t, client: client, config: config, namespace: namespace, watches: map[string]*bufio.Reader{}}
}

func (p *player) open(ctx context.Context, method, path, contentType, body string) *http.Response {
	p.t.Helper()
	host := p.config.Host
	if !strings.HasPrefix(host, "http") {
		host = "https://" + host
	}
	url := strings.TrimSuffix(host, "/") + strings.ReplaceAll(path, "{ns}", p.namespace)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(strings.ReplaceAll(body, "{ns}", p.namespace)))
	if err != nil {
		p.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", typeJSON)
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp
}

// do sends a request and records the answer.
func (p *player) do(method, path, contentType, body string) map[string]any {
	p.t.Helper()
	resp := p.open(p.t.Context(), method, path, contentType, body)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := http.ParseTime(resp.Header.Get("Date")); err != nil {
		p.t.Errorf("%s %s has no Date: %v", method, path, err)
	}
	if resp.Header.Get("Audit-Id") == "" {
		p.t.Errorf("%s %s has no Audit-Id", method, path)
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	what := fmt.Sprintf("%s %s %.300s: %d %s", method, path, strings.Join(strings.Fields(body), " "), resp.StatusCode, kind)
	e := entry{what: what, body: map[string]any{}}
	if kind == typeJSON {
		if err := json.Unmarshal(raw, &e.body); err != nil {
			p.t.Fatal(err)
		}
	} else {
		e.body["text"] = string(raw)
	}
	p.entries = append(p.entries, e)
	return e.body
}

func (p *player) get(path string) map[string]any { p.t.Helper(); return p.do("GET", path, "", "") }

func (p *player) post(path, body string) map[string]any {
	p.t.Helper()
	return p.do("POST", path, typeJSON, body)
}

func (p *player) put(path, body string) map[string]any {
	p.t.Helper()
	return p.do("PUT", path, typeJSON, body)
}

func (p *player) patch(path, body string) {
	p.t.Helper()
	p.do("PATCH", path, typePatch, body)
}

func (p *player) delete(path, body string) {
	p.t.Helper()
	p.do("DELETE", path, typeJSON, body)
}

// watch opens a watch, from which events reads.
func (p *player) watch(id, path string) {
	p.t.Helper()
	resp := p.open(p.t.Context(), "GET", path, "", "")
	p.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		raw, _ := io.ReadAll(resp.Body)
		p.entries = append(p.entries, entry{what: fmt.Sprintf("watch %s: %d %s", path, resp.StatusCode, raw), body: map[string]any{}})
		return
	}
	p.watches[id] = bufio.NewReader(resp.Body)
}

// events records n events of a watch.
func (p *player) events(id string, n int) {
	p.t.Helper()
	for range n {
		p.event(id)
	}
}

func (p *player) event(id string) {
	p.t.Helper()
	if p.watches[id] == nil {
		return // The watch was refused, and the answer is recorded.
	}
	done := time.AfterFunc(20*time.Second, func() { panic("no event came: " + p.t.Name() + " " + id) })
	line, err := p.watches[id].ReadBytes('\n')
	done.Stop()
	if err != nil {
		p.t.Fatalf("reading the watch %s: %v", id, err)
	}
	var event struct {
		Type   string         `json:"type"`
		Object map[string]any `json:"object"`
	}
	if err := json.Unmarshal(line, &event); err != nil {
		p.t.Fatal(err)
	}
	p.entries = append(p.entries, entry{what: "event of " + id + ": " + event.Type, body: event.Object})
}

var token = regexp.MustCompile(`continue=\w+`)

// oldest matches the message with the version at which a server's history begins.
var oldest = regexp.MustCompile(`too old resource version: 1 \(\d+\)`)

// named matches a resourceVersion in a message that names it as such. Other numbers in messages, such as a
// status or a limit, may be equal to an object's version by chance.
var named = regexp.MustCompile(`(?i)(resource ?version\D{1,30})(\d+)`)

// transcript returns the records, without the parts that differ from server to server. It replaces a UID by
// its place in the order of appearance, and a resourceVersion by its rank.
func (p *player) transcript() []string {
	uids, versions := map[string]string{}, map[int64]bool{}
	for _, e := range p.entries {
		walk(e.body, func(name string, value any) any {
			text, _ := value.(string)
			switch name {
			case "uid":
				if uids[text] == "" {
					uids[text] = fmt.Sprintf("<uid %d>", len(uids))
				}
			case "resourceVersion":
				if version, err := strconv.ParseInt(text, 10, 64); err == nil && !isList(e) {
					versions[version] = true
				}
			}
			return value
		})
	}
	rank := map[string]string{}
	for i, version := range slices.Sorted(maps.Keys(versions)) {
		rank[strconv.FormatInt(version, 10)] = fmt.Sprintf("<version %d>", i)
	}
	ranked := func(text string) string {
		return named.ReplaceAllStringFunc(text, func(match string) string {
			parts := named.FindStringSubmatch(match)
			return parts[1] + cmp.Or(rank[parts[2]], parts[2])
		})
	}
	lines := make([]string, 0, len(p.entries))
	for _, e := range p.entries {
		body := walk(e.body, func(name string, value any) any {
			text, isText := value.(string)
			switch {
			case name == "managedFields":
				return nil
			case name == "creationTimestamp" && isText, name == "deletionTimestamp":
				return "<time>"
			case name == "creationTimestamp":
				return nil
			case name == "continue" && text != "":
				return "<token>"
			case name == "resourceVersion":
				if strings.HasPrefix(text, "<") {
					return text
				}
				return cmp.Or(rank[text], "<some version>")
			case name == "metadata" && isList(e):
				list, _ := value.(map[string]any)
				list = maps.Clone(list)
				list["resourceVersion"] = "<that of the list>"
				return list
			case strings.Contains(text, "patch: Invalid value: "), strings.HasPrefix(text, `Invalid value: "{\"`):
				text, _, _ = strings.Cut(text, "Invalid value: ") // The message has the whole object.
				return text
			case isText:
				for uid, place := range uids {
					if uid != "" {
						text = strings.ReplaceAll(text, uid, place)
					}
				}
				text = strings.ReplaceAll(text, p.namespace, "{ns}")
				text = oldest.ReplaceAllString(text, "too old resource version: 1 (<oldest>)")
				return ranked(text)
			default:
				return value
			}
		})
		raw, err := json.MarshalIndent(body, "", " ")
		if err != nil {
			p.t.Fatal(err)
		}
		what := token.ReplaceAllString(e.what, "continue=<token>")
		for uid, place := range uids {
			if uid != "" {
				what = strings.ReplaceAll(what, uid, place)
			}
		}
		lines = append(lines, ranked(what)+"\n"+string(raw))
	}
	return lines
}

// isList reports whether e is a list. The resourceVersion of a list is the server's, and on the real server
// other clients' writes advance it.
func isList(e entry) bool {
	return e.body["items"] != nil || e.body["kind"] == "Status" || strings.HasSuffix(e.what, "BOOKMARK")
}

// walk copies v, with each value replaced by the result of f. If that is nil, the value is left out.
func walk(v any, f func(name string, value any) any) any {
	switch v := v.(type) {
	case map[string]any:
		result := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if replaced := f(name, v[name]); replaced != nil {
				result[name] = walk(replaced, f)
			}
		}
		return result
	case []any:
		result := make([]any, len(v))
		for i := range v {
			if result[i] = v[i]; f != nil {
				if _, ok := v[i].(string); ok {
					result[i] = f("", v[i])
				} else {
					result[i] = walk(v[i], f)
				}
			}
		}
		return result
	default:
		return v
	}
}
