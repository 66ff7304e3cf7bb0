//go:build unix

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

package cli_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/template"

	"golang.org/x/mod/semver"
	"sigs.k8s.io/yaml"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
)

// TestKrewManifest checks krew's rules for manifests, by hand: its packages are not a
// dependency. See krew.sigs.k8s.io/docs/developer-guide/plugin-manifest.
func TestKrewManifest(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(env.Root, ".krew.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	release := struct{ TagName string }{"v1.2.3"}
	parsed, err := template.New("").Funcs(template.FuncMap{"addURIAndSha": func(uri, tag string) (string, error) {
		var filled bytes.Buffer // The bot fills the address in, too.
		address, err := template.New("").Parse(uri)
		if err != nil {
			return "", err
		}
		err = address.Execute(&filled, struct{ TagName string }{tag})
		return "uri: " + filled.String() + "\n    sha256: " + strings.Repeat("0f", 32), err
	}}).Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.Execute(&out, release); err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Spec struct {
			Version          string `json:"version"`
			Homepage         string `json:"homepage"`
			ShortDescription string `json:"shortDescription"`
			Description      string `json:"description"`
			Caveats          string `json:"caveats"`
			Platforms        []struct {
				URI      string `json:"uri"`
				Sha256   string `json:"sha256"`
				Bin      string `json:"bin"`
				Selector struct {
					MatchLabels map[string]string `json:"matchLabels"`
				} `json:"selector"`
			} `json:"platforms"`
		} `json:"spec"`
	}
	if err := yaml.UnmarshalStrict(out.Bytes(), &manifest); err != nil { // Krew reads it strictly, too.
		t.Fatalf("%v in\n%s", err, out.String())
	}
	spec := manifest.Spec
	if manifest.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || manifest.Kind != "Plugin" || manifest.Metadata.Name != "dlock" {
		t.Errorf("it is a %s %s of %q", manifest.APIVersion, manifest.Kind, manifest.Metadata.Name)
	}
	if !semver.IsValid(spec.Version) || spec.Version != release.TagName {
		t.Errorf("the version is %q", spec.Version)
	}
	// Krew's index wants it short, and without the words that say what every plugin is.
	if s := spec.ShortDescription; s == "" || len(s) > 50 || strings.ContainsAny(s, "\n\r") || strings.HasSuffix(s, ".") || strings.Contains(s, "kubectl") {
		t.Errorf("the short description is %q", s)
	}
	seen := map[string]bool{}
	for _, p := range spec.Platforms {
		platform := p.Selector.MatchLabels["os"] + "_" + p.Selector.MatchLabels["arch"]
		if seen[platform] || len(p.Selector.MatchLabels) != 2 {
			t.Errorf("the platform %v is selected twice, or not", p.Selector.MatchLabels)
		}
		seen[platform] = true
		bin := "kubectl-dlock"
		if strings.HasPrefix(platform, "windows") {
			bin += ".exe"
		}
		if !strings.HasSuffix(p.URI, "/v1.2.3/dlock_"+platform+".tar.gz") || !regexp.MustCompile("^[0-9a-f]{64}$").MatchString(p.Sha256) || p.Bin != bin {
			t.Errorf("of %s it has %+v", platform, p)
		}
	}
	makefile, err := os.ReadFile(filepath.Join(env.Root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	built := regexp.MustCompile(`(?m)^ARCHIVES \?= (.*)$`).FindStringSubmatch(string(makefile))
	if len(built) != 2 || len(strings.Fields(built[1])) != len(seen) {
		t.Fatalf("the Makefile builds %q, the manifest has %v", built, seen)
	}
	for platform := range strings.FieldsSeq(built[1]) {
		if !seen[platform] {
			t.Errorf("the Makefile builds %s, which the manifest has not", platform)
		}
	}
}

// TestShellCompletion gives shells their scripts, and kubectl its helper.
func TestShellCompletion(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	dlock(t, ns, "run", "nightly/backup", "--", "true").want(t, 0)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := dlock(t, ns, "completion", shell)
		script.want(t, 0)
		if path, err := exec.LookPath(shell); err == nil {
			check := exec.CommandContext(within(t, patience), path, "-n") // Reads, and runs nothing.
			check.Stdin = strings.NewReader(script.out)
			finish(t, check).want(t, 0)
		} else {
			t.Logf("no %s here to read its script", shell)
		}
		if !strings.Contains(script.out, "__complete") {
			t.Errorf("the script for %s does not ask the plugin", shell)
		}
	}
	kubectl, err := assets.Find(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	complete := exec.CommandContext(within(t, patience), filepath.Join(kubectl, "kubectl"), "__complete", "dlock", "run", "-n", ns, "nig")
	complete.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig(),
		"PATH="+filepath.Join(env.Root, "cmd", "kubectl-dlock")+":"+filepath.Dir(plugin)+":"+os.Getenv("PATH"))
	if r := finish(t, complete); !strings.HasPrefix(r.out, "nightly/backup\n:") {
		t.Errorf("kubectl completes %q %s", r.out, r.err)
	}
}
