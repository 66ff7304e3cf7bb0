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
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubelock/kubelock/api/v1alpha1"
)

func text(n int) string { return strings.Repeat("x", n) }

// waiters returns a queue of n entries of that length.
func waiters(n, length int) []any { return slices.Repeat([]any{text(length)}, n) }

// show returns a value for a test's name.
func show(value any) string {
	text := fmt.Sprintf("%v", value)
	return text[:min(len(text), 40)]
}

// The words with which the API server itself explains a rejection.
const (
	tooShort    = "should be at least 1 chars long"
	notPositive = "should be greater than or equal to 1"
	required    = "Required value"
)

const durationRule = "must be a positive duration such as "

var (
	durations    = []any{"1ns", "2us", "2µs", "30ms", "0.5s", "1.5h", "24h", "5m0s", "1h2m3s", "8760h", "8759h59m60s"}
	notDurations = []any{"", "30", "s", "5 m", " 5m", "5m\n", "1d", "1w", "5m1d", "five minutes", "-5m", "+5m", ".5s", "1e3s", "∞",
		"0", "0s", "0h0m0s", "0.1ns", "2562048h", "99999999999999999999999999999h"}
	times = []any{"2026-01-02T03:04:05.000000Z", "2024-02-29T23:59:59.999999Z"}
	// The types' times have microseconds; one of another form could be read by nobody.
	otherTimes = []any{"2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123Z", "2026-01-02T03:04:05.123456789Z",
		"2026-01-02T03:04:05.000000+01:00", "2026-01-02t03:04:05.000000z"}
	notTimes = []any{"2026-13-02T03:04:05.000000Z", "2026-02-30T03:04:05.000000Z", "2026-01-02T24:04:05.000000Z", "2026-01-02T03:60:05.000000Z",
		"2026-01-02T03:04:60.000000Z", "2026-01-02T03:04:05.000000Z\n", "2026-01-02", "", "now"}
	int64s    = []any{int64(1), int64(1) << 53, int64(math.MaxInt64)}
	notInt64s = []any{"20", true, 1.5, float64(1 << 63), 1e30}
)

// bounds are the rules of the schema for single fields.
var bounds = []struct {
	rule    string
	field   string
	accepts []any
	rejects []any
	at      string // where the error shows, if it is not the field
	words   string
}{
	{rule: "key is optional and not empty", field: "spec.key", accepts: []any{absent, "k", "Ключ/ 1", "\x00"}, rejects: []any{""}, words: tooShort},
	{rule: "key has at most 253 characters", field: "spec.key", accepts: []any{text(253)}, rejects: []any{text(254)}, words: "may not be more than 253"},
	{rule: "key is text", field: "spec.key", rejects: []any{int64(1), true}, words: "must be of type string"},

	{rule: "value is optional and not empty", field: "spec.value", accepts: []any{absent, "0", "null", `""`}, rejects: []any{""}, words: tooShort},
	{rule: "value is text", field: "spec.value", rejects: []any{int64(1), map[string]any{"count": int64(3)}}, words: "must be of type string"},

	{rule: "objectExpiry is a positive duration", field: "spec.objectExpiry", accepts: append([]any{absent, "876000h"}, durations...), rejects: append([]any{"876000h1ns", "876001h", "2562047h"}, notDurations...), words: durationRule + "90s, 5m or 24h, of at most 876000h"},
	{rule: "objectExpiry is short", field: "spec.objectExpiry", accepts: []any{"0000000000000000000000000000005m"}, rejects: []any{"00000000000000000000000000000005m"}, words: "may not be more than 32"},
	{rule: "objectExpiry is text", field: "spec.objectExpiry", rejects: []any{int64(300)}, words: "must be of type string"},

	{rule: "a free lock has no holder", field: "spec.holder", accepts: []any{absent}},
	{rule: "holder is an object", field: "spec.holder", rejects: []any{"worker-7d9f"}, words: "must be of type object"},
	{rule: "holder.identity is required", field: "spec.holder.identity", rejects: []any{absent}, words: required},
	{rule: "holder.identity is not empty", field: "spec.holder.identity", accepts: []any{"w"}, rejects: []any{""}, words: tooShort},
	{rule: "holder.identity has at most 253 characters", field: "spec.holder.identity", accepts: []any{text(253)}, rejects: []any{text(254)}, words: "may not be more than 253"},
	{rule: "holder.display is optional and fixed", field: "spec.holder.display", accepts: []any{absent}, rejects: []any{"", "me", "resting"}, words: `supported values: "<resting>"`},
	{rule: "holder.display is that of a rest", field: "spec.holder.display", rejects: []any{"<resting>"}, at: "spec.holder", words: "must have no display unless the lock rests"},
	{rule: "holder.pod is optional", field: "spec.holder.pod", accepts: []any{absent}},
	{rule: "holder.pod.name is required", field: "spec.holder.pod.name", rejects: []any{absent}, words: required},
	{rule: "holder.pod.name is not empty", field: "spec.holder.pod.name", accepts: []any{"p"}, rejects: []any{""}, words: tooShort},
	{rule: "holder.pod.name has at most 253 characters", field: "spec.holder.pod.name", accepts: []any{text(253)}, rejects: []any{text(254)}, words: "may not be more than 253"},
	{rule: "holder.pod.uid is optional and not empty", field: "spec.holder.pod.uid", accepts: []any{absent, "u"}, rejects: []any{""}, words: tooShort},
	{rule: "holder.pod.uid has at most 128 characters", field: "spec.holder.pod.uid", accepts: []any{text(128)}, rejects: []any{text(129)}, words: "may not be more than 128"},
	{rule: "holder.client is required", field: "spec.holder.client", rejects: []any{absent}, words: required},
	{rule: "holder.client is not empty", field: "spec.holder.client", accepts: []any{"c"}, rejects: []any{""}, words: tooShort},
	{rule: "holder.client fits into a label", field: "spec.holder.client", accepts: []any{text(63)}, rejects: []any{text(64)}, words: "may not be more than 63"},
	{rule: "holder.lockID is required", field: "spec.holder.lockID", rejects: []any{absent}, words: required},
	{rule: "holder.lockID is not empty", field: "spec.holder.lockID", accepts: []any{"l"}, rejects: []any{""}, words: tooShort},
	{rule: "holder.lockID has at most 63 characters", field: "spec.holder.lockID", accepts: []any{text(63)}, rejects: []any{text(64)}, words: "may not be more than 63"},
	{rule: "holder.token is optional and positive", field: "spec.holder.token", accepts: append([]any{absent}, int64s...), rejects: []any{int64(0), int64(-1)}, words: notPositive},
	{rule: "holder.token is an integer of 64 bits", field: "spec.holder.token", rejects: notInt64s, words: "must be of type int"},
	{rule: "holder.acquireTime is required", field: "spec.holder.acquireTime", rejects: []any{absent}, words: required},
	{rule: "holder.acquireTime has microseconds", field: "spec.holder.acquireTime", accepts: times, rejects: otherTimes, words: "should match"},
	{rule: "holder.acquireTime is a time", field: "spec.holder.acquireTime", rejects: notTimes, words: "must be of type date-time"},
	{rule: "holder.renewTime is required", field: "spec.holder.renewTime", rejects: []any{absent}, words: required},
	{rule: "holder.renewTime has microseconds", field: "spec.holder.renewTime", accepts: times, rejects: otherTimes, words: "should match"},
	{rule: "holder.renewTime is a time", field: "spec.holder.renewTime", rejects: notTimes, words: "must be of type date-time"},
	{rule: "holder.renewTimeSource is one of two", field: "spec.holder.renewTimeSource", accepts: []any{absent, "Server", "Node"}, rejects: []any{"", "server", "Client"}, words: `supported values: "Server", "Node"`},
	{rule: "holder.duration is required", field: "spec.holder.duration", rejects: []any{absent}, words: required},
	{rule: "holder.duration is a positive duration", field: "spec.holder.duration", accepts: durations, rejects: append([]any{"8760h1ns", "8761h", "2562047h"}, notDurations...), words: durationRule + "30s, of at most 8760h"},
	{rule: "holder.duration is short", field: "spec.holder.duration", accepts: []any{"0000000000000000000000000000030s"}, rejects: []any{"00000000000000000000000000000030s"}, words: "may not be more than 32"},

	{rule: "at most 128 wait", field: "spec.waiters", accepts: []any{absent, []any{}, waiters(128, 1)}, rejects: []any{waiters(129, 1)}, words: "must have at most 128 items"},
	{rule: "a waiter is not empty", field: "spec.waiters", rejects: []any{[]any{""}}, at: "spec.waiters[0]", words: tooShort},
	{rule: "a waiter has at most 512 characters", field: "spec.waiters", accepts: []any{waiters(128, 512)}, rejects: []any{waiters(1, 513)}, at: "spec.waiters[0]", words: "may not be more than 512"},
	{rule: "a waiter is text", field: "spec.waiters", rejects: []any{[]any{map[string]any{"client": "c"}}, []any{nil}}, at: "spec.waiters[0]", words: "must be of type string"},

	{rule: "lastRelease is optional", field: "spec.lastRelease", accepts: []any{absent}},
	{rule: "lastRelease.lockID is required", field: "spec.lastRelease.lockID", rejects: []any{absent}, words: required},
	{rule: "lastRelease.lockID is not empty", field: "spec.lastRelease.lockID", accepts: []any{"l"}, rejects: []any{""}, words: tooShort},
	{rule: "lastRelease.lockID has at most 63 characters", field: "spec.lastRelease.lockID", accepts: []any{text(63)}, rejects: []any{text(64)}, words: "may not be more than 63"},
	{rule: "lastRelease.identity is required", field: "spec.lastRelease.identity", rejects: []any{absent}, words: required},
	{rule: "lastRelease.identity is not empty", field: "spec.lastRelease.identity", accepts: []any{"w"}, rejects: []any{""}, words: tooShort},
	{rule: "lastRelease.identity has at most 253 characters", field: "spec.lastRelease.identity", accepts: []any{text(253)}, rejects: []any{text(254)}, words: "may not be more than 253"},
	{rule: "lastRelease.token is optional and positive", field: "spec.lastRelease.token", accepts: append([]any{absent}, int64s...), rejects: []any{int64(0), int64(-1)}, words: notPositive},
	{rule: "lastRelease.token is an integer of 64 bits", field: "spec.lastRelease.token", rejects: notInt64s, words: "must be of type int"},
	{rule: "lastRelease.time is required", field: "spec.lastRelease.time", rejects: []any{absent}, words: required},
	{rule: "lastRelease.time has microseconds", field: "spec.lastRelease.time", accepts: times, rejects: otherTimes, words: "should match"},
	{rule: "lastRelease.time is a time", field: "spec.lastRelease.time", rejects: notTimes, words: "must be of type date-time"},
	{rule: "lastRelease.timeSource is one of two", field: "spec.lastRelease.timeSource", accepts: []any{absent, "Server", "Node"}, rejects: []any{"", "server", "Client"}, words: `supported values: "Server", "Node"`},
	{rule: "lastRelease.reason is required", field: "spec.lastRelease.reason", rejects: []any{absent}, words: required},
	{rule: "lastRelease.reason is one of five", field: "spec.lastRelease.reason", accepts: []any{"Released", "HandedOff", "Expired", "HolderTerminated", "Forced"}, rejects: []any{"", "released", "Deleted"},
		words: `supported values: "Released", "HandedOff", "Expired", "HolderTerminated", "Forced"`},

	{rule: "transitions is optional and not negative", field: "spec.transitions", accepts: append([]any{absent, int64(0)}, int64s...), rejects: []any{int64(-1)}, words: "should be greater than or equal to 0"},
	{rule: "transitions is an integer of 64 bits", field: "spec.transitions", rejects: notInt64s, words: "must be of type int"},

	{rule: "spec is optional", field: "spec", accepts: []any{absent, map[string]any{}}},
	{rule: "spec is an object", field: "spec", rejects: []any{"held"}, words: "must be of type object"},
}

func TestSchemaBoundsEachField(t *testing.T) {
	t.Parallel()
	namespace := env.Namespace(t)
	client := locks(t, namespace)
	send := func(t *testing.T, c changes) (*unstructured.Unstructured, error) {
		t.Helper()
		return client.Create(t.Context(), newLock(t, namespace, c), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}
	for _, b := range bounds {
		t.Run(b.rule, func(t *testing.T) {
			t.Parallel()
			for _, value := range b.accepts {
				t.Run("accepts "+show(value), func(t *testing.T) {
					stored, err := send(t, changes{b.field: value})
					if err != nil {
						t.Fatal(err)
					}
					mustBeReadable(t, stored)
				})
			}
			for _, value := range b.rejects {
				t.Run("rejects "+show(value), func(t *testing.T) {
					_, err := send(t, changes{b.field: value})
					field := b.field
					if b.at != "" {
						field = b.at
					}
					mustReject(t, err, field, b.words)
				})
			}
		})
	}
}

// TestEachFieldOfTheSchemaIsTested finds a new field that nobody wrote a row for.
func TestEachFieldOfTheSchemaIsTested(t *testing.T) {
	t.Parallel()
	tested := map[string]bool{}
	for _, b := range bounds {
		if len(b.rejects) > 0 {
			tested[b.field] = true
		}
	}
	eachField(t, func(path string, field map[string]any) {
		if _, object := field["properties"]; !object && strings.HasPrefix(path, "spec.") && !strings.HasSuffix(path, "[]") && !tested[path] {
			t.Errorf("no row shows what %s rejects; there are %v", path, slices.Sorted(maps.Keys(tested)))
		}
	})
}

// TestValueHasAtMostOneMebibyte stores the values, because the schema is not the
// only limit: the storage behind it has one, too.
func TestValueHasAtMostOneMebibyte(t *testing.T) {
	t.Parallel()
	namespace := env.Namespace(t)
	value := `"` + text(v1alpha1.MaxValueBytes-2) + `"`
	if len(value) != 1<<20 {
		t.Fatalf("the largest value has %d bytes, want 1 MiB", len(value))
	}
	lock := create(t, newLock(t, namespace, changes{"spec.value": value}))
	stored, err := locks(t, namespace).Get(t.Context(), lock.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _ := unstructured.NestedString(stored.Object, "spec", "value"); got != value {
		t.Errorf("the value came back with %d bytes, want it as it was written", len(got))
	}
	_, err = locks(t, namespace).Create(t.Context(), newLock(t, namespace, changes{"spec.value": value + " "}), metav1.CreateOptions{})
	mustReject(t, err, "spec.value", "may not be more than 1048576")
}

// TestValueIsKeptByteForByte is about what a JSON or YAML reader would change.
func TestValueIsKeptByteForByte(t *testing.T) {
	t.Parallel()
	namespace := env.Namespace(t)
	for _, value := range []string{
		`{"n":12345678901234567890,"x":1.0,"y":1e2}`, "{ \"b\":1,\n\t\"a\":2 }\n", `"<&>\u003c\/"`, `"é 🔒 ` + "\u2028" + `"`, "no JSON at all", " ",
	} {
		lock := create(t, newLock(t, namespace, changes{"spec.value": value}))
		if got, _, _ := unstructured.NestedString(lock.Object, "spec", "value"); got != value {
			t.Errorf("%q came back as %q", value, got)
		}
	}
}

func TestSchemaFillsInItsDefaults(t *testing.T) {
	t.Parallel()
	namespace := env.Namespace(t)
	lock := create(t, newLock(t, namespace, changes{"spec.holder.renewTimeSource": absent}))
	if got, _, _ := unstructured.NestedString(lock.Object, "spec", "holder", "renewTimeSource"); got != string(v1alpha1.TimeSourceServer) {
		t.Errorf("renewTimeSource is %q, want Server", got)
	}
	lock = create(t, newLock(t, namespace, changes{"spec": absent}))
	if spec, found, _ := unstructured.NestedMap(lock.Object, "spec"); !found || len(spec) > 0 {
		t.Errorf("spec is %v, want an empty one", spec)
	}
}
