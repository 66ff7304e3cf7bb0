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

// Package fenced has one recipe per kind of system that a lock protects: how that refuses a
// holder which was paused for longer than its lease. docs/guide/fencing.md explains them.
//
// In each, the system stores the greatest token that it has seen, beside what the lock protects. A
// read raises it, too: an older holder may not write after a newer one has read.
package fenced

import (
	"context"
	"errors"
	"fmt"
)

// ErrStale says that a holder with a greater token has been there. The caller has lost its lock: it has to
// stop, and must not try again with the same token.
var ErrStale = errors.New("fenced: a newer holder has been here")

// Store keeps one text, and refuses calls with a token that is smaller than one it has seen.
type Store interface {
	// Read returns the text.
	Read(ctx context.Context, token int64) (string, error)
	// Write replaces the text. An error that is not ErrStale leaves open whether it has.
	Write(ctx context.Context, token int64, text string) error
}

func stale(token int64) error { return fmt.Errorf("%w: the token %d is refused", ErrStale, token) }
