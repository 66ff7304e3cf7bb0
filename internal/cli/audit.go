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
	"fmt"
	"os"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

const (
	reasonBroken = "LockBroken"
	actionBreak  = "BreakLock"

	// What an Event takes.
	maxNote     = 1024
	maxInstance = 128
)

// audit is an Event about a hold that is broken. That it can be written is known before
// anything is changed.
type audit struct {
	*lock
	client kubernetes.Interface
	event  *eventsv1.Event
	text   string
}

// audit prepares the Event. Its error says that none can be written.
func (l *lock) audit(ctx context.Context, reason string, shown protocol.Record) (*audit, error) {
	c, err := kubernetes.NewForConfigAndClient(l.config, l.http)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	self, err := c.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return nil, because(ctx, fmt.Errorf("nothing was changed: the API server does not say who you are, which the Event about it has to tell: %w", err))
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("nothing was changed: the host has no name: %w", err)
	}
	h, now := shown.Holder, metav1.NewMicroTime(l.now())
	suffix := fmt.Sprintf(".%x", now.UnixNano())
	name := strings.TrimRight(shown.Name[:min(len(shown.Name), validation.DNS1123SubdomainMaxLength-len(suffix))], "-.")
	a := &audit{
		lock: l, client: c,
		text: fmt.Sprintf("%s (broken by %s; %s held it with the token %s and the lock ID %s; ", reason, self.Status.UserInfo.Username, h.Identity, viewOf(l.kind, shown).Token(), h.LockID),
		event: &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: name + suffix},
			EventTime:  now, Type: corev1.EventTypeWarning, Reason: reasonBroken, Action: actionBreak,
			ReportingController: fieldManager, ReportingInstance: host[:min(len(host), maxInstance)],
			Regarding: corev1.ObjectReference{
				APIVersion: l.kind.Resource().GroupVersion().String(), Kind: strings.TrimSuffix(kindName(l.kind), "s"),
				Namespace: l.namespace, Name: shown.Name, UID: types.UID(shown.UID), ResourceVersion: shown.ResourceVersion,
			},
		},
	}
	if err := a.create(ctx, "it is about to end", metav1.DryRunAll); err != nil {
		return nil, because(ctx, fmt.Errorf("nothing was changed, because no Event could tell of it: %w", a.explain(err)))
	}
	return a, nil
}

// write creates the Event, when all that is known of the lock is what now says.
func (a *audit) write(ctx context.Context, now string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	err := a.create(ctx, now)
	if err == nil || apierrors.IsAlreadyExists(err) { // Transports may send a request twice.
		return nil
	}
	return fmt.Errorf("there may be no Event that tells of this break: %w", a.explain(err))
}

func (a *audit) create(ctx context.Context, now string, dryRun ...string) error {
	event := a.event.DeepCopy()
	event.Note = a.text + now + ")"
	if len(event.Note) > maxNote {
		const cut = "...)"
		event.Note = strings.ToValidUTF8(event.Note[:maxNote-len(cut)], "") + cut
	}
	_, err := a.client.EventsV1().Events(a.namespace).Create(ctx, event, metav1.CreateOptions{DryRun: dryRun, FieldManager: fieldManager})
	return err
}

// explain adds what a person can do.
func (a *audit) explain(err error) error {
	if store.DeniedVerb(err) != "" {
		return fmt.Errorf("no permission to create events in namespace %q: bind the ClusterRole kubelock-force, which config/policy ships, to yourself: %w", a.namespace, err)
	}
	return err
}
