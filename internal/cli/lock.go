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

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// requestTimeout bounds a request that somebody waits for.
const requestTimeout = 15 * time.Second

// lock is one lock, to be read and mended as it is stored.
type lock struct {
	*reader
	store store.Store
	kind  store.Kind
	key   string
	name  string // of its object
}

// lock returns what the flags and the key name. It sends nothing.
func (o *options) lock(key string) (*lock, error) {
	switch {
	case key == "":
		return nil, usage("KEY must not be empty")
	case len(key) > validation.DNS1123SubdomainMaxLength:
		return nil, usage("KEY must have at most %d bytes, has %d", validation.DNS1123SubdomainMaxLength, len(key))
	case !utf8.ValidString(key):
		return nil, usage("KEY must be valid UTF-8, is %q", key)
	}
	kind, _, err := o.kind()
	if err != nil {
		return nil, err
	}
	r, err := o.reader(false)
	if err != nil {
		return nil, err
	}
	s, err := r.open(kind)
	return &lock{reader: r, store: s, kind: kind, key: key, name: protocol.ObjectName(key)}, err
}

// read reads the lock as it is; it need not exist.
func (l *lock) read(ctx context.Context) (protocol.Record, error) {
	attempt, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := l.store.Get(attempt, l.name)
	if unusable, ok := errors.AsType[*store.UnusableError](err); ok {
		return r, usage("%q is no lock: %w", l.key, unusable)
	}
	if err != nil {
		return r, because(ctx, explain("get", l.kind, l.namespace, err))
	}
	if r.Exists() && r.Key != l.key {
		return r, usage("the object of %q, %s, belongs to the key %q: use that, or another key", l.key, r.Name, r.Key)
	}
	return r, nil
}

// mustExist reads the lock, which must be there.
func (l *lock) mustExist(ctx context.Context) (protocol.Record, error) {
	r, err := l.read(ctx)
	if err == nil && !r.Exists() {
		err = &exitError{code: exitNothing, err: fmt.Errorf("there is no lock %q in namespace %q: "+
			"\"kubectl dlock list\" shows those that there are", l.key, l.namespace)}
	}
	return r, err
}

// oneKey accepts a key and nothing else.
func oneKey(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("%s takes one KEY, got %d arguments: see \"%[1]s --help\"", cmd.CommandPath(), len(args))
	}
	return nil
}
