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

package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// hashLength is how many hexadecimal digits tell apart the objects of keys that
// read alike.
const hashLength = 16

// ObjectName is the name of the object of a key, which is not empty. A key that is a
// valid name is the name; of any other the name is made of what can be read of it, and
// of a hash. Two keys of the same name are possible in principle; the record's Key
// tells them apart.
func ObjectName(key string) string {
	if len(validation.IsDNS1123Subdomain(key)) == 0 {
		return key
	}
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '-'
		}
	}, key)
	readable = readable[:min(len(readable), validation.DNS1123SubdomainMaxLength-hashLength-1)]
	sum := sha256.Sum256([]byte(key))
	hash := hex.EncodeToString(sum[:])[:hashLength]
	if readable = strings.Trim(readable, "-"); readable == "" {
		return hash
	}
	return readable + "-" + hash
}
