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

package servertime

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

const (
	// askTimeout is the timeout of a request for the server's time.
	askTimeout = 5 * time.Second
	// askAgain is how long an Asker waits after a refusal before it asks again.
	askAgain = time.Minute
)

// Asker asks the API server for its time. It sends a review of its own user's rights: every user may do so,
// nothing is stored, and the server stamps its time into the review as into every object. An Asker is safe
// for concurrent use.
type Asker struct {
	clock   *Clock
	now     func() time.Time
	reviews authorizationclient.SelfSubjectAccessReviewInterface

	// asking has one element while a request is under way. It protects the fields below.
	asking  chan struct{}
	refused time.Time // when a request was last refused
	told    time.Time // when the last successful request was sent
}

var errStampless = errors.New("the API server has not stamped its time into what it answers")

// NewAsker returns an Asker that sends its requests through client, and passes the times to clock.
func NewAsker(config *rest.Config, client *http.Client, clock *Clock, now func() time.Time) (*Asker, error) {
	reviews, err := authorizationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("asking for the API server's time: %w", err)
	}
	return &Asker{clock: clock, now: now, reviews: reviews.SelfSubjectAccessReviews(), asking: make(chan struct{}, 1)}, nil
}

// Ask asks for the time and passes it to the clock. It returns an error if the answer has no time. Then it
// sends no request for a minute, and returns an error at once.
func (a *Asker) Ask(ctx context.Context) error {
	began := a.now()
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if a.told.After(began) { // Another caller's request has got the time meanwhile.
		return nil
	}
	if !a.refused.IsZero() && a.now().Sub(a.refused) < askAgain {
		return errStampless
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	sent := a.now()
	review, err := a.reviews.Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/version", Verb: "get"},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		if ctx.Err() == nil {
			a.refused = a.now()
		}
		return fmt.Errorf("asking for the API server's time: %w", err)
	}
	received := a.now()
	stamp, ok := StampOf(review.ManagedFields, "")
	if !ok {
		a.refused = received
		return errStampless
	}
	a.clock.Told(stamp, sent, received)
	a.told = sent
	return nil
}

// StampOf returns the time that the API server stamped into an object at manager's last change. An empty
// manager means any. Changes by server-side apply do not count.
func StampOf(fields []metav1.ManagedFieldsEntry, manager string) (stamp time.Time, ok bool) {
	for i := range fields {
		f := &fields[i]
		if f.Operation == metav1.ManagedFieldsOperationUpdate && f.Subresource == "" && f.Time != nil &&
			(manager == "" || f.Manager == manager) && f.Time.After(stamp) {
			stamp, ok = f.Time.Time, true
		}
	}
	return stamp, ok
}
