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

package kubelock

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// ownDomain is where the keys of kubelock's own labels and annotations are.
	ownDomain = "kubelock.dev"

	// maxMetadata is how many bytes of labels and annotations a client may set. A Lease has room for
	// 256 KiB of annotations: the state takes 200 of them, and holder and queue the most of the rest.
	maxMetadata = 8 << 10
)

// checkMetadata returns what is wrong with the labels and annotations for new objects.
func checkMetadata(labels, annotations map[string]string) []error {
	var wrong []error
	size := 0
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		size += len(key) + len(labels[key])
		if err := checkMetadataKey(key, key); err != nil {
			wrong = append(wrong, fmt.Errorf("in Labels: %w", err))
		}
		if bad := validation.IsValidLabelValue(labels[key]); len(bad) > 0 {
			wrong = append(wrong, fmt.Errorf("in Labels: the value %q of %q is not valid: %s", labels[key], key, strings.Join(bad, "; ")))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		size += len(key) + len(annotations[key])
		// The API server takes annotations in capital letters, too.
		if err := checkMetadataKey(key, strings.ToLower(key)); err != nil {
			wrong = append(wrong, fmt.Errorf("in Annotations: %w", err))
		}
		if !utf8.ValidString(annotations[key]) {
			wrong = append(wrong, fmt.Errorf("in Annotations: the value of %q must be valid UTF-8", key))
		}
	}
	if size > maxMetadata {
		wrong = append(wrong, fmt.Errorf("the Labels and Annotations must have at most %d bytes together, have %d", maxMetadata, size))
	}
	return wrong
}

// checkMetadataKey returns what is wrong with a key, of which name is what the API server checks.
func checkMetadataKey(key, name string) error {
	if bad := validation.IsQualifiedName(name); len(bad) > 0 {
		return fmt.Errorf("the key %q is not valid: %s", key, strings.Join(bad, "; "))
	}
	domain, _, ok := strings.Cut(name, "/")
	if ok && (domain == ownDomain || strings.HasSuffix(domain, "."+ownDomain)) {
		return fmt.Errorf("%q is below %s/, which is kubelock's own: use another prefix", key, ownDomain)
	}
	return nil
}
