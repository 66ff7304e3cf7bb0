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
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubelock/kubelock/internal/protocol"
)

// Outcome is what an answer says of a request.
type Outcome = protocol.Outcome

// The outcomes: see protocol.Outcome.
const (
	Unknown   = protocol.Unknown
	Committed = protocol.Committed
	Stale     = protocol.Stale
	Busy      = protocol.Busy
	Rejected  = protocol.Rejected
	Denied    = protocol.Denied
	Altered   = protocol.Altered
)

// OutcomeOf says what the error of a write means. A write that was Stale for an object which is
// as it assumes was refused for another reason: not every refusal says so.
func OutcomeOf(err error) Outcome {
	if _, ok := errors.AsType[*AlteredError](err); ok {
		return Altered
	}
	switch {
	case err == nil:
		return Committed
	case apierrors.IsTooManyRequests(err):
		return Busy
	case admissionDenied(err), tooLarge(err), NoSuchNamespace(err):
		return Rejected
	case NoSuchResource(err), apierrors.IsUnauthorized(err), DeniedVerb(err) != "", forbiddenByProxy(err):
		return Denied
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

// byAuthorizer is how an API server says that its authorizer denies a request.
var byAuthorizer = regexp.MustCompile(`forbidden: User "(?:[^"\\]|\\.)*" cannot (\S+) (?:resource|path)\b`)

// DeniedVerb is the verb that the API server's authorizer denies, "" if err is no denial of
// it: quotas, policies and webhooks forbid, too. Releases may be updates or patches, and only
// the server's text tells.
func DeniedVerb(err error) string {
	if !apierrors.IsForbidden(err) || admissionDenied(err) {
		return ""
	}
	if found := byAuthorizer.FindStringSubmatch(err.Error()); found != nil {
		return found[1]
	}
	return ""
}

// admissionDenied reports whether a webhook or a policy has refused the request. They choose the
// code of the answer, and many choose one that means something else; the API server puts its own
// words before theirs.
func admissionDenied(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || status.ErrStatus.Code >= http.StatusInternalServerError {
		return false
	}
	text := status.ErrStatus.Message
	return strings.Contains(text, `admission webhook "`) && strings.Contains(text, " denied the request") ||
		strings.Contains(text, "ValidatingAdmissionPolicy '") && strings.Contains(text, " denied request")
}

// forbiddenByProxy reports whether the answer is a 403 that no API server has written.
func forbiddenByProxy(err error) bool {
	return apierrors.IsForbidden(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// TooLarge reports whether the object would have become too large: for the API server, for
// etcd, or for what its kind takes of state or annotations.
func TooLarge(err error) bool {
	if tooLarge(err) || apierrors.IsRequestEntityTooLargeError(err) {
		return true
	}
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsInvalid(err) || status.ErrStatus.Details == nil {
		return false
	}
	return slices.ContainsFunc(status.ErrStatus.Details.Causes, func(c metav1.StatusCause) bool {
		return c.Type == metav1.CauseTypeTooLong &&
			!slices.ContainsFunc([]string{"spec.holder", "spec.waiters", "spec.lastRelease"}, func(field string) bool {
				return strings.HasPrefix(c.Field, field)
			})
	})
}

// tooLarge reports whether etcd, or its client in the API server, does not take so large an
// object. That comes as an internal error, which does not say otherwise that it was not done.
func tooLarge(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && (strings.Contains(status.ErrStatus.Message, "etcdserver: request is too large") ||
		strings.Contains(status.ErrStatus.Message, "trying to send message larger than max"))
}

// NoSuchResource reports whether the API server does not know the kind of object
// at all.
func NoSuchResource(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// noSuchObject reports whether the API server says that it has no object of that name. A 404
// of whatever else is in the way says nothing of it.
func noSuchObject(err error, name string) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && apierrors.IsNotFound(err) && !NoSuchResource(err) && status.ErrStatus.Details != nil && status.ErrStatus.Details.Name == name
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
