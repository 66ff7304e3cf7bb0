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
	"errors"
	"fmt"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// MaxKeyBytes is the length of the longest object name.
const MaxKeyBytes = validation.DNS1123SubdomainMaxLength

// Key is a checked key and the name of its object.
type Key struct {
	name   string // as the user wrote it
	object string
}

// Name is the key as the user wrote it.
func (k Key) Name() string { return k.name }

// NewKey maps a key to an object name. Two keys of the same name are possible in
// principle; check finds that out.
func NewKey(name string) (Key, error) {
	switch {
	case name == "":
		return Key{}, fmt.Errorf("%w: it is empty", ErrInvalidKey)
	case len(name) > MaxKeyBytes:
		return Key{}, fmt.Errorf("%w: %.40q and more: it has %d bytes, at most %d are allowed", ErrInvalidKey, name, len(name), MaxKeyBytes)
	case !utf8.ValidString(name):
		return Key{}, fmt.Errorf("%w: it is not valid UTF-8: %q", ErrInvalidKey, name)
	}
	return Key{name: name, object: protocol.ObjectName(name)}, nil
}

// unusable says of an object in which no lock can be kept that the key cannot be used.
func (k Key) unusable(err error) error {
	if _, ok := errors.AsType[*store.UnusableError](err); ok {
		return fmt.Errorf("%w: %q: %w", ErrInvalidKey, k.name, err)
	}
	return err
}

// check makes sure that an object is that of k, and not of another key which maps
// to the same name, or made by hand for another.
func (k Key) check(r protocol.Record) error {
	if r.Exists() && r.Key != k.name {
		return fmt.Errorf("%w: %q: its object %q belongs to the key %q; use another key, or delete the object if nobody needs it",
			ErrInvalidKey, k.name, r.Name, r.Key)
	}
	return nil
}
