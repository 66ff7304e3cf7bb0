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
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubelock/kubelock/internal/cli/view"
)

// output is how a command prints locks: in one of its own formats, or by a template as kubectl
// takes them.
type output struct {
	format   string
	own      []string
	template *view.Template // nil for a format of its own
}

// bind binds -o with its own formats, of which the first is the default.
func (p *output) bind(cmd *cobra.Command, usage string, own ...string) {
	p.own = own
	cmd.Flags().StringVarP(&p.format, "output", "o", own[0], usage+" As in kubectl also "+strings.Join(view.TemplateFormats(), "=..., ")+"=....")
	complete(cmd, "output", func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		all := slices.Clone(own)
		for _, format := range view.TemplateFormats() {
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
	if !slices.Contains(view.TemplateFormats(), format) {
		return oneOf("output", p.format, append(slices.Clone(p.own), view.TemplateFormats()...)...)
	}
	template, err := view.NewTemplate(p.format)
	if err != nil {
		return usage("--output %q: %w", p.format, err)
	}
	p.template = template
	return nil
}

// document prints v for programs, by the template, as YAML or as JSON; stream is set for one of several.
func (p *output) document(out io.Writer, v any, stream bool) error {
	switch {
	case p.template != nil:
		return p.template.Write(out, v)
	case p.format == "yaml":
		return view.YAML(out, v, stream)
	}
	return view.JSON(out, v, stream)
}
