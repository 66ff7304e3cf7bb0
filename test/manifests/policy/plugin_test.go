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
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubelock/kubelock/internal/cli"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// plugin returns kubectl dlock as a person with that configuration has it.
func plugin(t *testing.T, config *rest.Config, ns string) func(args ...string) (code int, out, stderr string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	written := clientcmdapi.NewConfig()
	written.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	written.AuthInfos["u"] = &clientcmdapi.AuthInfo{
		Token: config.BearerToken, ClientCertificateData: config.CertData, ClientKeyData: config.KeyData,
	}
	written.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u", Namespace: ns}
	written.CurrentContext = "c"
	if err := clientcmd.WriteToFile(*written, file); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (int, string, string) {
		streams, _, out, stderr := genericiooptions.NewTestIOStreams()
		root := cli.New(streams)
		root.SetArgs(append([]string{"--kubeconfig", file}, args...))
		code := cli.ExitCode(root.ExecuteContext(within(t)), stderr)
		return code, out.String(), stderr.String()
	}
}

// TestPlugin runs kubectl dlock where the policies are in force: who has acquired a lock
// can renew and release it in another process, and only who may force can break it.
func TestPlugin(t *testing.T) {
	t.Parallel()
	ns := namespace(t, "holders", "others", "tellers")
	bind(t, ns, ns, "repairers", "kubelock-force", "force")
	tells(t, ns, "tellers")
	as := func(account string) func(args ...string) (int, string, string) {
		return plugin(t, env.ServiceAccount(t, ns, account), ns)
	}
	holder, other, teller, repairer := as("holders"), as("others"), as("tellers"), as("repairers")

	acquire := func() string {
		t.Helper()
		return heldBy(t, ns, holder)
	}
	id := acquire()
	if code, _, stderr := other("renew", "orders", "--lock-id", id); code != 69 || !strings.Contains(stderr, "nothing was changed: the admission policy refuses it") {
		t.Errorf("a renewal by another user: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := holder("renew", "orders", "--lock-id", id, "--duration", "2h"); code != 0 {
		t.Errorf("the holder's own renewal: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := other("release", "orders", "--lock-id", id); code != 69 || !strings.Contains(stderr, "nothing was changed: the admission policy refuses it") {
		t.Errorf("somebody else's release: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := holder("release", "orders", "--lock-id", id); code != 0 {
		t.Errorf("the holder's own release: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := holder("set", "orders", `{"n":1}`); code != 0 {
		t.Errorf("setting the state: exit code %d, %s", code, stderr)
	}

	// The plugin asks the API server who its user is.
	if code, _, stderr := holder("run", "orders", "--", "true"); code != 0 {
		t.Errorf("a command under a lock, without --identity: exit code %d, %s", code, stderr)
	}
	if l := orders(t, ns).Spec.LastRelease; l == nil || l.Identity != testenv.AccountUser(ns, "holders") {
		t.Errorf("the command's hold was that of %+v", l)
	}
	if code, _, stderr := holder("--identity", "another", "run", "orders", "--", "true"); code != 69 || !strings.Contains(stderr, "set --identity") {
		t.Errorf("an identity that is not the user's: exit code %d, %s", code, stderr)
	}

	id = acquire()
	breaks := []string{"break", "orders", "--yes", "--reason", "the shard has moved"}
	for who, tc := range map[string]struct {
		run  func(args ...string) (int, string, string)
		want []string
	}{
		"who may use locks":                   {other, []string{"nothing was changed", "no permission to create events", "kubelock-force"}},
		"who may use locks and tell of it":    {teller, []string{"nothing was changed", "the admission policy refuses it", "kubelock-force", "verb force", "holds the lock until"}},
		"the holder, who has other means too": {holder, []string{"nothing was changed", "kubelock-force"}},
	} {
		code, _, stderr := tc.run(breaks...)
		if code != 69 {
			t.Errorf("%s: exit code %d", who, code)
		}
		for _, want := range tc.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s is not told %q: %s", who, want, stderr)
			}
		}
	}
	if h := orders(t, ns).Spec.Holder; h == nil || h.LockID != id {
		t.Fatalf("the holder is %+v", h)
	}
	if code, _, stderr := repairer(breaks...); code != 0 {
		t.Fatalf("who may force: exit code %d, %s", code, stderr)
	}
	if spec := orders(t, ns).Spec; spec.Holder != nil || spec.LastRelease.Reason != "Forced" || *spec.Value != `{"n":1}` {
		t.Errorf("broken, it is %+v", spec)
	}
	e := env.Event(t, patience, ns, "orders", "LockBroken")
	if !strings.Contains(e.Note, "the shard has moved (broken by "+testenv.AccountUser(ns, "repairers")) {
		t.Errorf("the event is %q", e.Note)
	}
	list, err := env.Clientset(t).EventsV1().Events(ns).List(within(t), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if e := &list.Items[i]; e.Reason == "LockBroken" && !strings.Contains(e.Note, "repairers") {
			t.Errorf("an event tells of a lock that was not broken: %q", e.Note)
		}
	}
	if code, out, stderr := repairer("describe", "orders"); code != 0 || !strings.Contains(out, "the shard has moved") {
		t.Errorf("describing: exit code %d, %s, %s", code, out, stderr)
	}
}

// tells lets an account write events, and nothing else that the role of users has not.
func tells(t *testing.T, ns, account string) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: ns, Name: "tells"}
	admin := env.Client(t)
	for _, err := range []error{
		admin.Create(within(t), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create"}}}}),
		admin.Create(within(t), &rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: account}},
		}),
		env.AwaitAccess(within(t), testenv.AccountUser(ns, account), authorizationv1.ResourceAttributes{Namespace: ns, Verb: "create", Group: "events.k8s.io", Resource: "events"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestPluginIdentity leaves it to kubectl dlock who the holder is.
func TestPluginIdentity(t *testing.T) {
	t.Parallel()
	ns := namespace(t, "holders")
	holder := plugin(t, env.ServiceAccount(t, ns, "holders"), ns)
	for _, args := range [][]string{
		{"set", "k", "1"},
		{"check"},
		{"delete", "k"},
	} {
		if code, out, stderr := holder(args...); code != 0 {
			t.Errorf("%q: exit code %d, %s, %s", args, code, out, stderr)
		}
	}
	// One who queues is refused for another part of the object.
	id := heldBy(t, ns, holder)
	waits := plugin(t, env.ServiceAccount(t, ns, "holders"), ns)
	if code, _, stderr := waits("set", "orders", "1", "--timeout", "3s"); code != 75 || !strings.Contains(stderr, "place 1 of 1 in the queue") {
		t.Errorf("waiting: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := holder("release", "orders", "--lock-id", id); code != 0 {
		t.Errorf("releasing: exit code %d, %s", code, stderr)
	}
}

// TestPluginUserLikeAPod has a user whose name a Pod could have.
func TestPluginUserLikeAPod(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	admin := env.Client(t)
	if err := admin.Create(within(t), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "alice"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubelock-user"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "alice"}},
	}); err != nil {
		t.Fatal(err)
	}
	if err := env.AwaitAccess(within(t), "alice", authorizationv1.ResourceAttributes{Namespace: ns, Verb: "create", Group: "kubelock.dev", Resource: "distributedlocks"}); err != nil {
		t.Fatal(err)
	}
	alice := plugin(t, env.User(t, "alice"), ns)
	want := `the user name "alice" could be that of a Pod`
	if code, _, stderr := alice("set", "k", "1"); code != 69 || !strings.Contains(stderr, want) {
		t.Errorf("setting: exit code %d, %s", code, stderr)
	}
	if code, out, stderr := alice("check"); code != 78 || !strings.Contains(out, want) {
		t.Errorf("checking: exit code %d, %s, %s", code, out, stderr)
	}
}

// heldBy has a lock held, and returns the lock ID.
func heldBy(t *testing.T, ns string, holder func(args ...string) (int, string, string)) string {
	t.Helper()
	code, out, stderr := holder("acquire", "orders", "--duration", "1h", "-o", "json")
	var got struct {
		LockID string `json:"lockID"`
	}
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil || got.LockID == "" {
		t.Fatalf("acquiring: exit code %d, %q, %s", code, out, stderr)
	}
	if h := orders(t, ns).Spec.Holder; h == nil || h.Identity != testenv.AccountUser(ns, "holders") {
		t.Errorf("the holder is %+v, want the user's name", h)
	}
	return got.LockID
}
