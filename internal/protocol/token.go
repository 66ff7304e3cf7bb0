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
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// NextToken is the fencing token of a hold that begins with an update of r: the
// resourceVersion that the update is conditioned on, plus one.
//
// It lies above every version before the hold and is at most the version that
// begins it, so tokens strictly increase from hold to hold, also when the object
// is deleted and created again in between. A counter in the object would not
// survive that.
func NextToken(r Record) (int64, error) {
	version, err := version(r)
	if err != nil {
		return 0, err
	}
	return version + 1, nil
}

// CreatedToken is the fencing token of a hold that began by creating the object:
// the resourceVersion of the object created, or, when the answer to the create
// was lost, the one at which its client read its own lock ID back. The record
// does not have it until the hold's next write.
//
// The resourceVersion of a read that found nothing would not do: a create is
// conditioned on no version, so that another hold may begin and end in between.
func CreatedToken(r Record) (int64, error) { return version(r) }

// version reads r's resourceVersion as the integer that Kubernetes promises it
// to be for objects of one resource (KEP-5504).
func version(r Record) (int64, error) {
	v, err := strconv.ParseInt(r.ResourceVersion, 10, 64)
	if err != nil || v <= 0 {
		return 0, fmt.Errorf("the API server gave the resourceVersion %q, which is no positive integer: fencing tokens cannot be drawn from it", r.ResourceVersion)
	}
	return v, nil
}

// Newer reports whether a is a later version than b. A record without an object
// is older than any with one.
func Newer(a, b Record) bool {
	switch {
	case a.ResourceVersion == "":
		return false
	case b.ResourceVersion == "":
		return true
	}
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && order > 0
}
