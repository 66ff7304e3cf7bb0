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

// Command krew prints the manifest of the kubectl plugin for krew's index. It fills in .krew.yaml for a tag,
// with the hashes of the archives in a folder. The bot of the release workflow does the same with the published
// archives.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"text/template"

	"sigs.k8s.io/yaml"
)

func main() {
	const arguments = 3
	if len(os.Args) != arguments {
		fmt.Fprintln(os.Stderr, "usage: krew TAG ARCHIVES, in the project's root folder")
		os.Exit(1)
	}
	source, err := os.ReadFile(".krew.yaml")
	if err == nil {
		var manifest []byte
		if manifest, err = render(string(source), os.Args[1], os.Args[2]); err == nil {
			_, err = os.Stdout.Write(manifest)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}

// render fills in the template. Every archive of the template must be in the folder, and every archive of the
// folder must be in the template.
func render(source, tag, folder string) ([]byte, error) {
	release := struct{ TagName string }{tag}
	named := map[string]bool{}
	parsed, err := template.New(".krew.yaml").Funcs(template.FuncMap{"addURIAndSha": func(uri, tag string) (string, error) {
		address, err := template.New("uri").Parse(uri)
		if err != nil {
			return "", err
		}
		var filled bytes.Buffer
		if err := address.Execute(&filled, struct{ TagName string }{tag}); err != nil {
			return "", err
		}
		archive := path.Base(filled.String())
		content, err := os.ReadFile(filepath.Join(folder, archive))
		if err != nil {
			return "", err
		}
		named[archive] = true
		return fmt.Sprintf("uri: %s\n    sha256: %x", filled.String(), sha256.Sum256(content)), nil
	}}).Parse(source)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, release); err != nil {
		return nil, err
	}
	archives, err := filepath.Glob(filepath.Join(folder, "*.tar.gz"))
	if err != nil {
		return nil, err
	}
	for _, archive := range archives {
		if base := filepath.Base(archive); !named[base] {
			err = errors.Join(err, fmt.Errorf(".krew.yaml does not name %s", base))
		}
	}
	if err != nil {
		return nil, err
	}
	var manifest map[string]any
	if err := yaml.UnmarshalStrict(out.Bytes(), &manifest); err != nil {
		return nil, fmt.Errorf("the manifest is no YAML: %w", err)
	}
	return out.Bytes(), nil
}
