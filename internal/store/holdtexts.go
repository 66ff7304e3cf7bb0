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

package store

import (
	"encoding/json"
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
)

// The texts of a holder and of a last release in annotations. They are the JSON of
// v1alpha1's types. Those of metav1 for times call encoding/json again for each; here that
// would be a tenth of what a cycle of a lock allocates.

type holderText struct {
	v1alpha1.Holder

	AcquireTime microTime    `json:"acquireTime,omitzero"` // instead of Holder's, as those below
	RenewTime   microTime    `json:"renewTime,omitzero"`
	Duration    durationText `json:"duration,omitzero"`
}

func encodeHolder(h *protocol.Holder) string {
	text := holderText{Holder: *toHolder(h)}
	text.AcquireTime.MicroTime, text.RenewTime.MicroTime = text.Holder.AcquireTime, text.Holder.RenewTime
	text.Duration.Duration = text.Holder.Duration
	return jsonText(&text)
}

func decodeHolder(text string) (*v1alpha1.Holder, error) {
	var h holderText
	err := json.Unmarshal([]byte(text), &h)
	h.Holder.AcquireTime, h.Holder.RenewTime = h.AcquireTime.MicroTime, h.RenewTime.MicroTime
	h.Holder.Duration = h.Duration.Duration
	return &h.Holder, err
}

type lastReleaseText struct {
	v1alpha1.LastRelease

	Time microTime `json:"time,omitzero"` // instead of LastRelease's
}

func encodeLastRelease(l *protocol.LastRelease) string {
	text := lastReleaseText{LastRelease: *toLastRelease(l)}
	text.Time.MicroTime = text.LastRelease.Time
	return jsonText(&text)
}

func decodeLastRelease(text string) (*v1alpha1.LastRelease, error) {
	var l lastReleaseText
	err := json.Unmarshal([]byte(text), &l)
	l.LastRelease.Time = l.Time.MicroTime
	return &l.LastRelease, err
}

var (
	holderFields      = textFieldsOf(reflect.TypeFor[v1alpha1.Holder]())
	lastReleaseFields = textFieldsOf(reflect.TypeFor[v1alpha1.LastRelease]())
)

// textFieldsOf are the fields of a struct that encoding/json reads.
func textFieldsOf(t reflect.Type) *fieldSet {
	f := fieldsOf(t)
	f.folded()
	return f
}

// holderOver is the text of a holder that replaces a stored one. What that has besides the fields
// that are known stays in the text of the same hold.
func holderOver(stored string, h *protocol.Holder) string {
	text := encodeHolder(h)
	more, err := holderFields.unknownText(stored)
	if err != nil || more == nil {
		return text // What cannot be read is replaced.
	}
	was, err := decodeHolder(stored)
	if err != nil || !(protocol.Record{Holder: fromHolder(was)}).SameHold(protocol.Record{Holder: h}) {
		return text
	}
	if !samePod(was.Pod, toHolder(h).Pod) {
		if more, err = without(more, []string{"pod"}); err != nil {
			return text
		}
	}
	return mergedText(text, more)
}

// lastReleaseOver is holderOver for a last release.
func lastReleaseOver(stored string, l *protocol.LastRelease) string {
	text := encodeLastRelease(l)
	more, err := lastReleaseFields.unknownText(stored)
	if err != nil || more == nil {
		return text
	}
	if was, err := decodeLastRelease(stored); err != nil || !sameRelease(fromLastRelease(was), l) {
		return text
	}
	return mergedText(text, more)
}

// mergedText is a JSON object with the fields of another; both can be read.
func mergedText(text string, others []byte) string {
	all, err := merged([]byte(text), others)
	if err != nil {
		panic(err)
	}
	return string(all)
}

// microTime is a metav1.MicroTime that reads and writes its usual text by itself.
type microTime struct{ metav1.MicroTime }

const quotedMicro = `"` + metav1.RFC3339Micro + `"`

func (t microTime) MarshalJSON() ([]byte, error) {
	return t.UTC().AppendFormat(make([]byte, 0, len(quotedMicro)), quotedMicro), nil
}

func (t *microTime) UnmarshalJSON(text []byte) error {
	read, err := time.Parse(quotedMicro, string(text))
	if err != nil {
		return t.MicroTime.UnmarshalJSON(text)
	}
	t.Time = read.Local()
	return nil
}

// durationText is a metav1.Duration that reads and writes its usual text by itself.
type durationText struct{ metav1.Duration }

func (d durationText) MarshalJSON() ([]byte, error) {
	return []byte(`"` + d.Duration.Duration.String() + `"`), nil
}

func (d *durationText) UnmarshalJSON(text []byte) error {
	if len(text) > 1 && text[0] == '"' {
		if read, err := time.ParseDuration(string(text[1 : len(text)-1])); err == nil {
			d.Duration.Duration = read
			return nil
		}
	}
	return d.Duration.UnmarshalJSON(text)
}

// jsonText is v as JSON. The types that it is called with have no value that JSON
// cannot express.
func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
