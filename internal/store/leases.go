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
	"math"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
)

// Leases are used as Kubernetes' own components use them, so that kubelock and
// client-go's leader election exclude each other on one Lease: whoever observes a
// holder leaves it alone while it is renewed within leaseDurationSeconds. The rest of a
// lock is in annotations, of which the API server takes 256 KiB.
var Leases Kind = &kind[*coordinationv1.Lease, *coordinationv1.LeaseList]{
	codec:       leaseCodec{},
	resource:    coordinationv1.SchemeGroupVersion.WithResource("leases"),
	role:        "kubelock-leases-user",
	selector:    v1alpha1.LockLabel + "=" + marked,
	limit:       Limit{Bytes: 200 << 10},
	apiPath:     "/apis",
	contentType: runtime.ContentTypeProtobuf,
	addToScheme: func(s *runtime.Scheme) error {
		return addTypes(s, coordinationv1.SchemeGroupVersion, &coordinationv1.Lease{}, &coordinationv1.LeaseList{})
	},
	newObject: func() *coordinationv1.Lease { return &coordinationv1.Lease{} },
	newList:   func() *coordinationv1.LeaseList { return &coordinationv1.LeaseList{} },
}

// unknownLease is how long the holder of a Lease without a leaseDurationSeconds is
// given: as long as Kubernetes' own components give each other.
const unknownLease = 15 * time.Second

// electorsAnnotation marks a Lease that leader electors have used, also while kubelock's own
// clients have it in turns. People may set it before the first elector comes.
const electorsAnnotation = annotationPrefix + "electors"

const (
	leaseHolderPath      = "/spec/holderIdentity"
	leaseDurationPath    = "/spec/leaseDurationSeconds"
	leaseAcquirePath     = "/spec/acquireTime"
	leaseRenewPath       = "/spec/renewTime"
	leaseTransitionsPath = "/spec/leaseTransitions"
)

type leaseCodec struct{}

// leaseHolder is the holderIdentity of a hold: unique, so that no elector takes it for
// its own, and readable.
func leaseHolder(h *protocol.Holder) string { return h.Identity + "_" + h.LockID }

// leaseSeconds rounds up, so that no reader of the Lease takes it over early. d is positive, and
// may be the longest that there is.
func leaseSeconds(d time.Duration) int32 {
	return int32(min((d-1)/time.Second+1, math.MaxInt32)) //nolint:gosec // It is bounded.
}

func (leaseCodec) decode(obj *coordinationv1.Lease) (protocol.Record, error) {
	r, err := annotated(&obj.ObjectMeta)
	if err != nil {
		return protocol.Record{}, err
	}
	spec := &obj.Spec
	if value, ok := obj.Annotations[valueAnnotation]; ok {
		r.Value = &value
	}
	if spec.LeaseTransitions != nil {
		r.Transitions = max(int64(*spec.LeaseTransitions), 0)
	}
	r.Stored = obj
	_, r.Shared = obj.Annotations[electorsAnnotation]

	noted, token := r.Holder, r.ForeignToken()
	switch {
	case spec.HolderIdentity == nil || *spec.HolderIdentity == "":
		r.Holder = nil
		if spec.RenewTime != nil { // An elector's release; kubelock's leaves no time.
			r.Shared = true
			r.LastRelease = &protocol.LastRelease{Token: token, Time: spec.RenewTime.Time, Source: protocol.Node, Reason: protocol.Released}
		}
	case noted != nil && leaseHolder(noted) == *spec.HolderIdentity && spec.RenewTime != nil && spec.RenewTime.Time.Equal(noted.RenewTime) &&
		spec.LeaseDurationSeconds != nil && *spec.LeaseDurationSeconds == leaseSeconds(noted.Duration):
	default:
		r.Holder, r.Shared = foreignHolder(spec, token), true
	}
	r.Shared = r.Shared || spec.Strategy != nil || spec.PreferredHolder != nil // Coordinated election.
	return r, nil
}

// foreignHolder is a holder that is no kubelock client. Its times are a node's.
func foreignHolder(spec *coordinationv1.LeaseSpec, token int64) *protocol.Holder {
	h := &protocol.Holder{Identity: *spec.HolderIdentity, LockID: *spec.HolderIdentity, Token: token, Source: protocol.Node, Duration: unknownLease}
	if spec.AcquireTime != nil {
		h.AcquireTime = spec.AcquireTime.Time
	}
	if spec.RenewTime != nil {
		h.RenewTime = spec.RenewTime.Time
	}
	if s := spec.LeaseDurationSeconds; s != nil && *s > 0 {
		h.Duration = min(time.Duration(*s)*time.Second, protocol.MaxDuration)
	}
	return h
}

func (leaseCodec) encode(stored *coordinationv1.Lease, r protocol.Record) *coordinationv1.Lease {
	obj := &coordinationv1.Lease{ObjectMeta: stored.ObjectMeta, Spec: stored.Spec} // With the fields of coordinated election.
	obj.Labels = withMark(withHolder(stored.Labels, r.Holder))
	obj.Annotations = annotate(stored.Annotations, r)
	if r.Shared {
		obj.Annotations[electorsAnnotation] = marked
	}
	delete(obj.Annotations, valueAnnotation)
	if r.Value != nil {
		obj.Annotations[valueAnnotation] = *r.Value
	}
	spec := &obj.Spec
	spec.LeaseTransitions = new(int32(r.Transitions & math.MaxInt32)) // After so many it begins again; all that matters is that it changes.
	spec.HolderIdentity, spec.LeaseDurationSeconds, spec.AcquireTime, spec.RenewTime = nil, nil, nil, nil
	if h := r.Holder; h != nil {
		spec.HolderIdentity = new(leaseHolder(h))
		spec.LeaseDurationSeconds = new(leaseSeconds(h.Duration))
		spec.AcquireTime = new(metav1.NewMicroTime(h.AcquireTime))
		spec.RenewTime = new(metav1.NewMicroTime(h.RenewTime))
	}
	return obj
}

func (c leaseCodec) amend(p *patch, stored *coordinationv1.Lease, _, to protocol.Record) {
	was := &stored.Spec
	p.test(leaseHolderPath, was.HolderIdentity)
	p.test(leaseRenewPath, was.RenewTime)
	testQueue(p, stored.Annotations, to.Waiters)
	obj := c.encode(stored, to)
	p.change(labelsPath, stored.Labels, obj.Labels)
	p.change(annotationsPath, stored.Annotations, obj.Annotations)
	is := &obj.Spec
	p.set(leaseHolderPath, was.HolderIdentity != nil, is.HolderIdentity != nil, is.HolderIdentity)
	p.set(leaseDurationPath, was.LeaseDurationSeconds != nil, is.LeaseDurationSeconds != nil, is.LeaseDurationSeconds)
	p.set(leaseAcquirePath, was.AcquireTime != nil, is.AcquireTime != nil, is.AcquireTime)
	p.set(leaseRenewPath, was.RenewTime != nil, is.RenewTime != nil, is.RenewTime)
	p.set(leaseTransitionsPath, was.LeaseTransitions != nil, is.LeaseTransitions != nil, is.LeaseTransitions)
}

func (leaseCodec) enqueue(p *patch, stored *coordinationv1.Lease, text string) {
	annotatedEnqueue(p, &stored.ObjectMeta, text)
}

func (leaseCodec) dequeue(p *patch, stored *coordinationv1.Lease, place int) {
	annotatedDequeue(p, &stored.ObjectMeta, place)
}

// ends is nothing: what belongs to a hold is in annotations.
func (leaseCodec) ends(*coordinationv1.Lease, protocol.Record) ending { return nil }

func (leaseCodec) remains(*coordinationv1.Lease) (*coordinationv1.Lease, bool) { return nil, false }
