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

package cli

import (
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
)

// templateFormats are those of cli-runtime whose value has a template behind an equals sign.
var templateFormats = []string{"jsonpath", "jsonpath-as-json", "jsonpath-file", "go-template", "go-template-file"}

// output is how a command prints locks: in one of its own formats, or by a template as kubectl
// takes them.
type output struct {
	format   string
	own      []string
	template printers.ResourcePrinter // nil for a format of its own
}

// bind binds -o with its own formats, of which the first is the default.
func (p *output) bind(cmd *cobra.Command, usage string, own ...string) {
	p.own = own
	cmd.Flags().StringVarP(&p.format, "output", "o", own[0], usage+" As in kubectl also "+strings.Join(templateFormats, "=..., ")+"=....")
	complete(cmd, "output", func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		all := slices.Clone(own)
		for _, format := range templateFormats {
			all = append(all, format+"=")
		}
		offered, directive := offer(all, begun, nil)
		if len(offered) > 0 && !slices.ContainsFunc(offered, func(format string) bool { return slices.Contains(own, format) }) {
			directive |= cobra.ShellCompDirectiveNoSpace // The template follows.
		}
		return offered, directive
	})
}

// check reads the flag. Its error is that of wrong usage.
func (p *output) check() error {
	if slices.Contains(p.own, p.format) {
		return nil
	}
	format, _, _ := strings.Cut(p.format, "=")
	if !slices.Contains(templateFormats, format) {
		return oneOf("output", p.format, append(slices.Clone(p.own), templateFormats...)...)
	}
	template, err := genericclioptions.NewKubeTemplatePrintFlags().ToPrinter(p.format)
	if err != nil {
		return usage("--output %q: %w", p.format, err)
	}
	p.template = template
	return nil
}

// write prints by the template what JSON has of v.
func (p *output) write(out io.Writer, v any) error {
	fields, err := fieldsOf(v)
	if err != nil {
		return err
	}
	return p.template.PrintObj(&unstructured.Unstructured{Object: fields}, out)
}

// fieldsOf are the fields that JSON has of v; its integers stay integers.
func fieldsOf(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	err = utiljson.Unmarshal(text, &fields)
	return fields, err
}
