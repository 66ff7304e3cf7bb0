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

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"regexp"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// holder is the identity to show.
func (o *options) holder() string {
	if o.identity != "" {
		return o.identity
	}
	if pod := os.Getenv("POD_NAME"); pod != "" {
		return pod
	}
	host, err := os.Hostname()
	if err != nil {
		return "" // The library says what is wrong.
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username + "@" + host
	}
	return host
}

// chosen reports whether the user has said who the holder is.
func (o *options) chosen() bool { return o.identity != "" || os.Getenv("POD_NAME") != "" }

// admitted calls do with a client, which it returns for the caller to close. Where kubelock's
// admission policies refuse an identity that the user has not chosen, do is called again, with a
// client that has the identity which they take. A cluster without the policies gets no request for
// that.
func (o *options) admitted(ctx context.Context, do func(c *kubelock.Client) error) (*kubelock.Client, error) {
	c, err := o.clientAs(o.holder())
	if err != nil {
		return nil, err
	}
	err = do(c)
	if err == nil || o.chosen() || !refusedByPolicy(err) || errors.Is(err, kubelock.ErrUnknownOutcome) {
		return c, err
	}
	identity, unknown := o.whoAmI(ctx)
	if unknown != nil {
		return c, fmt.Errorf("%w; which identity is taken cannot be told: %w", err, unknown)
	}
	o.closed(c)
	if c, err = o.clientAs(identity); err != nil {
		return nil, err
	}
	return c, do(c)
}

// refusedByPolicy reports whether kubelock's policy for writes has refused one.
func refusedByPolicy(err error) bool {
	return forbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'kubelock-writes'")
}

const (
	accountPrefix = "system:serviceaccount:"
	// podNameExtra is where the API server puts the name of the Pod that a token is bound to.
	podNameExtra = "authentication.kubernetes.io/pod-name"
)

// podLike matches the names that a Pod could have, as the policies do.
var podLike = regexp.MustCompile(`^[a-z0-9.-]*$`)

// whoAmI asks the API server for the identity that the policies take from this user: the name of
// the Pod that the token is bound to, if that is in the lock's namespace, and otherwise the
// user's name.
func (o *options) whoAmI(ctx context.Context) (string, error) {
	ns, err := o.namespace()
	if err != nil {
		return "", err
	}
	config, err := o.config()
	if err != nil {
		return "", err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	review, err := clients.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("the API server does not say who you are: use --identity: %w", err)
	}
	return admittedIdentity(review.Status.UserInfo, ns)
}

// admittedIdentity is the identity that the policies take from a user for locks of a namespace.
func admittedIdentity(who authenticationv1.UserInfo, ns string) (string, error) {
	if pod := who.Extra[podNameExtra]; len(pod) > 0 && strings.HasPrefix(who.Username, accountPrefix+ns+":") {
		return pod[0], nil
	}
	if podLike.MatchString(who.Username) {
		return "", fmt.Errorf("the user name %q could be that of a Pod, so the admission policies do not take it as an identity: "+
			"use a user whose name has another character, such as %[1]s@example.com, or the token of a service account, "+
			"or let the ClusterRole kubelock-force be bound to you", who.Username)
	}
	return who.Username, nil
}
