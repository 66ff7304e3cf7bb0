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

package v1alpha1

import (
	"encoding/json"
	"time"
)

// Duration is a length of time as text, such as 90s, 5m or 24h, in the form that
// time.ParseDuration reads. Unlike metav1.Duration it is written as it was read: a client
// that applied 5m still owns the field after another one has written the object.
//
// +kubebuilder:validation:Type=string
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) > duration('0s') && duration(self) <= duration('876000h')",message="must be a positive duration such as 90s, 5m or 24h, of at most 876000h"
type Duration struct {
	time.Duration `json:"-"`
	text          string // what it was read from
}

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) {
	if read, err := time.ParseDuration(d.text); err == nil && read == d.Duration {
		return json.Marshal(d.text)
	}
	return json.Marshal(d.Duration.String())
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	read, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	d.Duration, d.text = read, text
	return nil
}
