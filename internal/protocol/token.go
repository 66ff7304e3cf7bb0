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
	"math"
	"strconv"

	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// NextToken is the fencing token of a hold that begins with an update of r: the
// resourceVersion that the update is conditioned on, plus one; or the largest token that r
// records, plus one, if that is more.
//
// The first lies above every version before the hold and is at most the version that
// begins it, so tokens strictly increase from hold to hold, also when the object
// is deleted and created again in between. A counter in the object would not
// survive that.
//
// The second is more only if the object was written for another cluster, or for a later
// time of this one: by a backup, or by hand. Then tokens count on from what is recorded
// until the cluster's versions are above that.
func NextToken(r Record) (int64, error) {
	last, err := version(r)
	if err != nil {
		return 0, err
	}
	if last = max(last, r.recordedToken()); last == math.MaxInt64 {
		return 0, fmt.Errorf("the object records the fencing token %d, which is the last that there is: delete the object", last)
	}
	return last + 1, nil
}

// recordedToken is the largest token that r shows; 0 if it shows none.
func (r Record) recordedToken() (token int64) {
	if r.Holder != nil {
		token = r.Holder.Token
	}
	if r.LastRelease != nil {
		token = max(token, r.LastRelease.Token)
	}
	return token
}

// ForeignToken stands for the token of a hold that follows those in r, and that is no kubelock client's: 0 if r records no token.
// Such a hold has none that it could show, and takes its place among the tokens, so that what was recorded before it is
// not lost.
func (r Record) ForeignToken() int64 {
	recorded := r.recordedToken()
	if recorded == 0 || recorded == math.MaxInt64 {
		return recorded
	}
	return recorded + 1
}

// tokensAhead reports whether r records a token above its version. If its object was
// deleted, the tokens of the key would begin anew below that.
func (r Record) tokensAhead() bool {
	v, err := version(r)
	return err == nil && r.recordedToken() > v
}

// CreatedToken is the fencing token of a hold that began by creating the object:
// the resourceVersion of the object created, or, when the answer to the create
// was lost, the one at which its client read its own lock ID back. The record
// does not have it until the hold's next write, and nothing else is recorded in it.
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
