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

// Command apidocs prints the reference of the API as Markdown. It has each field of the
// CustomResourceDefinition with its type, its bounds and its description.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubelock/kubelock/config/crd"
)

func main() {
	if err := write(os.Stdout, crd.DistributedLocks); err != nil {
		fmt.Fprintln(os.Stderr, "apidocs:", err)
		os.Exit(1)
	}
}

// write prints the reference of a CustomResourceDefinition, given as YAML.
func write(out io.Writer, definition []byte) error {
	var d apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(definition, &d); err != nil {
		return err
	}
	var b strings.Builder
	names := d.Spec.Names
	fmt.Fprintf(&b, "# API reference\n\nGenerated from `config/crd` by `make generate`; the text is that of `api/v1alpha1`.\n")
	for _, version := range d.Spec.Versions {
		fmt.Fprintf(&b, "\n## %s, %s/%s\n\n", names.Kind, d.Spec.Group, version.Name)
		fmt.Fprintf(&b, "Resource `%s`, short name `%s`.\n", names.Plural, strings.Join(names.ShortNames, "`, `"))
		root := version.Schema.OpenAPIV3Schema
		fmt.Fprintf(&b, "\n%s\n", root.Description)
		for _, field := range sorted(root.Properties) {
			if schema := root.Properties[field]; schema.Properties != nil {
				object(&b, field, &schema)
			}
		}
		columns(&b, version.AdditionalPrinterColumns)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// object prints the fields of an object, and then the objects in it.
func object(b *strings.Builder, path string, schema *apiextensionsv1.JSONSchemaProps) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n| field | type | description |\n|---|---|---|\n", path, schema.Description)
	fields := sorted(schema.Properties)
	for _, name := range fields {
		field := schema.Properties[name]
		kind := typeOf(&field)
		if slices.Contains(schema.Required, name) {
			kind += ", required"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, cell(kind), cell(field.Description))
	}
	rules(b, schema)
	for _, name := range fields {
		if field := schema.Properties[name]; field.Properties != nil {
			object(b, path+"."+name, &field)
		}
	}
}

// typeOf returns a field's type and the bounds of its value.
func typeOf(field *apiextensionsv1.JSONSchemaProps) string {
	parts := []string{field.Type}
	if field.Format != "" {
		parts[0] += " (" + field.Format + ")"
	}
	if field.Items != nil && field.Items.Schema != nil {
		parts[0] += " of (" + typeOf(field.Items.Schema) + ")"
	}
	add := func(bound string, n *int64, unit string) {
		switch {
		case n == nil:
		case *n == 1:
			parts = append(parts, fmt.Sprintf("%s 1 %s", bound, unit))
		default:
			parts = append(parts, fmt.Sprintf("%s %d %ss", bound, *n, unit))
		}
	}
	add("at least", field.MinLength, "character")
	add("at most", field.MaxLength, "character")
	add("at least", field.MinItems, "item")
	add("at most", field.MaxItems, "item")
	if field.Minimum != nil {
		parts = append(parts, fmt.Sprintf("at least %v", int64(*field.Minimum)))
	}
	if field.Maximum != nil {
		parts = append(parts, fmt.Sprintf("at most %v", int64(*field.Maximum)))
	}
	for _, value := range field.Enum {
		var text string
		if json.Unmarshal(value.Raw, &text) != nil {
			text = string(value.Raw)
		}
		parts = append(parts, "`"+text+"`")
	}
	if field.Default != nil {
		parts = append(parts, "default `"+string(field.Default.Raw)+"`")
	}
	for _, rule := range field.XValidations {
		parts = append(parts, rule.Message)
	}
	return strings.Join(parts, ", ")
}

// rules prints the rules that the API server checks for an object as a whole.
func rules(b *strings.Builder, schema *apiextensionsv1.JSONSchemaProps) {
	if len(schema.XValidations) == 0 {
		return
	}
	b.WriteString("\nThe API server also checks these rules:\n\n")
	for _, rule := range schema.XValidations {
		where := ""
		if rule.FieldPath != "" {
			where = "`" + strings.TrimPrefix(rule.FieldPath, ".") + "` "
		}
		fmt.Fprintf(b, "* %s%s\n", where, rule.Message)
	}
}

func columns(b *strings.Builder, columns []apiextensionsv1.CustomResourceColumnDefinition) {
	fmt.Fprintf(b, "\n### Columns of kubectl get\n\n| column | shown | content |\n|---|---|---|\n")
	for _, column := range columns {
		shown := "always"
		if column.Priority > 0 {
			shown = "`-o wide`"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", column.Name, shown, cell(cmp.Or(column.Description, column.JSONPath)))
	}
}

func sorted(fields map[string]apiextensionsv1.JSONSchemaProps) []string {
	return slices.Sorted(maps.Keys(fields))
}

// cell returns text for a cell of a table.
func cell(text string) string {
	parts := strings.Split(text, "`")
	for i := 0; i < len(parts); i += 2 { // Between them is code.
		parts[i] = strings.ReplaceAll(parts[i], "<", "&lt;")
	}
	text = strings.Join(parts, "`")
	text = strings.ReplaceAll(text, "\n\n", "<br>")
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
