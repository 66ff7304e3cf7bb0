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
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Outcome is what an answer says of a write.
type Outcome int

const (
	// Unknown means that the write may have been committed, may be so later, or never. No
	// answer came, or one that does not say.
	Unknown Outcome = iota
	// Committed means that it was done.
	Committed
	// Stale means that this request was not committed, because the object is not, or no longer,
	// as the write assumed. An earlier copy of the request may have been: transports
	// may send a request twice.
	Stale
	// Busy means that it was not looked at; it may be sent again later.
	Busy
	// Rejected means that it was not committed and would not be if it were sent again.
	Rejected
)

// OutcomeOf says what the error of a write means.
func OutcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Committed
	case apierrors.IsTooManyRequests(err):
		return Busy
	case NoSuchResource(err), NoSuchNamespace(err):
		return Rejected
	case patchDoesNotApply(err), apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err), apierrors.IsGone(err):
		return Stale
	}
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok {
		return Unknown
	}
	if code := status.ErrStatus.Code; code >= http.StatusBadRequest && code < http.StatusInternalServerError &&
		code != http.StatusRequestTimeout {
		return Rejected
	}
	return Unknown
}

// NoSuchResource reports whether the API server does not know the kind of object
// at all.
func NoSuchResource(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// NoSuchNamespace reports whether the object's namespace does not exist.
func NoSuchNamespace(err error) bool {
	if !apierrors.IsNotFound(err) {
		return false
	}
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && status.ErrStatus.Details != nil && status.ErrStatus.Details.Kind == "namespaces"
}

// patchDoesNotApply reports whether a JSON patch did not fit the object as it is,
// most often because one of its tests failed. The API server has the same reason,
// Invalid, for an object that its schema does not allow, but then names that. Whatever
// else is in the way may answer so in its own words.
func patchDoesNotApply(err error) bool {
	if !apierrors.IsInvalid(err) || apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return false
	}
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && (status.ErrStatus.Details == nil || status.ErrStatus.Details.Name == "")
}

// QueueFull reports whether the object's schema refused a write because the queue
// would have become too long.
func QueueFull(err error) bool {
	return apierrors.IsInvalid(err) && apierrors.HasStatusCause(err, metav1.CauseType(field.ErrorTypeTooMany))
}
