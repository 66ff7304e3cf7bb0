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
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kubelock/kubelock/internal/testing/memapi"
)

// gate is a transport that can be shut, and that counts the watches that have ended.
type gate struct {
	next   http.RoundTripper
	closed atomic.Bool
	gone   atomic.Int64
}

func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	if g.closed.Load() {
		return nil, io.ErrUnexpectedEOF
	}
	resp, err := g.next.RoundTrip(req)
	if err == nil && req.URL.Query().Get("watch") != "" {
		resp.Body = &goneCounter{ReadCloser: resp.Body, gate: g}
	}
	return resp, err
}

type goneCounter struct {
	io.ReadCloser

	gate *gate
}

func (c *goneCounter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if strings.Contains(string(p[:n]), `"code":410`) {
		c.gate.gone.Add(1)
	}
	return n, err
}

func send(b *testing.B, server *memapi.Server, method, path, contentType, body string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), method, memapi.Host+strings.ReplaceAll(path, "{ns}", "default"), strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := server.RoundTrip(req)
	if err != nil {
		b.Fatal(err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		raw, _ := io.ReadAll(resp.Body)
		b.Fatalf("%s %s: %s", method, path, raw)
	}
	resp.Body.Close()
}

func BenchmarkNew(b *testing.B) {
	options := memapi.Options{CRDs: []*memapi.CRD{locks()}, Namespaces: []string{"default"}}
	b.ReportAllocs()
	for b.Loop() {
		memapi.New(options)
	}
}

func BenchmarkGet(b *testing.B) {
	server := newServer(b)
	send(b, server, "POST", crdPath, typeJSON, lock("a", "", `{"holder":`+holder("l", 5)+`}`))
	b.ReportAllocs()
	for b.Loop() {
		send(b, server, "GET", crdPath+"/a", "", "")
	}
}

func BenchmarkCreateAndDelete(b *testing.B) {
	server := memapi.New(memapi.Options{CRDs: []*memapi.CRD{locks()}, Namespaces: []string{"default"}, History: 100})
	body := lock("a", "", `{"holder":`+holder("l", 5)+`}`)
	b.ReportAllocs()
	for b.Loop() {
		send(b, server, "POST", crdPath, typeJSON, body)
		send(b, server, "DELETE", crdPath+"/a", typeJSON, "")
	}
}

func BenchmarkPut(b *testing.B) {
	server := memapi.New(memapi.Options{CRDs: []*memapi.CRD{locks()}, Namespaces: []string{"default"}, History: 100})
	send(b, server, "POST", crdPath, typeJSON, lock("a", "", `{"holder":`+holder("l", 5)+`}`))
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		send(b, server, "PUT", crdPath+"/a", typeJSON, lock("a", at(strconv.FormatInt(server.ResourceVersion(), 10)),
			`{"holder":`+holder("l", 5)+`,"transitions":`+strconv.Itoa(n)+`}`))
	}
}

func BenchmarkPatch(b *testing.B) {
	server := memapi.New(memapi.Options{CRDs: []*memapi.CRD{locks()}, Namespaces: []string{"default"}, History: 100})
	send(b, server, "POST", crdPath, typeJSON, lock("a", "", `{"holder":`+holder("l", 5)+`}`))
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		send(b, server, "PATCH", crdPath+"/a", typePatch,
			`[{"op":"test","path":"/spec/holder/lockID","value":"l"},{"op":"add","path":"/spec/transitions","value":`+strconv.Itoa(n)+`}]`)
	}
}

func BenchmarkPutLease(b *testing.B) {
	server := memapi.New(memapi.Options{Namespaces: []string{"default"}, History: 100})
	path := strings.ReplaceAll(leasePath, "{ns}", "default") + "/l"
	b.ReportAllocs()
	send(b, server, "PUT", path, typeJSON, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l"},"spec":{}}`)
	for n := 1; b.Loop(); n++ {
		send(b, server, "PUT", path, typeJSON, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l",`+
			at(strconv.FormatInt(server.ResourceVersion(), 10))+`},"spec":{"holderIdentity":"me","leaseTransitions":`+strconv.Itoa(n)+`}}`)
	}
}

func BenchmarkList100(b *testing.B) {
	server := newServer(b)
	for i := range 100 {
		send(b, server, "POST", crdPath, typeJSON, lock("a"+strconv.Itoa(i), "", `{"holder":`+holder("l", 5)+`}`))
	}
	b.ReportAllocs()
	for b.Loop() {
		send(b, server, "GET", crdPath, "", "")
	}
}
