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
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// staleMessage is the message for an update that is conditioned on another version.
	staleMessage = "the object has been modified; please apply your changes to the latest version and try again"
	// maxObject is the largest size of a stored object, in bytes of JSON.
	maxObject = 3 << 19
	// maxPatchOperations is how many operations a JSON patch may have.
	maxPatchOperations = 10000

	typeProtobuf = runtime.ContentTypeProtobuf
	typeYAML     = runtime.ContentTypeYAML
)

// decodeBody decodes the object in the body of a POST or PUT.
func (c *call) decodeBody() (map[string]any, schema.GroupVersionKind, error) {
	contentType := mediaType(c.Header.Get("Content-Type"))
	if contentType != runtime.ContentTypeJSON && (contentType != typeProtobuf || c.table.custom) {
		return nil, schema.GroupVersionKind{}, unsupportedMediaType(runtime.ContentTypeJSON, typeYAML, typeProtobuf)
	}
	if err := c.tooLong(); err != nil {
		return nil, schema.GroupVersionKind{}, err
	}
	if c.URL.Query().Has("dryRun") {
		return nil, schema.GroupVersionKind{}, apierrors.NewBadRequest("memapi does not support dryRun")
	}
	obj, gvk, err := c.table.decode(c.body)
	switch {
	case err != nil && gvk.Kind != "":
		return nil, gvk, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, c.table.kind, err))
	case err != nil:
		return nil, gvk, apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", c.table.kind, err, summary(c.body)))
	case gvk.GroupVersion() != c.table.gvr.GroupVersion() && c.table.custom:
		return nil, gvk, apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", gvk.GroupVersion(), c.table.gvr.GroupVersion()))
	case gvk != c.table.gvk() && !c.table.custom:
		internal, _, _ := strings.Cut(cmp.Or(c.table.gvr.Group, "core"), ".")
		return nil, gvk, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: converting (%s.%s) to (%s.%s): unknown conversion",
			gvk.Kind, gvk.Version, c.table.kind, gvk.Version, gvk.Kind, internal, c.table.kind))
	}
	return obj, gvk, nil
}

// summary returns the beginning of a body that could not be decoded.
func summary(body []byte) string {
	const most = 30
	switch {
	case len(body) == 0:
		return "<empty>"
	case body[0] == '{':
		if len(body) > most {
			return string(body[:most]) + " ..."
		}
		return string(body)
	case len(body) > most:
		return hex.EncodeToString(body[:most]) + " ..."
	default:
		return hex.EncodeToString(body)
	}
}

// inNamespace sets the namespace of an object to that of the request's path. It returns an error if the
// object names another one.
func inNamespace(obj map[string]any, namespace string) error {
	u := &unstructured.Unstructured{Object: obj}
	switch {
	case u.GetNamespace() == namespace:
	case u.GetNamespace() == "", namespace == "":
		u.SetNamespace(namespace)
	default:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

func versionOf(u *unstructured.Unstructured) (int64, error) {
	text := u.GetResourceVersion()
	if text == "" {
		return 0, nil
	}
	version, err := strconv.ParseUint(text, 10, 63)
	return int64(version), err
}

// checkSize returns an error for an object that is too large for etcd. It encodes the object only if parts,
// the size of its sources in bytes, shows that it may be too large.
func checkSize(obj map[string]any, parts int) error {
	if parts > maxObject/2 && len(encode(obj)) > maxObject {
		return errors.New("etcdserver: request is too large")
	}
	return nil
}
