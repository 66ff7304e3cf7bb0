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

package simulation

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/internal/store"
)

// byHand changes a lock as a user would with kubectl.
func (w *world) byHand(method, name, body string) {
	w.serving.Lock()
	defer w.serving.Unlock()
	w.sendByHandLocked(method, name, body)
}

// sendByHandLocked sends a request of a user to the API server, and returns the body of the answer. It needs
// serving.
func (w *world) sendByHandLocked(method, name, body string) []byte {
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://simulated"+w.folder()+name, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", string(types.MergePatchType))
	if method == http.MethodPost {
		req.Header.Set("Content-Type", runtime.ContentTypeJSON)
	}
	resp, err := w.server.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

// folder returns the path of the objects in the API.
func (w *world) folder() string {
	resource := w.kind.Resource()
	api := "/apis/" + resource.Group + "/"
	if resource.Group == "" {
		api = "/api/"
	}
	return api + resource.Version + "/namespaces/" + namespace + "/" + resource.Resource + "/"
}

// free removes the holder of a lock by hand.
func (w *world) free(name string) {
	metadata := `"metadata":{"labels":{"kubelock.dev/holder":null},"annotations":{"kubelock.dev/holder":null}}`
	switch w.kind {
	case store.DistributedLocks:
		w.byHand(http.MethodPatch, name, `{"spec":{"holder":null},`+metadata+`}`)
	case store.Leases:
		w.byHand(http.MethodPatch, name, `{"spec":{"holderIdentity":null},`+metadata+`}`)
	default:
		w.byHand(http.MethodPatch, name, `{`+metadata+`}`)
	}
}

// countAnew sets the count of holds back, as an elector may, or a tool that writes an old annotation. A DistributedLock's schema
// does not let it.
func (w *world) countAnew(name string) {
	w.byHand(http.MethodPatch, name, map[store.Kind]string{
		store.DistributedLocks: `{"spec":{"transitions":0}}`,
		store.Leases:           `{"spec":{"leaseTransitions":0}}`,
		store.ConfigMaps:       `{"metadata":{"annotations":{"kubelock.dev/transitions":"0"}}}`,
	}[w.kind])
}

// emptyQueue removes all waiters of a lock by hand.
func (w *world) emptyQueue(name string) {
	if w.kind == store.DistributedLocks {
		w.byHand(http.MethodPatch, name, `{"spec":{"waiters":null}}`)
		return
	}
	w.serving.Lock()
	defer w.serving.Unlock()
	var obj metav1.PartialObjectMetadata
	if err := json.Unmarshal(w.sendByHandLocked(http.MethodGet, name, ""), &obj); err != nil {
		w.t.Fatal(err)
	}
	waiters := map[string]any{}
	for annotation := range obj.Annotations {
		if strings.HasPrefix(annotation, "kubelock.dev/waiter-") {
			waiters[annotation] = nil
		}
	}
	if len(waiters) == 0 {
		return
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": waiters}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.sendByHandLocked(http.MethodPatch, name, string(patch))
}
