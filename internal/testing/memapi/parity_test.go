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

package memapi_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kubelock/kubelock/internal/testing/memapi"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.MainOrMemory(m, func(e *testenv.Env) { env = e }))
}

// locks returns the project's compiled CRD.
var locks = sync.OnceValue(func() *memapi.CRD {
	definition, err := os.ReadFile(filepath.Join("..", "..", "..", "config", "crd", "bases", "kubelock.dev_distributedlocks.yaml"))
	if err != nil {
		panic(err)
	}
	crd, err := memapi.Compile(definition)
	if err != nil {
		panic(err)
	}
	return crd
})

const (
	crdPath       = "/apis/kubelock.dev/v1alpha1/namespaces/{ns}/distributedlocks"
	leasePath     = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases"
	mapPath       = "/api/v1/namespaces/{ns}/configmaps"
	typeJSON      = "application/json"
	typePatch     = "application/json-patch+json"
	typeMerge     = "application/merge-patch+json"
	typeStrategic = "application/strategic-merge-patch+json"
)

// difference returns the part in which two texts differ.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	what := w[0]
	for len(w) > 0 && len(g) > 0 && w[0] == g[0] {
		w, g = w[1:], g[1:]
	}
	for len(w) > 0 && len(g) > 0 && w[len(w)-1] == g[len(g)-1] {
		w, g = w[:len(w)-1], g[:len(g)-1]
	}
	return fmt.Sprintf("%s\nthe real server:\n%s\nthis one:\n%s", what, strings.Join(w, "\n"), strings.Join(g, "\n"))
}

func metadata(obj map[string]any, name string) string {
	meta, _ := obj["metadata"].(map[string]any)
	text, _ := meta[name].(string)
	return text
}

func version(obj map[string]any) string { return metadata(obj, "resourceVersion") }

// lock returns a DistributedLock as JSON.
func lock(name, meta, spec string) string {
	if meta != "" {
		meta = "," + meta
	}
	return fmt.Sprintf(`{"apiVersion":"kubelock.dev/v1alpha1","kind":"DistributedLock","metadata":{"name":%q%s},"spec":%s}`, name, meta, spec)
}

func holder(lockID string, token int) string {
	return fmt.Sprintf(`{"identity":"me","client":"c","lockID":%q,"token":%d,"acquireTime":"2026-01-02T03:04:05.000000Z","renewTime":"2026-01-02T03:04:05.000000Z","duration":"15s"}`, lockID, token)
}

func at(version string) string { return fmt.Sprintf(`"resourceVersion":%q`, version) }

// sequences are requests to which a real API server and this one must give the same answers.
var sequences = []struct {
	name string
	play func(p *player)
}{
	{"create", func(p *player) {
		p.post(crdPath, lock("a", "", `{}`))
		p.post(crdPath, lock("a", "", `{}`))
		p.post(crdPath, lock("", "", `{}`))
		p.post(crdPath, lock("Bad_Name", "", `{}`))
		p.post(crdPath, lock("b", `"namespace":"other"`, `{}`))
		p.post(crdPath, lock("c", `"resourceVersion":"17"`, `{}`))
		p.post(crdPath, lock("d", `"uid":"mine","creationTimestamp":"2020-01-01T00:00:00Z","generation":7,"labels":{"a":"b"},"annotations":{"x":"y"}`, `{"unknown":1,"key":"k"}`))
		p.post(strings.ReplaceAll(crdPath, "{ns}", "absent"), lock("a", "", `{}`))
		p.post(crdPath, lock("e", `"labels":{"a b":"c"}`, `{}`))
		p.post(leasePath, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l"},"spec":{"holderIdentity":"h","leaseDurationSeconds":15,"renewTime":"2026-01-02T03:04:05.123456Z","nonsense":1}}`)
		p.post(leasePath, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l"},"spec":{}}`)
		p.post(leasePath, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"m"},"spec":{"leaseDurationSeconds":0}}`)
		p.post(mapPath, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":"b"}}`)
		p.post(mapPath, `{"metadata":{"name":"n"},"data":{"a":"b"}}`)
		p.post(strings.ReplaceAll(mapPath, "{ns}", "absent"), `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"}}`)
	}},
	{"malformed", func(p *player) {
		p.post(crdPath, `{`)
		p.post(crdPath, `[]`)
		p.post(crdPath, ``)
		p.post(crdPath, `{"metadata":{"name":"a"}}`)
		p.post(crdPath, `{"apiVersion":"kubelock.dev/v1alpha1","kind":"Other","metadata":{"name":"a"}}`)
		p.post(crdPath, `{"apiVersion":"kubelock.dev/v9","kind":"DistributedLock","metadata":{"name":"a"}}`)
		p.post(crdPath, lock("a", "", `[]`))
		p.post(crdPath, lock("a", "", `{"transitions":"x"}`))
		p.do("POST", crdPath, "text/html", lock("a", "", `{}`))
		p.post(leasePath, `{`)
		p.post(leasePath, `{"apiVersion":"coordination.k8s.io/v1","kind":"Other","metadata":{"name":"a"}}`)
		p.post(leasePath, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`)
		p.post(leasePath, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"a"},"spec":{"leaseDurationSeconds":"x"}}`)
	}},
	{"get", func(p *player) {
		p.get(crdPath + "/absent")
		p.get(leasePath + "/absent")
		p.get("/api/v1/namespaces/absent")
		p.get("/api/v1/namespaces/absent/configmaps/absent")
		p.get("/apis/nothing.example.com/v1/namespaces/{ns}/things/a")
		p.get("/apis/kubelock.dev/v1alpha1/namespaces/{ns}/things/a")
		p.get("/apis/kubelock.dev/v9/namespaces/{ns}/distributedlocks/a")
		p.get("/api/v1/namespaces/{ns}/things/a")
		p.post("/apis/nothing.example.com/v1/namespaces/{ns}/things", `{}`)
	}},
	{"update", func(p *player) {
		a := p.post(crdPath, lock("a", "", `{}`))
		v := func(rest ...string) string {
			return strings.Join(append([]string{at(version(a))}, rest...), ",")
		}
		p.put(crdPath+"/a", lock("a", v(), `{}`))
		p.put(crdPath+"/a", lock("a", v(`"labels":{"a":"b"}`), `{}`))
		p.put(crdPath+"/a", lock("a", v(), `{"transitions":1}`))
		a = p.get(crdPath + "/a")
		p.put(crdPath+"/a", lock("a", v(`"generation":9`), `{"transitions":1}`))
		a = p.get(crdPath + "/a")
		p.put(crdPath+"/a", lock("a", v(), `{"transitions":2}`))
		p.put(crdPath+"/a", lock("a", "", `{"transitions":3}`))
		a = p.get(crdPath + "/a")
		p.put(crdPath+"/a", lock("a", v(`"uid":"00000000-0000-0000-0000-000000000000"`), `{"transitions":3}`))
		p.put(crdPath+"/a", lock("b", v(), `{"transitions":3}`))
		p.put(crdPath+"/a", lock("", v(), `{"transitions":3}`))
		p.put(crdPath+"/a", lock("a", v(`"namespace":"other"`), `{"transitions":3}`))
		p.put(crdPath+"/absent", lock("absent", v(), `{}`))
		p.put(crdPath+"/absent", lock("absent", "", `{}`))
		p.put(crdPath+"/absent", lock("absent", `"uid":"00000000-0000-0000-0000-000000000000"`, `{}`))
		p.put(crdPath+"/a", lock("a", at("x"), `{}`))
		p.put(crdPath+"/a", lock("a", v(`"creationTimestamp":"2020-01-01T00:00:00Z"`), `{"transitions":3}`))
	}},
	{"update of a lease", func(p *player) {
		lease := func(name, meta, spec string) string {
			return fmt.Sprintf(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":%q%s},"spec":%s}`, name, meta, spec)
		}
		l := p.put(leasePath+"/l", lease("l", "", `{"holderIdentity":"a"}`))
		p.put(leasePath+"/l", lease("l", "", `{"holderIdentity":"b"}`))
		p.put(leasePath+"/l", lease("l", `,"resourceVersion":"`+version(l)+`"`, `{"holderIdentity":"b"}`))
		p.put(leasePath+"/l", lease("l", `,"resourceVersion":"`+version(l)+`"`, `{"holderIdentity":"c"}`))
		p.put(leasePath+"/m", lease("m", `,"resourceVersion":"`+version(l)+`"`, `{"holderIdentity":"c"}`))
		p.put(leasePath+"/n", lease("n", `,"uid":"00000000-0000-0000-0000-000000000000"`, `{}`))
		p.delete(leasePath+"/l", "")
	}},
	{"update of a configmap", func(p *player) {
		m := p.post(mapPath, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":"b"}}`)
		p.put(mapPath+"/m", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":"c"}}`)
		p.put(mapPath+"/m", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":"c"}}`)
		p.put(mapPath+"/m", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","resourceVersion":"`+version(m)+`"},"data":{"a":"c"}}`)
		p.put(mapPath+"/m", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","uid":"u"},"data":{"a":"c"}}`)
		p.put(mapPath+"/absent", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"absent"}}`)
		p.do("PATCH", mapPath+"/m", typeStrategic, `{"data":{"x":"y"}}`)
		p.do("PATCH", mapPath+"/m", typeMerge, `{"data":{"x":null}}`)
		p.patch(mapPath+"/m", `[{"op":"test","path":"/data/a","value":"z"}]`)
		p.delete(mapPath+"/m", "")
	}},
	{"JSON patch", func(p *player) {
		a := p.post(crdPath, lock("a", "", `{}`))
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/waiters/-","value":"w"}]`)
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/waiters","value":["w1"]}]`)
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/waiters/-","value":"w2"}]`)
		p.patch(crdPath+"/a", `[{"op":"test","path":"/spec/waiters/0","value":"w1"},{"op":"remove","path":"/spec/waiters/0"}]`)
		p.patch(crdPath+"/a", `[{"op":"test","path":"/spec/waiters/0","value":"w1"},{"op":"remove","path":"/spec/waiters/0"}]`)
		p.patch(crdPath+"/a", `[{"op":"test","path":"/spec/holder","value":null},{"op":"add","path":"/spec/holder","value":`+holder("l1", 5)+`}]`)
		p.patch(crdPath+"/a", `[{"op":"test","path":"/spec/holder","value":null},{"op":"add","path":"/spec/holder","value":`+holder("l2", 6)+`}]`)
		p.patch(crdPath+"/a", `[{"op":"test","path":"/spec/holder/lockID","value":"l1"},{"op":"replace","path":"/spec/holder","value":`+holder("l2", 6)+`}]`)
		p.patch(crdPath+"/a", `[{"op":"test","path":"/spec/holder/lockID","value":"l2"}]`)
		p.patch(crdPath+"/a", `[{"op":"remove","path":"/spec/nothing"}]`)
		p.patch(crdPath+"/a", `[{"op":"replace","path":"/spec/nothing","value":1}]`)
		p.patch(crdPath+"/a", `[{"op":"test","path":"/spec/nothing/deeper","value":1}]`)
		p.patch(crdPath+"/a", `[{"op":"test","path":"/spec/nothing","value":1}]`)
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/nothing","value":1}]`)
		p.patch(crdPath+"/a", `[{"op":"test","path":"/metadata/resourceVersion","value":"`+version(a)+`"}]`)
		p.patch(crdPath+"/a", `[{"op":"replace","path":"/metadata/resourceVersion","value":"`+version(a)+`"},{"op":"add","path":"/spec/transitions","value":1}]`)
		p.patch(crdPath+"/a", `[{"op":"replace","path":"/metadata/uid","value":"00000000-0000-0000-0000-000000000000"}]`)
		p.patch(crdPath+"/a", `[{"op":"test","path":"/metadata/uid","value":"00000000-0000-0000-0000-000000000000"}]`)
		p.patch(crdPath+"/a", `[{"op":"replace","path":"/metadata/name","value":"b"}]`)
		p.patch(crdPath+"/a", `[{"op":"replace","path":"/metadata","value":1}]`)
		p.patch(crdPath+"/a", `[{"op":"remove","path":"/kind"}]`)
		p.patch(crdPath+"/a", `[{"op":"nonsense","path":"/kind"}]`)
		p.patch(crdPath+"/a", `{"op":"nonsense"}`)
		p.patch(crdPath+"/a", `nonsense`)
		p.patch(crdPath+"/a", `[]`)
		p.patch(crdPath+"/absent", `[{"op":"add","path":"/spec/transitions","value":1}]`)
		p.patch(crdPath+"/absent", `nonsense`)
		p.do("PATCH", crdPath+"/a", "text/html", `[]`)
		p.get(crdPath + "/a")
	}},
	{"JSON patch of a lease", func(p *player) {
		l := p.post(leasePath, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l"},"spec":{"holderIdentity":"a","leaseDurationSeconds":15,"renewTime":"2026-01-02T03:04:05.000000Z"}}`)
		p.patch(leasePath+"/l", `[{"op":"test","path":"/metadata/annotations/kubelock.dev~1last-waiter","value":null}]`)
		p.patch(leasePath+"/l", `[{"op":"test","path":"/metadata/annotations","value":null},{"op":"add","path":"/metadata/annotations","value":{"kubelock.dev/waiter-1":"w"}}]`)
		p.patch(leasePath+"/l", `[{"op":"test","path":"/metadata/annotations","value":null},{"op":"add","path":"/metadata/annotations","value":{"kubelock.dev/waiter-1":"x"}}]`)
		p.patch(leasePath+"/l", `[{"op":"test","path":"/metadata/annotations/kubelock.dev~1last-waiter","value":null},{"op":"add","path":"/metadata/annotations/kubelock.dev~1last-waiter","value":"1"}]`)
		p.patch(leasePath+"/l", `[{"op":"test","path":"/metadata/annotations/kubelock.dev~1last-waiter","value":"0"}]`)
		p.patch(leasePath+"/l", `[{"op":"test","path":"/metadata/annotations/kubelock.dev~1waiter-1","value":"w"},{"op":"remove","path":"/metadata/annotations/kubelock.dev~1waiter-1"}]`)
		p.patch(leasePath+"/l", `[{"op":"remove","path":"/metadata/annotations/kubelock.dev~1waiter-1"}]`)
		p.patch(leasePath+"/l", `[{"op":"test","path":"/spec/holderIdentity","value":"a"},{"op":"test","path":"/spec/renewTime","value":"2026-01-02T03:04:05.000000Z"},{"op":"add","path":"/spec/renewTime","value":"2026-01-02T03:04:06.000001Z"}]`)
		p.patch(leasePath+"/l", `[{"op":"test","path":"/spec/renewTime","value":"2026-01-02T03:04:05.000000Z"},{"op":"add","path":"/spec/leaseTransitions","value":1}]`)
		p.patch(leasePath+"/l", `[{"op":"test","path":"/metadata/resourceVersion","value":"`+version(l)+`"},{"op":"add","path":"/spec/leaseTransitions","value":1}]`)
		p.patch(leasePath+"/l", `[{"op":"remove","path":"/spec/holderIdentity"},{"op":"remove","path":"/spec/renewTime"},{"op":"add","path":"/spec/leaseDurationSeconds","value":0}]`)
		p.patch(leasePath+"/l", `[{"op":"remove","path":"/spec/holderIdentity"},{"op":"remove","path":"/spec/renewTime"},{"op":"remove","path":"/spec/leaseDurationSeconds"},{"op":"add","path":"/spec/leaseTransitions","value":2}]`)
		p.patch(leasePath+"/l", `[{"op":"add","path":"/spec/renewTime","value":"yesterday"}]`)
		p.patch(leasePath+"/l", `[{"op":"add","path":"/metadata/annotations/kubelock.dev~1value","value":"`+strings.Repeat("x", 256<<10)+`"}]`)
		p.patch(leasePath+"/l", `[{"op":"add","path":"/metadata/labels","value":{"kubelock.dev/lock":"true"}}]`)
		p.get(leasePath + "?labelSelector=kubelock.dev%2Flock%3Dtrue")
		p.get(leasePath + "/l")
	}},
	{"JSON patch of a configmap", func(p *player) {
		m := p.post(mapPath, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","annotations":{"a":"b"}},"data":{"a":"b"},"binaryData":{"c":"AP8="}}`)
		p.patch(mapPath+"/m", `[{"op":"test","path":"/metadata/annotations/kubelock.dev~1holder","value":null},{"op":"add","path":"/metadata/annotations/kubelock.dev~1holder","value":"{\"lockID\":\"l\"}"},{"op":"add","path":"/data/value","value":"1"}]`)
		p.patch(mapPath+"/m", `[{"op":"test","path":"/metadata/annotations/kubelock.dev~1holder","value":"{\"lockID\":\"l\"}"},{"op":"remove","path":"/data/value"}]`)
		p.patch(mapPath+"/m", `[{"op":"test","path":"/metadata/annotations/kubelock.dev~1holder","value":"{}"},{"op":"remove","path":"/data/a"}]`)
		p.patch(mapPath+"/m", `[{"op":"test","path":"/metadata/resourceVersion","value":"`+version(m)+`"},{"op":"remove","path":"/data/a"}]`)
		p.patch(mapPath+"/m", `[{"op":"remove","path":"/data/a"}]`)
		p.patch(mapPath+"/m", `[{"op":"add","path":"/data/a","value":"again"}]`)
		p.patch(mapPath+"/m", `[{"op":"test","path":"/data","value":null},{"op":"add","path":"/data","value":{"value":"2"}}]`)
		p.patch(mapPath+"/m", `[{"op":"add","path":"/data/bad key","value":"x"}]`)
		p.patch(mapPath+"/m", `[{"op":"add","path":"/data/value","value":"`+strings.Repeat("x", 1<<20)+`"}]`)
		p.patch(mapPath+"/m", `[{"op":"add","path":"/immutable","value":true}]`)
		p.patch(mapPath+"/m", `[{"op":"add","path":"/data/value","value":"3"}]`)
		p.patch(mapPath+"/m", `[{"op":"add","path":"/immutable","value":false},{"op":"remove","path":"/binaryData"}]`)
		p.patch(mapPath+"/m", `[{"op":"add","path":"/metadata/labels","value":{"kubelock.dev/lock":"true"}}]`)
		p.get(mapPath + "/m")
	}},
	{"invalid", func(p *player) {
		p.post(crdPath, lock("a", "", `{"holder":`+holder("l1", 5)+`,"transitions":3}`))
		p.patch(crdPath+"/a", `[{"op":"replace","path":"/spec/transitions","value":2}]`)
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/key","value":"k"}]`)
		p.patch(crdPath+"/a", `[{"op":"replace","path":"/spec/holder/token","value":4}]`)
		p.patch(crdPath+"/a", `[{"op":"replace","path":"/spec/holder/duration","value":"soon"}]`)
		p.patch(crdPath+"/a", `[{"op":"replace","path":"/spec/holder/renewTime","value":"yesterday"}]`)
		p.patch(crdPath+"/a", `[{"op":"replace","path":"/spec/holder/renewTimeSource","value":"Moon"}]`)
		p.patch(crdPath+"/a", `[{"op":"remove","path":"/spec/holder/client"}]`)
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/waiters","value":["`+strings.Repeat(`w","`, 600)+`w"]}]`)
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/waiters","value":["`+strings.Repeat(`w`, 9000)+`"]}]`)
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/value","value":1}]`)
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/value","value":null}]`)
		p.do("PATCH", crdPath+"/a", typeMerge, `{"spec":{"transitions":1,"holder":{"token":1}}}`)
		p.post(crdPath, lock("b", "", `{"objectExpiry":"never"}`))
		p.post(crdPath, lock("b", "", `{"objectExpiry":"5m","transitions":-1}`))
		p.post(crdPath, lock("b", "", `{"holder":{}}`))
	}},
	{"defaults and pruning", func(p *player) {
		p.post(crdPath, `{"apiVersion":"kubelock.dev/v1alpha1","kind":"DistributedLock","metadata":{"name":"a","nonsense":1},"nonsense":2}`)
		p.post(crdPath, lock("b", "", `{"nonsense":1,"holder":`+holder("l1", 5)+`}`))
		p.patch(crdPath+"/b", `[{"op":"remove","path":"/spec/holder/renewTimeSource"}]`)
		p.patch(crdPath+"/b", `[{"op":"add","path":"/spec/holder/nonsense","value":1}]`)
		p.patch(crdPath+"/b", `[{"op":"remove","path":"/spec"}]`)
	}},
	{"merge patch", func(p *player) {
		p.post(crdPath, lock("a", `"labels":{"a":"b"}`, `{}`))
		p.do("PATCH", crdPath+"/a", typeMerge, `{"metadata":{"labels":{"c":"d","a":null}}}`)
		p.do("PATCH", crdPath+"/a", typeMerge, `{"metadata":{"labels":{"c":"d"}}}`)
		p.do("PATCH", crdPath+"/a", typeMerge, `{"spec":{"transitions":4}}`)
		p.do("PATCH", crdPath+"/a", typeMerge, `{"metadata":{"resourceVersion":"1"},"spec":{"transitions":5}}`)
		p.do("PATCH", crdPath+"/a", typeMerge, `nonsense`)
		p.do("PATCH", crdPath+"/absent", typeMerge, `{}`)
	}},
	{"delete", func(p *player) {
		a := p.post(crdPath, lock("a", "", `{}`))
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/transitions","value":1}]`)
		p.delete(crdPath+"/a", `{"preconditions":{"uid":"00000000-0000-0000-0000-000000000000"}}`)
		p.delete(crdPath+"/a", `{"preconditions":{"resourceVersion":"`+version(a)+`"}}`)
		a = p.get(crdPath + "/a")
		p.delete(crdPath+"/a", `{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"`+metadata(a, "uid")+`","resourceVersion":"`+version(a)+`"}}`)
		p.get(crdPath + "/a")
		p.delete(crdPath+"/a", "")
		p.delete(crdPath+"/a", `{"preconditions":{"resourceVersion":"1"}}`)
		p.post(crdPath, lock("a", "", `{}`))
		p.delete(crdPath+"/a", `{`)
		p.delete(crdPath+"/a", ``)
	}},
	{"finalizers", func(p *player) {
		p.post(crdPath, lock("a", `"finalizers":["example.com/f"]`, `{}`))
		p.watch("w", crdPath+"?watch=true")
		p.events("w", 1)
		p.delete(crdPath+"/a", "")
		p.delete(crdPath+"/a", "")
		p.patch(crdPath+"/a", `[{"op":"add","path":"/metadata/finalizers/-","value":"example.com/g"}]`)
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/transitions","value":3}]`)
		p.patch(crdPath+"/a", `[{"op":"remove","path":"/metadata/finalizers"}]`)
		p.get(crdPath + "/a")
		p.events("w", 3)
	}},
	{"list", func(p *player) {
		p.get(crdPath)
		for _, name := range []string{"c", "a", "b"} {
			p.post(crdPath, lock(name, `"labels":{"kubelock.dev/holder":"`+name+`"}`, `{}`))
		}
		last := p.post(mapPath, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","labels":{"x":"y"}},"data":{"a":"b"}}`)
		p.get(mapPath + "?labelSelector=x%3Dy")
		p.get(crdPath)
		p.get(crdPath + "?labelSelector=kubelock.dev%2Fholder%3Db")
		p.get(crdPath + "?labelSelector=kubelock.dev%2Fholder+in+(a,c)")
		p.get(crdPath + "?labelSelector=%21kubelock.dev%2Fholder")
		p.get(crdPath + "?labelSelector=a%3D%3D%3Db")
		p.get(crdPath + "?fieldSelector=metadata.name%3Db")
		p.get(crdPath + "?fieldSelector=metadata.name%21%3Db")
		p.get(crdPath + "?fieldSelector=metadata.namespace%3D{ns}")
		p.get(crdPath + "?fieldSelector=spec.nothing%3Db")
		first := p.get(crdPath + "?limit=2")
		p.post(crdPath, lock("bb", "", `{}`))
		p.get(crdPath + "?limit=2&continue=" + metadata(first, "continue"))
		// Not the version of a list: that is the whole server's, and depends on other writes.
		p.get(crdPath + "?limit=2&resourceVersionMatch=Exact&resourceVersion=" + version(last))
		p.get(crdPath + "?resourceVersionMatch=Exact&resourceVersion=" + version(last))
		p.get(crdPath + "?resourceVersionMatch=NotOlderThan&resourceVersion=" + version(last))
		p.get(crdPath + "?resourceVersionMatch=NotOlderThan")
		p.get(crdPath + "?resourceVersionMatch=Exact&resourceVersion=0")
		p.get(crdPath + "?sendInitialEvents=true")
		p.get(crdPath + "?limit=2&labelSelector=kubelock.dev%2Fholder")
		p.do("DELETE", crdPath+"?labelSelector=kubelock.dev%2Fholder%3Da", "", "")
		p.get(crdPath)
	}},
	{"watch", func(p *player) {
		p.post(crdPath, lock("z", "", `{}`))
		p.watch("all", crdPath+"?watch=true")
		p.events("all", 1)
		p.watch("held by me", crdPath+"?watch=true&labelSelector=kubelock.dev%2Fholder%3Dme")
		p.watch("named a", crdPath+"?watch=true&fieldSelector=metadata.name%3Da")
		a := p.post(crdPath, lock("a", "", `{}`))
		p.patch(crdPath+"/a", `[{"op":"add","path":"/metadata/labels","value":{"kubelock.dev/holder":"me"}}]`)
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/transitions","value":1}]`)
		p.patch(crdPath+"/a", `[{"op":"remove","path":"/metadata/labels"},{"op":"replace","path":"/spec/transitions","value":2}]`)
		p.post(crdPath, lock("b", `"labels":{"kubelock.dev/holder":"me"}`, `{}`))
		p.patch(crdPath+"/b", `[{"op":"add","path":"/spec/transitions","value":1}]`)
		p.delete(crdPath+"/a", "")
		p.delete(crdPath+"/b", "")
		p.events("all", 8)
		p.events("held by me", 6)
		p.events("named a", 5)
		p.watch("since", crdPath+"?watch=true&resourceVersion="+version(a))
		p.events("since", 7)
		p.watch("since selected", crdPath+"?watch=true&labelSelector=kubelock.dev%2Fholder%3Dme&resourceVersion="+version(a))
		p.events("since selected", 6)
	}},
	{"watch list", func(p *player) {
		a := p.post(crdPath, lock("a", "", `{}`))
		p.post(crdPath, lock("b", "", `{}`))
		query := "?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
		p.watch("list", crdPath+query)
		p.events("list", 3)
		p.patch(crdPath+"/a", `[{"op":"add","path":"/spec/transitions","value":1}]`)
		p.events("list", 1)
		p.watch("selected", crdPath+query+"&fieldSelector=metadata.name%3Da")
		p.events("selected", 2)
		p.watch("since", crdPath+query+"&resourceVersion="+version(a))
		p.events("since", 3)
		p.watch("any", crdPath+query+"&resourceVersion=0")
		p.events("any", 3)
		p.watch("without", crdPath+"?watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion="+version(a))
		p.events("without", 2)
		p.watch("legacy", crdPath+"?watch=true&allowWatchBookmarks=true&resourceVersion=0")
		p.events("legacy", 3)
		p.get(crdPath + "?watch=true&sendInitialEvents=true")
		p.watch("configmaps", mapPath+query+"&labelSelector=nothing%3Dhere")
		p.events("configmaps", 1)
		p.watch("leases", leasePath+query)
		p.events("leases", 1)
	}},
	{"watch of a version that is forgotten", func(p *player) {
		// The real server has no history from before its start.
		p.watch("old", crdPath+"?watch=true&resourceVersion=1")
		p.event("old")
	}},
	{"read of what is no version", func(p *player) {
		p.get(crdPath + "/a?resourceVersion=x")
		p.get(crdPath + "?resourceVersion=x")
		p.get(crdPath + "?limit=1&continue=x")
		p.get(crdPath + "?limit=x")
	}},
	{"other resources", func(p *player) {
		pods := "/api/v1/namespaces/{ns}/pods"
		p.get(pods + "/absent")
		p.get(pods + "?fieldSelector=spec.nothing%3Da")
		p.get(pods + "?fieldSelector=spec.nodeName%3Da")
		p.get("/api/v1/namespaces/{ns}")
		p.post("/api/v1/namespaces", `{"metadata":{"name":"Bad_Name"}}`)
		p.post("/api/v1/namespaces", `{"metadata":{"name":"{ns}"}}`)
		p.post("/api/v1/namespaces", `{"metadata":{"name":"{ns}-other","labels":{"a":"b"}}}`)
		event := `{"metadata":{"name":"e"},"involvedObject":{"kind":"Lock","namespace":"{ns}","name":"a"},"reason":"Tested","message":"m","type":"Normal","count":1,"firstTimestamp":"2026-01-02T03:04:05Z","lastTimestamp":"2026-01-02T03:04:05Z"}`
		p.post("/api/v1/namespaces/{ns}/events", event)
		p.do("PATCH", "/api/v1/namespaces/{ns}/events/e", typeStrategic, `{"count":2}`)
		p.get("/api/v1/namespaces/{ns}/events?fieldSelector=involvedObject.name%3Da")
		p.get("/api/v1/namespaces/{ns}/events?fieldSelector=involvedObject.name%3Db")
	}},
	{"methods", func(p *player) {
		p.do("PUT", crdPath, typeJSON, lock("a", "", `{}`))
		p.do("PATCH", crdPath, typePatch, `[]`)
		p.get("/apis/kubelock.dev")
		p.get("/apis/nothing.example.com")
		p.get("/apis/nothing.example.com/v1")
	}},
}

// TestParity plays each sequence to a real API server and to this one.
func TestParity(t *testing.T) {
	env.NeedsControlPlane(t)
	for i, sequence := range sequences {
		t.Run(sequence.name, func(t *testing.T) {
			namespace := env.Namespace(t)
			actual := newPlayer(t, env.Config, namespace)
			sequence.play(actual)

			server := memapi.New(memapi.Options{
				CRDs: []*memapi.CRD{locks()}, Namespaces: []string{namespace}, FirstResourceVersion: 100000 + int64(i),
			})
			server.Compact()
			mine := newPlayer(t, server.Config(), namespace)
			sequence.play(mine)

			want, got := actual.transcript(), mine.transcript()
			for i := range max(len(want), len(got)) {
				w, g := "nothing", "nothing"
				if i < len(want) {
					w = want[i]
				}
				if i < len(got) {
					g = got[i]
				}
				if w != g {
					t.Errorf("entry %d: %s", i, difference(w, g))
				}
			}
		})
	}
}
