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

package view

import (
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"
)

// JSON writes v as a document of several lines or, as one of a stream, in one line.
func JSON(out io.Writer, v any, stream bool) error {
	encoder := json.NewEncoder(out)
	if !stream {
		encoder.SetIndent("", "  ")
	}
	return encoder.Encode(v)
}

// YAML writes v as a document; as one of a stream, below a line that begins it.
func YAML(out io.Writer, v any, stream bool) error {
	text, err := yaml.Marshal(v)
	if err == nil && stream {
		_, err = fmt.Fprintln(out, "---")
	}
	if err == nil {
		_, err = out.Write(text)
	}
	return err
}

// Names writes the objects' names as kubectl takes them, one per line.
func Names(out io.Writer, locks []Lock) error {
	for _, l := range locks {
		if _, err := fmt.Fprintf(out, "%s/%s\n", l.Resource, l.Name); err != nil {
			return err
		}
	}
	return nil
}

// List is locks as kubectl prints objects of several kinds.
type List struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Items      []Lock `json:"items"`
}

// ListOf returns the List of these locks.
func ListOf(locks []Lock) List { return List{APIVersion: "v1", Kind: "List", Items: locks} }

// TemplateFormats returns the formats whose value has a template behind an equals sign.
func TemplateFormats() []string {
	return []string{"jsonpath", "jsonpath-as-json", "jsonpath-file", "go-template", "go-template-file"}
}

// Template is a template as kubectl takes them.
type Template struct{ printer printers.ResourcePrinter }

// NewTemplate reads one of TemplateFormats with its template, such as jsonpath={.key}.
func NewTemplate(format string) (*Template, error) {
	printer, err := genericclioptions.NewKubeTemplatePrintFlags().ToPrinter(format)
	if err != nil {
		return nil, err
	}
	return &Template{printer}, nil
}

// Write prints by the template what JSON has of v.
func (t *Template) Write(out io.Writer, v any) error {
	fields, err := Fields(v)
	if err != nil {
		return err
	}
	return t.printer.PrintObj(&unstructured.Unstructured{Object: fields}, out)
}

// Fields returns the fields that JSON has of v. Its integers stay integers.
func Fields(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	err = utiljson.Unmarshal(text, &fields)
	return fields, err
}
