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

package v1alpha1_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The parts of heldLock's spec that tell holds apart.
var (
	free       = changes{"spec.holder": absent}
	freeAfterB = changes{
		"spec.holder": absent, "spec.lastRelease.lockID": "hold-b", "spec.lastRelease.token": int64(20),
	}
)

// with returns c with one more change.
func with(c changes, field string, value any) changes {
	all := changes{field: value}
	for f, v := range c {
		if f != field {
			all[f] = v
		}
	}
	return all
}

// next is the hold after heldLock's, with that token.
func next(token any) changes {
	return changes{"spec.holder.lockID": "hold-c", "spec.holder.token": token}
}

// transitions are the rules for an update, from heldLock with some changes to
// heldLock with others. words is empty where the update is accepted.
var transitions = []struct {
	rule     string
	from, to changes
	field    string
	words    string
}{
	{rule: "key stays the same", from: changes{}, to: changes{}},
	{rule: "key stays absent", from: changes{"spec.key": absent}, to: changes{"spec.key": absent}},
	{rule: "key does not change", from: changes{}, to: changes{"spec.key": "orders/2026:us"}, field: "spec.key", words: "must not change"},
	{rule: "key is not removed", from: changes{}, to: changes{"spec.key": absent}, field: "spec.key", words: "must not change"},
	{rule: "key is not added", from: changes{"spec.key": absent}, to: changes{}, field: "spec.key", words: "must not change"},

	{rule: "a renewal keeps the token", from: changes{}, to: changes{"spec.holder.renewTime": "2026-01-02T03:05:15.000006Z"}},
	{rule: "the first renewal of a hold that created the object adds the token", from: changes{"spec.holder.token": absent, "spec.lastRelease": absent}, to: changes{"spec.lastRelease": absent}},
	{rule: "a renewal does not raise the token", from: changes{}, to: changes{"spec.holder.token": int64(21)}, field: "spec.holder", words: "must have a token that stays the same during a hold"},
	{rule: "a renewal does not lower the token", from: changes{}, to: changes{"spec.holder.token": int64(19)}, field: "spec.holder", words: "must have a token that stays the same during a hold"},
	{rule: "a renewal does not drop the token", from: changes{}, to: changes{"spec.holder.token": absent}, field: "spec.holder", words: "must have a token that stays the same during a hold"},

	{rule: "the next hold has a greater token", from: changes{}, to: next(int64(21))},
	{rule: "the next hold has not the same token", from: changes{}, to: next(int64(20)), field: "spec.holder", words: "is greater in the next one"},
	{rule: "the next hold has no smaller token", from: changes{}, to: next(int64(19)), field: "spec.holder", words: "is greater in the next one"},
	{rule: "the next hold has a token", from: changes{"spec.lastRelease": absent}, to: with(next(absent), "spec.lastRelease", absent), field: "spec.holder", words: "is greater in the next one"},
	{rule: "the hold after one without a token has any", from: changes{"spec.holder.token": absent, "spec.lastRelease": absent}, to: with(next(int64(1)), "spec.lastRelease", absent)},
	{rule: "the hold after one without a token has a greater one than the last release", from: changes{"spec.holder.token": absent}, to: next(int64(10)), field: "spec.holder", words: "must have a token greater than that of the last hold"},

	{rule: "a hold of a free lock has a greater token than the last", from: free, to: changes{"spec.holder.token": int64(11)}},
	{rule: "a hold of a free lock has not the last token", from: free, to: changes{"spec.holder.token": int64(10)}, field: "spec.holder", words: "must have a token greater than that of the last hold"},
	{rule: "a hold of a free lock has no smaller token than the last", from: free, to: changes{"spec.holder.token": int64(9)}, field: "spec.holder", words: "must have a token greater than that of the last hold"},
	{rule: "a hold of a free lock has a token", from: free, to: changes{"spec.holder.token": absent}, field: "spec.holder", words: "must have a token greater than that of the last hold"},
	{rule: "a hold of a free lock with its own ID again has a greater token", from: freeAfterB, to: with(freeAfterB, "spec.holder", holderB(20)), field: "spec.holder", words: "must have a token greater than that of the last hold"},
	{rule: "a hold after a last one of unknown token has any", from: with(free, "spec.lastRelease.token", absent), to: changes{"spec.holder.token": int64(1)}},
	{rule: "the first hold of a lock made by hand has any token", from: with(free, "spec.lastRelease", absent), to: changes{"spec.holder.token": int64(1), "spec.lastRelease": absent}},

	{rule: "a hold whose queue entry came twice is queued for and renewed", from: changes{"spec.lastRelease.lockID": "hold-b"},
		to: changes{"spec.lastRelease.lockID": "hold-b", "spec.holder.renewTime": "2026-01-02T03:05:15.000006Z", "spec.waiters": []any{"x-1 30s x"}}},
	{rule: "a release notes the token", from: changes{}, to: freeAfterB},
	{rule: "a release notes no greater token", from: changes{}, to: with(freeAfterB, "spec.lastRelease.token", int64(21)), field: "spec.lastRelease", words: "must have the token of the hold that ended"},
	{rule: "a release notes no smaller token", from: changes{}, to: with(freeAfterB, "spec.lastRelease.token", int64(19)), field: "spec.lastRelease", words: "must have the token of the hold that ended"},
	{rule: "a release does not leave out the token", from: changes{}, to: with(freeAfterB, "spec.lastRelease.token", absent), field: "spec.lastRelease", words: "must have the token of the hold that ended"},
	{rule: "a release adds the token of a hold that created the object", from: changes{"spec.holder.token": absent, "spec.lastRelease": absent}, to: freeAfterB},
	{rule: "a release may leave a token unknown", from: changes{"spec.holder.token": absent, "spec.lastRelease": absent}, to: with(freeAfterB, "spec.lastRelease.token", absent)},
	{rule: "a hand-off notes the token and grants a greater one", from: changes{}, to: with(freeAfterB, "spec.holder", holderC(21))},
	{rule: "a hand-off notes the token that it ends", from: changes{}, to: with(with(freeAfterB, "spec.holder", holderC(21)), "spec.lastRelease.token", int64(19)), field: "spec.lastRelease", words: "must have the token of the hold that ended"},
	{rule: "somebody may free a lock by hand", from: changes{}, to: free},

	{rule: "lastRelease keeps its token", from: free, to: with(free, "spec.lastRelease.reason", "Forced")},
	{rule: "lastRelease may have a greater token", from: free, to: with(free, "spec.lastRelease.token", int64(11))},
	{rule: "lastRelease has no smaller token", from: free, to: with(free, "spec.lastRelease.token", int64(9)), field: "spec.lastRelease", words: "must have a token no smaller than before"},

	{rule: "transitions stay", from: changes{}, to: changes{"spec.transitions": int64(41)}},
	{rule: "transitions grow", from: changes{}, to: changes{"spec.transitions": int64(42)}},
	{rule: "transitions begin", from: changes{"spec.transitions": absent}, to: changes{"spec.transitions": int64(1)}},
	{rule: "transitions of 0 are the same as none", from: changes{"spec.transitions": int64(0)}, to: changes{"spec.transitions": absent}},
	{rule: "transitions do not decrease", from: changes{}, to: changes{"spec.transitions": int64(40)}, field: "spec.transitions", words: "must not decrease"},
	{rule: "transitions are not removed", from: changes{}, to: changes{"spec.transitions": absent}, field: "spec.transitions", words: "must not decrease"},

	{rule: "objectExpiry changes", from: changes{}, to: changes{"spec.objectExpiry": "1h"}},
	{rule: "objectExpiry is removed", from: changes{}, to: changes{"spec.objectExpiry": absent}},
	{rule: "objectExpiry stays valid", from: changes{}, to: changes{"spec.objectExpiry": "1d"}, field: "spec.objectExpiry", words: durationRule},
	{rule: "value, queue and a lease's duration change", from: changes{}, to: changes{"spec.value": absent, "spec.waiters": []any{"third"}, "spec.holder.duration": "5s"}},
}

func holderB(token int64) map[string]any { return holderOf("hold-b", token) }

func holderC(token int64) map[string]any { return holderOf("hold-c", token) }

func holderOf(lockID string, token int64) map[string]any {
	return map[string]any{
		"identity": "worker-2", "client": "client-2", "lockID": lockID, "token": token, "duration": "5s",
		"acquireTime": "2026-01-02T03:05:15.000006Z", "renewTime": "2026-01-02T03:05:15.000006Z",
	}
}

func TestUpdatesKeepKeyTokensAndCountsInOrder(t *testing.T) {
	t.Parallel()
	namespace := env.Namespace(t)
	client := locks(t, namespace)
	for _, tr := range transitions {
		t.Run(tr.rule, func(t *testing.T) {
			t.Parallel()
			from := create(t, newLock(t, namespace, tr.from))
			to := newLock(t, namespace, tr.to)
			to.SetName(from.GetName())
			to.SetResourceVersion(from.GetResourceVersion())
			_, err := client.Update(t.Context(), to, metav1.UpdateOptions{})
			if tr.words != "" {
				mustReject(t, err, tr.field, tr.words)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSpecCannotBeRemovedToForget is that nobody gets around the rules for an update
// by leaving out everything that they compare with.
func TestSpecCannotBeRemovedToForget(t *testing.T) {
	t.Parallel()
	namespace := env.Namespace(t)
	lock := create(t, newLock(t, namespace, changes{"spec.key": absent}))
	_, err := locks(t, namespace).Update(t.Context(), change(t, lock, changes{"spec": absent}), metav1.UpdateOptions{})
	mustReject(t, err, "spec.transitions", "must not decrease")
}
