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

package policy_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// TestWhatIsRefused writes what somebody may not write, and wants to be told what to do.
func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	const (
		holds   = "spec.holder must stay as it is: holder-0 holds the lock until "
		names   = "spec.holder must be the client that writes it, or a waiter from spec.waiters with the same lockID and identity: set Config.Identity, or the environment variable POD_NAME, to "
		given   = "spec.holder must have a duration of at most 5s, and the client that its lockID begins with"
		keeps   = "spec.holder must keep identity, client and acquireTime"
		states  = "spec.value must be changed by the holder of the lock only"
		tokens  = "spec.holder.token must be the resourceVersion that the write is conditioned on, plus one"
		counts  = "spec.transitions must grow by one when a hold begins"
		tells   = "spec.lastRelease must tell of the hold that this write ends"
		queues  = "spec.waiters must change by the requester's own entries only, at its end, with the identity "
		labels  = `metadata.labels["kubelock.dev/holder"] must be spec.holder.client`
		managed = "metadata.managedFields must not be emptied"
		kept    = "metadata.finalizers and metadata.ownerReferences must stay as they are while another client holds the lock"
		sources = "spec.holder.renewTimeSource must be Server"
		crowds  = "spec.waiters must have at most 32 entries of one identity, and has as many of thief-0"
		named   = "spec.key must be absent unless the key is no valid name of an object"
		large   = "metadata must have at most 64 labels, annotations, finalizers and owner references altogether"
		long    = "metadata.ownerReferences must not have a kind of more than 63 characters"
	)
	for i, tc := range []struct {
		what    string
		who     string
		lock    int
		changes []change
		want    string
	}{
		// Somebody else's hold.
		{"frees a held lock", "thief", live, []change{end(v1alpha1.ReasonReleased)}, holds},
		{"says that a live hold has expired", "thief", live, []change{end(v1alpha1.ReasonExpired)}, holds},
		{"takes a live lock over", "thief", live, []change{end(v1alpha1.ReasonExpired), begin("thief-0", "thief-2", time.Minute)}, holds},
		{"says that it is next year", "thief", live, []change{end(v1alpha1.ReasonExpired), func(obj *v1alpha1.DistributedLock) {
			obj.Spec.LastRelease.Time = metav1.NewMicroTime(time.Now().AddDate(1, 0, 0))
		}}, holds},
		{"has the server say that it is next year", "thief", live, []change{end(v1alpha1.ReasonExpired), forge("kubelock")}, holds},
		{"has it say so under a name of its own", "thief", live, []change{end(v1alpha1.ReasonExpired), forge("policy.test")}, holds},
		{"has it say so under too many names", "thief", live, []change{end(v1alpha1.ReasonExpired), forge(many()...)}, holds},
		{"has it say so of a part of the field", "thief", live, []change{end(v1alpha1.ReasonExpired), forge(many()...), func(obj *v1alpha1.DistributedLock) {
			for i := range obj.ManagedFields {
				obj.ManagedFields[i].FieldsV1.SetRawString(`{"f:spec":{"f:lastRelease":{"f:lockID":{}}}}`)
			}
		}}, holds},
		{"has it say so once", "thief", live, []change{end(v1alpha1.ReasonExpired), forge(many()...), func(obj *v1alpha1.DistributedLock) {
			for i := range obj.ManagedFields[1:] {
				obj.ManagedFields[i].FieldsV1.SetRawString(`{"f:spec":{"f:objectExpiry":{}}}`)
			}
		}}, holds},
		{"has it say nothing", "thief", live, []change{end(v1alpha1.ReasonExpired), func(obj *v1alpha1.DistributedLock) {
			obj.ManagedFields = []metav1.ManagedFieldsEntry{{}}
		}}, holds},
		{"renews another's hold", "thief", live, []change{renew}, holds},
		{"renews the hold of another Pod of its account", "sibling", live, []change{renew}, holds},
		{"renews a Pod's hold with a token of its account", "unbound", live, []change{renew}, holds},
		{"renews the hold of a Pod that has its name", "namesake", live, []change{renew}, holds},
		{"renews a Pod's hold as a user of that name", "user", live, []change{renew}, holds},
		{"shortens another's lease", "thief", live, []change{func(obj *v1alpha1.DistributedLock) { obj.Spec.Holder.Duration.Duration = time.Second }}, holds},
		{"hands another's hold on", "thief", live, []change{end(v1alpha1.ReasonHandedOff), grant}, holds},
		{"expires a live hold", "reaper", live, []change{end(v1alpha1.ReasonExpired)}, holds},
		{"grants a lock that is held", "reaper", live, []change{end(v1alpha1.ReasonExpired), grant}, holds},

		// Whom a hold is written for.
		{"takes a free lock as somebody else", "thief", free, []change{begin("holder-0", "thief-2", time.Minute)}, names + "system:serviceaccount:"},
		{"takes it as a Pod with a token of its account", "unbound", free, []change{begin("holder-0", "holder-2", time.Minute)}, names},
		{"takes it as a user that has a Pod's name", "user", free, []change{begin("holder-0", "holder-2", time.Minute)}, names + "the name of the Pod"},
		{"takes it for another Pod", "thief", free, []change{begin("thief-0", "thief-2", time.Minute), func(obj *v1alpha1.DistributedLock) {
			obj.Spec.Holder.Pod = c.pod
		}}, names},
		{"takes it for a later Pod of its name", "thief", free, []change{begin("thief-0", "thief-2", time.Minute), func(obj *v1alpha1.DistributedLock) {
			obj.Spec.Holder.Pod = &v1alpha1.PodReference{Name: "thief-0", UID: "another"}
		}}, names},
		{"hands on to somebody who does not queue", "holder", live, []change{end(v1alpha1.ReasonHandedOff), begin("sibling-0", "sibling-1", time.Second)}, names},
		{"hands on a waiter's entry to somebody else", "holder", live, []change{end(v1alpha1.ReasonHandedOff), begin("sibling-0", "waiter-1", time.Second)}, names},
		{"grants a free lock to somebody who does not queue", "reaper", free, []change{begin("sibling-0", "sibling-1", time.Second)}, names},
		{"creates a lock for somebody else", "thief", absent, []change{begin("holder-0", "thief-2", time.Minute)}, names},
		{"gives a waiter a lease of an hour", "holder", live, []change{end(v1alpha1.ReasonHandedOff), grant, func(obj *v1alpha1.DistributedLock) {
			obj.Spec.Holder.Duration.Duration = time.Hour
		}}, given},
		{"tells another client than the waiter's", "holder", live, []change{end(v1alpha1.ReasonHandedOff), grant, func(obj *v1alpha1.DistributedLock) {
			obj.Spec.Holder.Client, obj.Labels = "thief", map[string]string{v1alpha1.HolderLabel: "thief"}
		}}, given},
		{"renames itself", "holder", live, []change{renew, func(obj *v1alpha1.DistributedLock) { obj.Spec.Holder.Identity = "waiter-0" }}, keeps},
		{"has held it for longer than it has", "holder", live, []change{renew, func(obj *v1alpha1.DistributedLock) {
			obj.Spec.Holder.AcquireTime = metav1.NewMicroTime(time.Now().AddDate(-1, 0, 0))
		}}, keeps},
		{"turns its renewal back", "holder", live, []change{func(obj *v1alpha1.DistributedLock) {
			obj.Spec.Holder.RenewTime = metav1.NewMicroTime(obj.Spec.Holder.RenewTime.Add(-time.Second))
		}}, keeps},
		{"stamps by a node's clock", "holder", live, []change{renew, func(obj *v1alpha1.DistributedLock) {
			obj.Spec.Holder.RenewTimeSource = v1alpha1.TimeSourceNode
		}}, sources},

		// State.
		{"saves without the lock", "thief", live, []change{save}, states},
		{"saves to a free lock", "thief", free, []change{save}, states},
		{"saves as it takes", "thief", free, []change{begin("thief-0", "thief-2", time.Minute), save}, states},
		{"removes the state", "thief", free, []change{func(obj *v1alpha1.DistributedLock) { obj.Spec.Value = nil }}, states},
		{"saves as it ends a dead hold", "reaper", dead, []change{end(v1alpha1.ReasonExpired), save}, states},
		{"creates a lock with state", "thief", absent, []change{save}, states},

		// Tokens and counts.
		{"uses up all tokens", "thief", free, []change{begin("thief-0", "thief-2", time.Minute), func(obj *v1alpha1.DistributedLock) { obj.Spec.Holder.Token += 1 << 40 }}, tokens},
		{"takes an old token", "thief", free, []change{begin("thief-0", "thief-2", time.Minute), func(obj *v1alpha1.DistributedLock) { obj.Spec.Holder.Token-- }}, tokens},
		{"takes none", "thief", dead, []change{end(v1alpha1.ReasonExpired), begin("thief-0", "thief-2", time.Minute), func(obj *v1alpha1.DistributedLock) {
			obj.Spec.LastRelease.Token, obj.Spec.Holder.Token = 5, 1<<40
		}}, tokens},
		{"creates a lock with a token", "thief", absent, []change{begin("thief-0", "thief-2", time.Minute), func(obj *v1alpha1.DistributedLock) { obj.Spec.Holder.Token = 1 << 40 }}, tokens},
		{"counts further than it is", "thief", free, []change{func(obj *v1alpha1.DistributedLock) { obj.Spec.Transitions = 1 << 60 }}, counts},
		{"does not count a hold", "thief", free, []change{begin("thief-0", "thief-2", time.Minute), func(obj *v1alpha1.DistributedLock) { obj.Spec.Transitions-- }}, counts},

		// How the last hold ended.
		{"rewrites how the last hold ended", "thief", free, []change{func(obj *v1alpha1.DistributedLock) { obj.Spec.LastRelease.Reason = v1alpha1.ReasonExpired }}, tells},
		{"forgets how the last hold ended", "thief", free, []change{func(obj *v1alpha1.DistributedLock) { obj.Spec.LastRelease = nil }}, tells},
		{"says that a dead holder released", "thief", dead, []change{end(v1alpha1.ReasonReleased)}, tells},
		{"says that it forced it", "holder", live, []change{end(v1alpha1.ReasonForced)}, tells},
		{"says that another hold ended", "holder", live, []change{end(v1alpha1.ReasonReleased), func(obj *v1alpha1.DistributedLock) { obj.Spec.LastRelease.LockID = "other-1" }}, tells},
		{"creates a lock that another held before", "thief", absent, []change{func(obj *v1alpha1.DistributedLock) {
			obj.Spec.Transitions = 1 // One write may begin a hold and end it, of the requester.
			obj.Spec.LastRelease = &v1alpha1.LastRelease{LockID: "a-1", Identity: "a", Time: metav1.NowMicro(), Reason: v1alpha1.ReasonReleased}
		}}, tells},

		// The queue.
		{"queues as somebody else", "thief", live, []change{queue(waitersEntry, thiefsEntry, "thief-2 30s waiter-0")}, queues},
		{"queues at the head", "thief", live, []change{queue("thief-2 30s thief-0", waitersEntry, thiefsEntry)}, queues},
		{"moves to the head", "thief", live, []change{queue(thiefsEntry, waitersEntry)}, queues},
		{"takes another out of the queue", "thief", live, []change{queue(thiefsEntry)}, queues},
		{"empties the queue of a free lock", "thief", free, []change{queue()}, queues},
		{"takes another's place", "thief", live, []change{queue("thief-2 30s thief-0", thiefsEntry)}, queues},
		{"leaves the queue for another", "sibling", live, []change{queue(waitersEntry)}, queues},
		{"queues with a client that no label can be", "thief", live, []change{queue(waitersEntry, thiefsEntry, "$-1 30s thief-0")}, queues},
		{"queues with a lock ID that no hold can have", "thief", live, []change{queue(waitersEntry, thiefsEntry, strings.Repeat("x", 63)+"-1 30s thief-0")}, queues},
		{"queues for no time", "thief", live, []change{queue(waitersEntry, thiefsEntry, "thief-2 0s thief-0")}, queues},
		{"queues more often than one may", "thief", full, []change{queueAgain}, crowds},
		{"queues more often than one may as it takes the lock", "thief", full, []change{func(obj *v1alpha1.DistributedLock) {
			end(v1alpha1.ReasonExpired)(obj)
			queueAgain(obj)
			begin("thief-0", "thief-2", time.Minute)(obj)
		}}, crowds},
		{"takes those behind it out as it takes the lock", "thief", free, []change{begin("thief-0", "thief-2", time.Minute), queue(waitersEntry)}, queues},

		// What holds need to be seen and to be judged.
		{"hides a hold from its client", "thief", live, []change{func(obj *v1alpha1.DistributedLock) { obj.Labels = nil }}, labels},
		{"shows a lock to a client that does not hold it", "thief", free, []change{func(obj *v1alpha1.DistributedLock) {
			obj.Labels = map[string]string{v1alpha1.HolderLabel: "holder"}
		}}, labels},

		// What deletes an object without a deletion.
		{"keeps another's lock from being deleted", "thief", live, []change{func(obj *v1alpha1.DistributedLock) {
			obj.Finalizers = []string{"example.com/mine"}
		}}, kept},
		{"has another's lock collected with an owner", "thief", live, []change{func(obj *v1alpha1.DistributedLock) {
			obj.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "mine", UID: "1"}}
		}}, kept},
		{"has a free lock collected with an owner of a megabyte", "thief", free, []change{func(obj *v1alpha1.DistributedLock) {
			obj.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: strings.Repeat("x", 1<<20), UID: "1"}}
		}}, long},
		{"adds finalizers to a free lock until it is too large", "thief", free, []change{func(obj *v1alpha1.DistributedLock) {
			for i := range 65 {
				obj.Finalizers = append(obj.Finalizers, fmt.Sprintf("example.com/%d", i))
			}
		}}, large},
		{"adds labels to a held lock until it is too large", "thief", live, []change{addLabels(64)}, large},
		{"creates a large lock", "thief", absent, []change{addLabels(65)}, large},

		// Whose object it is.
		{"squats a key that is a name", "thief", absent, []change{func(obj *v1alpha1.DistributedLock) { obj.Spec.Key = "a/b" }}, named},
		{"squats the name of another key's object", "thief", absent, []change{func(obj *v1alpha1.DistributedLock) {
			obj.Name, obj.Spec.Key = protocol.ObjectName("a/b"), "orders"
		}}, named},
		{"stops the clock", "thief", free, []change{func(obj *v1alpha1.DistributedLock) { obj.ManagedFields = []metav1.ManagedFieldsEntry{{}} }}, managed},
	} {
		t.Run(tc.who+" "+tc.what, func(t *testing.T) {
			t.Parallel()
			name := "lock-" + strconv.Itoa(i)
			obj := c.state(t, name, tc.lock)
			for _, change := range tc.changes {
				change(obj)
			}
			var err error
			if tc.lock == absent {
				err = c.who[tc.who].Create(within(t), obj)
			} else {
				err = c.who[tc.who].Update(within(t), obj)
			}
			refused(t, err, tc.want)
			// The API server changes nothing of what it was given; the same write is for somebody
			// who may do anything.
			if err := c.forced(t, tc.lock == absent, obj); err != nil {
				t.Errorf("somebody who may force it: %v", err)
			}
		})
	}
}

// forced writes as an administrator, as a dry run.
func (c *cast) forced(t *testing.T, creates bool, obj *v1alpha1.DistributedLock) error {
	t.Helper()
	if creates {
		return c.who["admin"].Create(within(t), obj, client.DryRunAll)
	}
	return c.who["admin"].Update(within(t), obj, client.DryRunAll)
}

// refused checks that err is a policy's, says what is wrong, and what to do.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'kubelock-") {
		t.Errorf("the API server answers %v, want that it refuses it with %q", err, want)
	}
}

// TestWhatIsNotRefused makes the changes of the test above as far as somebody may make
// them, so that it is known that those are refused for what is wrong with them.
func TestWhatIsNotRefused(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	for i, tc := range []struct {
		what    string
		who     string
		lock    int
		changes []change
	}{
		{"releases", "holder", live, []change{end(v1alpha1.ReasonReleased)}},
		{"releases with state", "holder", live, []change{end(v1alpha1.ReasonReleased), save}},
		{"hands on", "holder", live, []change{end(v1alpha1.ReasonHandedOff), grant, save}},
		{"hands on to its next caller", "holder", live, []change{end(v1alpha1.ReasonHandedOff), begin("holder-0", "holder-2", time.Minute)}},
		{"hands on and queues again", "holder", live, []change{end(v1alpha1.ReasonHandedOff), grant, queue(thiefsEntry, "holder-2 30s holder-0")}},
		{"renews", "holder", live, []change{renew}},
		{"saves", "holder", live, []change{renew, save}},
		{"renews what nobody else has taken", "holder", dead, []change{renew}},
		{"ends a dead hold", "reaper", dead, []change{end(v1alpha1.ReasonExpired)}},
		{"ends a dead hold and grants", "reaper", dead, []change{end(v1alpha1.ReasonExpired), grant}},
		{"grants", "reaper", free, []change{grant}},
		{"ends a dead hold and grants", "thief", dead, []change{end(v1alpha1.ReasonExpired), grant}},
		{"takes over", "thief", dead, []change{end(v1alpha1.ReasonExpired), begin("thief-0", "thief-2", time.Minute), queue()}},
		{"takes", "thief", free, []change{begin("thief-0", "thief-2", time.Minute), queue()}},
		{"takes for its account", "thief", free, []change{begin(testenv.AccountUser(c.ns, "thieves"), "thief-2", time.Minute)}},
		{"takes for its account", "unbound", free, []change{begin(testenv.AccountUser(c.ns, "owners"), "holder-2", time.Minute)}},
		{"creates", "thief", absent, []change{begin("thief-0", "thief-2", time.Minute)}},
		{"creates a free lock", "thief", absent, nil},
		{"queues", "thief", live, []change{queue(waitersEntry, thiefsEntry, "thief-2 30s thief-0")}},
		{"queues again beside many", "waiter", full, []change{func(obj *v1alpha1.DistributedLock) {
			obj.Spec.Waiters = append(obj.Spec.Waiters, "waiter-2 30s waiter-0")
		}}},
		{"leaves a place where it has many", "thief", full, []change{func(obj *v1alpha1.DistributedLock) { obj.Spec.Waiters = obj.Spec.Waiters[1:] }}},
		{"renews beside many", "holder", full, []change{renew}},
		{"leaves the queue", "waiter", live, []change{queue(thiefsEntry)}},
		{"leaves the queue", "thief", free, []change{queue(waitersEntry)}},
		{"gives it another lifetime", "thief", live, []change{func(obj *v1alpha1.DistributedLock) { obj.Spec.ObjectExpiry = &v1alpha1.Duration{Duration: time.Hour} }}},
		{"has its own lock kept", "holder", live, []change{func(obj *v1alpha1.DistributedLock) { obj.Finalizers = []string{"example.com/mine"} }}},
		{"has a free lock kept", "thief", free, []change{func(obj *v1alpha1.DistributedLock) { obj.Finalizers = []string{"example.com/mine"} }}},
		{"creates the object of a key that is no name", "thief", absent, []change{func(obj *v1alpha1.DistributedLock) {
			obj.Name, obj.Spec.Key = protocol.ObjectName("Orders/2026"), "Orders/2026"
		}}},
		{"creates the object of a key without letters", "thief", absent, []change{func(obj *v1alpha1.DistributedLock) {
			obj.Name, obj.Spec.Key = protocol.ObjectName("/"), "/"
		}}},
		{"creates the object of a key that looks like a hash", "thief", absent, []change{func(obj *v1alpha1.DistributedLock) { obj.Name = "a-0123456789abcdef" }}},
		{"labels it often", "thief", live, []change{addLabels(63)}},
		{"labels it", "thief", live, []change{func(obj *v1alpha1.DistributedLock) { obj.Labels["team"] = "reports" }}},
	} {
		t.Run(tc.who+" "+tc.what, func(t *testing.T) {
			t.Parallel()
			name := "lock-" + strconv.Itoa(i)
			obj := c.state(t, name, tc.lock)
			for _, change := range tc.changes {
				change(obj)
			}
			var err error
			if tc.lock == absent {
				err = c.who[tc.who].Create(within(t), obj)
			} else {
				err = c.who[tc.who].Update(within(t), obj)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLeaseEndsWhenTheServerSaysSo checks that it is the server's time which tells, to
// three seconds, whatever the writer says.
func TestLeaseEndsWhenTheServerSaysSo(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	for _, tc := range []struct {
		left    time.Duration // of the lease
		refused bool
	}{{8 * time.Second, true}, {0, false}} {
		obj := c.lock(t, "left-"+tc.left.String(), time.Now().Add(tc.left-30*time.Second))
		end(v1alpha1.ReasonExpired)(obj)
		obj.Spec.LastRelease.Time = metav1.NewMicroTime(time.Now().AddDate(1, 0, 0))
		err := c.who["thief"].Update(within(t), obj)
		if tc.refused {
			refused(t, err, "spec.holder must stay as it is: holder-0 holds the lock until ")
		} else if err != nil {
			t.Errorf("with %v left of the lease: %v", tc.left, err)
		}
	}
}

// TestApplyIsNoWayAround writes by the other kinds of requests.
func TestApplyIsNoWayAround(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	obj := c.lock(t, "orders", time.Now())
	thief := c.who["thief"]
	for what, patch := range map[string]client.Patch{
		"a JSON patch":  client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/spec/holder"}]`)),
		"a merge patch": client.RawPatch(types.MergePatchType, []byte(`{"spec":{"holder":null}}`)),
	} {
		if err := thief.Patch(within(t), obj.DeepCopy(), patch); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	apply := client.RawPatch(types.ApplyPatchType, []byte(`{"apiVersion":"kubelock.dev/v1alpha1","kind":"DistributedLock","metadata":{"name":"orders"},"spec":{"value":"2"}}`))
	if err := thief.Patch(within(t), obj.DeepCopy(), apply, client.FieldOwner("thief"), client.ForceOwnership); !apierrors.IsForbidden(err) {
		t.Errorf("an apply: %v", err)
	}
	expiry := client.RawPatch(types.ApplyPatchType, []byte(`{"apiVersion":"kubelock.dev/v1alpha1","kind":"DistributedLock","metadata":{"name":"orders"},"spec":{"objectExpiry":"5m"}}`))
	if err := thief.Patch(within(t), obj.DeepCopy(), expiry, client.FieldOwner("thief")); err != nil {
		t.Errorf("an apply of objectExpiry: %v", err)
	}
}

// TestDeletions checks who may delete what.
func TestDeletions(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	const mustBeFree = "the lock must be free, or held by the client that deletes it: holder-0 holds it"
	for i, tc := range []struct {
		who     string
		renewed time.Time
		refused bool
	}{
		{"thief", time.Now(), true},
		{"sibling", time.Now(), true},
		{"unbound", time.Now(), true},
		{"reaper", time.Now(), true},
		{"reaper", time.Now().Add(-time.Hour), true}, // It frees it first.
		{"holder", time.Now(), false},
		{"thief", time.Time{}, false},
		{"reaper", time.Time{}, false},
		{"admin", time.Now(), false},
	} {
		obj := c.lock(t, "lock-"+strconv.Itoa(i), tc.renewed)
		err := c.who[tc.who].Delete(within(t), obj)
		switch {
		case tc.refused:
			refused(t, err, mustBeFree)
		case err != nil:
			t.Errorf("%s: %v", tc.who, err)
		}
	}
}

// TestTokenAfterACreation checks a hold whose token is not in the object yet, so that the
// schema cannot compare with it: the next one's is greater than what its holder tells.
func TestTokenAfterACreation(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	obj := &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: c.ns, Name: "orders"}}
	begin("holder-0", "holder-1", time.Minute)(obj)
	if err := c.who["holder"].Create(within(t), obj); err != nil {
		t.Fatal(err)
	}
	created, err := strconv.ParseInt(obj.ResourceVersion, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	end(v1alpha1.ReasonHandedOff)(obj)
	begin("holder-0", "holder-2", time.Minute)(obj)
	obj.Spec.LastRelease.Token = created
	obj.Spec.Holder.Token = created
	refused(t, c.who["holder"].Update(within(t), obj), "spec.holder.token must be greater than that of the hold which ends")
	obj.Spec.Holder.Token = created + 1
	if err := c.who["holder"].Update(within(t), obj); err != nil {
		t.Error(err)
	}
}
