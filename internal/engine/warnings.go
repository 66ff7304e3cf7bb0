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
	"context"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/lru"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// maxWarnings bounds how many texts of warnings a client remembers.
const maxWarnings = 100

// miscellaneous is the code of the warnings that API servers send (RFC 7234, section 5.5.7).
const miscellaneous = 299

// warnings passes each text that the API server warns of on once. A policy that
// warns does so at every write, and a hold that is renewed writes for as long as it lasts.
type warnings struct {
	next func(ctx context.Context, code int, agent, text string)

	mu   sync.Mutex // makes one of looking into seen and adding to it
	seen *lru.Cache // texts
}

// newWarnings returns a handler that passes warnings to that of config or, if it has none, logs them.
func newWarnings(config *rest.Config, log logr.Logger) *warnings {
	w := &warnings{seen: lru.New(maxWarnings)}
	switch {
	case config.WarningHandlerWithContext != nil:
		w.next = config.WarningHandlerWithContext.HandleWarningHeaderWithContext
	case config.WarningHandler != nil:
		handler := config.WarningHandler
		w.next = func(_ context.Context, code int, agent, text string) { handler.HandleWarningHeader(code, agent, text) }
	default:
		w.next = func(_ context.Context, code int, _, text string) {
			if code == miscellaneous {
				log.Info("The API server warns", "warning", text)
			}
		}
	}
	return w
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(ctx context.Context, code int, agent, text string) {
	if text != "" && w.isNew(text) {
		w.next(ctx, code, agent, text)
	}
}

// isNew reports whether the text was not seen before, and notes it.
func (w *warnings) isNew(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, seen := w.seen.Get(text)
	w.seen.Add(text, nil)
	return !seen
}

// checkLabel logs, once, that a lock which this client holds does not have the label by which the
// client's watch shows what it holds.
func (c *Client) checkLabel(r protocol.Record) {
	obj, ok := r.Stored.(store.Object)
	if !ok || obj.GetLabels()[v1alpha1.HolderLabel] == c.id {
		return
	}
	c.unlabeled.Do(func() {
		c.Log.Info("Something removes the label of locks. Clients that wait for a lock have to read to learn that they have it, seconds late",
			"label", v1alpha1.HolderLabel, "object", r.Name, "namespace", c.Namespace)
	})
}

var _ rest.WarningHandlerWithContext = (*warnings)(nil)
