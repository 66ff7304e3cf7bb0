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

package kubelock_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// Tests of changes whose write was committed without an answer: none of them may be stored twice, whatever counts the
// holds of the lock.

// committedThen has the next patch be committed, others do something, and its answer be lost.
func committedThen(t *testing.T, server *kubelocktest.Server, around intercept, others func()) {
	t.Helper()
	if around == nil {
		around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) { return next.RoundTrip(req) }
	}
	server.Intercept(once("patch", func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		server.Intercept(around)
		resp, err := around(req, next)
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		if resp.StatusCode >= http.StatusMultipleChoices {
			t.Errorf("the write was refused: %s", resp.Status)
		}
		others()
		return nil, io.ErrUnexpectedEOF
	}))
}

// applyOnce applies a change, of which no more than one may be in the state.
func applyOnce(t *testing.T, l *kubelock.Lock[string]) {
	t.Helper()
	got, err := l.Apply(t.Context(), func(s string) (string, error) { return s + "x", nil })
	if err != nil && !errors.Is(err, kubelock.ErrUnknownOutcome) {
		t.Errorf("Apply gives %q, %v", got, err)
	}
	s, failure := l.Get(t.Context())
	if failure != nil {
		t.Fatal(failure)
	}
	if n := strings.Count(s.Value, "x"); n != 1 {
		t.Errorf("Apply gives %q, %v, and its change is stored %d times: %q", got, err, n, s.Value)
	}
}

func leasesOf(server *kubelocktest.Server) coordinationv1client.LeaseInterface {
	return kubernetes.NewForConfigOrDie(server.Config()).CoordinationV1().Leases(kubelocktest.Namespace)
}

// electorTakes is what client-go's leader election does with a Lease that is free.
func electorTakes(t *testing.T, leases coordinationv1client.LeaseInterface, name, identity string) {
	t.Helper()
	lease, err := leases.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now := metav1.NowMicro()
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new(identity), new(int32(1))
	lease.Spec.AcquireTime, lease.Spec.RenewTime = &now, &now
	lease.Spec.LeaseTransitions = new(*lease.Spec.LeaseTransitions + 1)
	if _, err := leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestApplyBesideAnElectorNamedLikeARest has an elector take the Lease after a change was stored whose answer is lost, and die; another
// client takes the lock over from it. The elector's name is that of a Pod of a Deployment "rest-api".
func TestApplyBesideAnElectorNamedLikeARest(t *testing.T) {
	t.Parallel()
	for _, identity := range []string{"api-7d4b9-x2x4q", "rest-api-7d4b9-x2x4q"} {
		t.Run(identity, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				newLock := func() *kubelock.Lock[string] {
					return kubelock.NewLock[string](server.NewClient(t, kubelock.Config{Backend: kubelock.Leases}), "k")
				}
				l, other := newLock(), newLock()
				release(t, acquire(t, l))
				committedThen(t, server, nil, func() {
					electorTakes(t, leasesOf(server), "k", identity)
					held := acquire(t, other)
					time.AfterFunc(10*time.Second, func() { release(t, held) })
				})
				applyOnce(t, l)
				<-time.After(time.Minute)
			})
		})
	}
}

// TestApplyWhenTransitionsBeginAgain has the count of a Lease's holders begin again, as it does after 2^31, after a change was stored
// whose answer is lost.
func TestApplyWhenTransitionsBeginAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		newLock := func() *kubelock.Lock[string] {
			return kubelock.NewLock[string](server.NewClient(t, kubelock.Config{Backend: kubelock.Leases}), "k")
		}
		release(t, acquire(t, newLock()))
		leases := leasesOf(server)
		lease, err := leases.Get(t.Context(), "k", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		lease.Spec.LeaseTransitions = new(int32(math.MaxInt32))
		if _, err := leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		other := newLock()
		committedThen(t, server, nil, func() { release(t, acquire(t, other)) })
		applyOnce(t, newLock())
	})
}

// TestApplyWithoutAField has an API server drop a field of each write, as one does whose CustomResourceDefinition is older, or that has a
// webhook. A change was stored whose answer is lost.
func TestApplyWithoutAField(t *testing.T) {
	t.Parallel()
	for field, others := range map[string]bool{"transitions": true, "lastRelease": false} { // Whether another client has had the lock since.
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				drop := func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
					if req.Body == nil || req.Method == http.MethodGet || req.Method == http.MethodDelete {
						return next.RoundTrip(req)
					}
					body, err := io.ReadAll(req.Body)
					if err != nil {
						return nil, err
					}
					body = withoutField(t, body, field)
					req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
					return next.RoundTrip(req)
				}
				newLock := func() *kubelock.Lock[string] {
					return kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k")
				}
				l, other := newLock(), newLock()
				if others { // The schema does not let the count decrease.
					server.Intercept(drop)
				}
				release(t, acquire(t, l))
				committedThen(t, server, drop, func() {
					if others {
						release(t, acquire(t, other))
					}
				})
				applyOnce(t, l)
			})
		})
	}
}

// withoutField is the body of a write without what it says of a field of the spec.
func withoutField(t *testing.T, body []byte, field string) []byte {
	t.Helper()
	var operations []map[string]any
	var object map[string]any
	var what any
	if json.Unmarshal(body, &operations) == nil {
		what = slices.DeleteFunc(operations, func(o map[string]any) bool { return o["path"] == "/spec/"+field })
	} else if json.Unmarshal(body, &object) == nil {
		if spec, ok := object["spec"].(map[string]any); ok {
			delete(spec, field)
		}
		what = object
	}
	text, err := json.Marshal(what)
	if err != nil {
		t.Error(err)
	}
	return text
}
