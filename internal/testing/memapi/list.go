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

package memapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	expiredList     = "The resourceVersion for the provided list is too old."
	expiredContinue = "The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response " +
		"to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent " +
		"list - objects that were created, modified, or deleted between the time the first chunk was returned " +
		"and now may show up in the list."
)

// position is where a list continues. Encoded, it is the continue parameter.
type position struct {
	// Version is the resourceVersion of the list, or -1 for the current one.
	Version int64 `json:"rv"`
	// After is the key of the last listed object.
	After string `json:"after"`
}

func (p position) token() string { return base64.RawURLEncoding.EncodeToString(encode(p)) }

func parsePosition(token string) (position, error) {
	var p position
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil {
		return p, apierrors.NewBadRequest("invalid continue token: continue key is not valid: " + err.Error())
	}
	return p, nil
}

func (c *call) listOptions() (*internalversion.ListOptions, error) {
	options := &internalversion.ListOptions{}
	if c.URL.RawQuery != "" {
		if err := scheme.ParameterCodec.DecodeParameters(c.URL.Query(), metav1.SchemeGroupVersion, options); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	internalversion.SetListOptionsDefaults(options, true)
	if errs := validation.ValidateListOptions(options, true); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", errs)
	}
	if options.FieldSelector == nil {
		options.FieldSelector = fields.Everything()
	}
	for _, requirement := range options.FieldSelector.Requirements() {
		if _, known := c.table.fields[requirement.Field]; !known {
			return nil, apierrors.NewBadRequest("field label not supported: " + requirement.Field)
		}
	}
	return options, nil
}

// matches reports whether the options' selectors select obj.
func (r *resource) matches(obj *object, options *internalversion.ListOptions) bool {
	if options.LabelSelector != nil && !options.LabelSelector.Matches(obj.labels) {
		return false
	}
	return options.FieldSelector.Empty() || options.FieldSelector.Matches(r.selectable(obj, options.FieldSelector))
}

func (r *resource) selectFrom(objects map[string]*object, keys []string, options *internalversion.ListOptions) []*object {
	var found []*object
	for _, key := range keys {
		if obj := objects[key]; r.matches(obj, options) {
			found = append(found, obj)
		}
	}
	return found
}

// parseVersion reads a resourceVersion parameter. 0 is any version.
func parseVersion(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	version, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("resourceVersion: Invalid value: %q: %w", text, err)
	}
	return int64(version), nil
}

func (s *Server) get(c *call) (answer, error) {
	asked, err := parseVersion(c.URL.Query().Get("resourceVersion"))
	if err != nil {
		return answer{}, err
	}
	if asked > s.revision {
		return answer{}, tooLargeResourceVersion(asked, s.revision)
	}
	obj := c.table.objects[keyOf(c.namespace, c.name)]
	if obj == nil {
		return answer{}, apierrors.NewNotFound(c.table.groupResource(), c.name)
	}
	return jsonAnswer(http.StatusOK, obj.raw), nil
}

func (s *Server) listOrWatch(c *call) (answer, error) {
	options, err := c.listOptions()
	if err != nil {
		return answer{}, err
	}
	if options.Watch {
		return s.watch(c, options)
	}
	return s.list(c, options)
}

func (s *Server) list(c *call, options *internalversion.ListOptions) (answer, error) {
	t := c.table
	asked, err := parseVersion(options.ResourceVersion)
	if err != nil {
		return answer{}, apierrors.NewBadRequest("invalid resource version: " + err.Error())
	}
	if asked > s.revision {
		return answer{}, tooLargeResourceVersion(asked, s.revision)
	}
	version, after := s.revision, ""
	switch {
	case options.Continue != "":
		p, err := parsePosition(options.Continue)
		if err != nil {
			return answer{}, err
		}
		if after = p.After; p.Version >= 0 {
			version = p.Version
		}
		if version < t.forgotten {
			err := apierrors.NewResourceExpired(expiredContinue)
			err.ErrStatus.Continue = position{Version: -1, After: after}.token()
			return answer{}, err
		}
	case asked > 0 && (options.ResourceVersionMatch == metav1.ResourceVersionMatchExact || options.ResourceVersionMatch == "" && options.Limit > 0):
		if version = asked; version < t.forgotten {
			return answer{}, apierrors.NewResourceExpired(expiredList)
		}
	}

	objects, keys := t.before(version)
	keys = keysUnder(keys, c.namespace)
	if after != "" {
		at, found := slices.BinarySearch(keys, after)
		if found {
			at++
		}
		keys = keys[at:]
	}
	found := t.selectFrom(objects, keys, options)
	meta := &metav1.ListMeta{ResourceVersion: strconv.FormatInt(version, 10)}
	if limit := int(options.Limit); limit > 0 && limit < len(found) {
		if options.FieldSelector.Empty() && (options.LabelSelector == nil || options.LabelSelector.Empty()) {
			meta.RemainingItemCount = new(int64(len(found) - limit))
		}
		found = found[:limit]
		meta.Continue = position{Version: version, After: found[limit-1].key}.token()
	}
	return jsonAnswer(http.StatusOK, t.encodeList(found, meta)), nil
}

func (r *resource) encodeList(objects []*object, meta *metav1.ListMeta) []byte {
	var b bytes.Buffer
	b.WriteString(`{"apiVersion":`)
	b.Write(encode(r.gvr.GroupVersion().String()))
	b.WriteString(`,"items":[`)
	for i, obj := range objects {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(r.encodeItem(obj))
	}
	b.WriteString(`],"kind":`)
	b.Write(encode(r.listKind))
	b.WriteString(`,"metadata":`)
	if r.custom { // Lists of custom resources always have the continue field.
		b.Write(encode(map[string]any{
			"resourceVersion": meta.ResourceVersion, "continue": meta.Continue, "remainingItemCount": meta.RemainingItemCount,
		}))
	} else {
		b.Write(encode(meta))
	}
	b.WriteByte('}')
	return b.Bytes()
}

// encodeItem encodes an element of a list. Elements of built-in resources have no kind there.
func (r *resource) encodeItem(obj *object) []byte {
	if r.custom {
		return obj.raw
	}
	if obj.item == nil {
		item := make(map[string]any, len(obj.content))
		for name, value := range obj.content {
			if name != "kind" && name != "apiVersion" {
				item[name] = value
			}
		}
		obj.item = encode(item)
	}
	return obj.item
}
