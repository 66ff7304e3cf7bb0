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

package assets

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// TestFindVersionBuildsAnotherOne checks the generated module of another version of Kubernetes, that
// KUBEBUILDER_ASSETS is not used instead, and that the version is built only once.
func TestFindVersionBuildsAnotherOne(t *testing.T) {
	upstream := filepath.Join(t.TempDir(), "go.mod")
	if err := os.WriteFile(upstream, []byte(`module k8s.io/kubernetes

go 1.24.0

require (
	example.com/other v1.2.3
	k8s.io/api v0.0.0
	k8s.io/client-go v0.0.0
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/client-go => ./staging/src/k8s.io/client-go
)
`), 0o600); err != nil {
		t.Fatal(err)
	}
	cache, log := fakeGo(t, `
if [ "$1 $2 $4" = "mod download k8s.io/kubernetes@v1.34.4" ]; then
	echo '{"GoMod": "`+upstream+`"}'
	exit 0
fi
case "$*" in *cmd/kube*) echo "$*" | grep -q -e " -mod=mod " || exit 1;; esac
`+builds)
	t.Setenv(EnvAssets, "/nowhere")
	dir, err := FindVersion(t.Context(), "v1.34.4", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(filepath.Base(dir), "v1.34.4-etcd-") || len(missingIn(dir)) > 0 {
		t.Errorf("it is in %s, which lacks %q", dir, missingIn(dir))
	}
	text, err := os.ReadFile(filepath.Join(cache, "src", "v1.34.4", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	for _, want := range []string{
		"require k8s.io/kubernetes v1.34.4\n", "k8s.io/api => k8s.io/api v0.34.4\n", "k8s.io/client-go => k8s.io/client-go v0.34.4\n", "godebug default=go1.24\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the module lacks %q:\n%s", want, text)
		}
	}
	if len(mod.Require) != 1 {
		t.Errorf("the module requires %v", mod.Require)
	}
	if again, err := FindVersion(t.Context(), "v1.34.4", io.Discard); err != nil || again != dir {
		t.Errorf("the second call gives %q, %v; want %q", again, err, dir)
	}
	if built, err := os.ReadFile(log); err != nil || len(strings.Fields(string(built))) != len(programs) {
		t.Errorf("built %q, %v; want each program once", built, err)
	}
}

// TestFindVersionRefuses checks an invalid version, and one that the proxy does not have.
func TestFindVersionRefuses(t *testing.T) {
	fakeGo(t, `
[ "$1" = mod ] || exit 1
echo '{"Error": "unknown revision v1.34.99"}'
exit 1
`)
	for _, version := range []string{"1.34.4", "v1.34", "v2.0.0", "latest", "v0.34.4"} {
		if _, err := FindVersion(t.Context(), version, io.Discard); err == nil || !strings.Contains(err.Error(), "is no version of Kubernetes: name one with its patch, such as v1.") {
			t.Errorf("%q gives %v", version, err)
		}
	}
	if _, err := FindVersion(t.Context(), "v1.34.99", io.Discard); err == nil || !strings.Contains(err.Error(), "unknown revision v1.34.99") {
		t.Errorf("a version that there is not gives %v", err)
	}
}
