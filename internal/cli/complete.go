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
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// completionTimeout bounds what a person waits for after the Tab key.
const completionTimeout = 5 * time.Second

// endOfFlags is what stands before a key that begins with -.
const endOfFlags = "--"

// completeKey offers the keys of the locks that there are; after the key, files. A key that begins with - is
// offered after --, since it would be taken for a flag otherwise, and -- where there is such a key.
func (o *options) completeKey(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	keys, err := o.keys(ctx)
	// Cobra tells neither whether -- was typed nor, of a word that looks like a flag, what is before its "=".
	if last := len(o.typed) - 1; last > 0 && slices.Contains(o.typed[:last], endOfFlags) {
		return offer(keys, o.typed[last], err)
	}
	all := len(keys)
	if keys = slices.DeleteFunc(keys, likeFlag); len(keys) < all {
		keys = append(keys, cobra.CompletionWithDesc(endOfFlags, "before a key that begins with -"))
	}
	return offer(keys, begun, err)
}

// likeFlag reports whether a key would be taken for a flag.
func likeFlag(key string) bool { return strings.HasPrefix(key, "-") }

// keys are those of all locks of a kind in the namespace.
func (o *options) keys(ctx context.Context) ([]string, error) {
	kind, _, err := o.kind()
	if err != nil {
		return nil, err
	}
	r, err := o.reader(false)
	if err != nil {
		return nil, err
	}
	rows, err := r.list(ctx, kind)
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(rows))
	for _, row := range rows {
		// A shell reads one key per line, and a description behind a tab.
		if !strings.ContainsFunc(row.Key, unicode.IsControl) {
			keys = append(keys, row.Key)
		}
	}
	return keys, nil
}

// completeNamespace offers the namespaces that there are.
func (o *options) completeNamespace(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	names, err := o.namespaces(ctx)
	return offer(names, begun, err)
}

func (o *options) namespaces(ctx context.Context) ([]string, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	list, err := c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, nil
}

// offer keeps of names those that begin as the word does.
func offer(names []string, begun string, err error) ([]string, cobra.ShellCompDirective) {
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var offered []string
	for _, name := range names {
		if strings.HasPrefix(name, begun) {
			offered = append(offered, name)
		}
	}
	return offered, cobra.ShellCompDirectiveNoFileComp
}

// complete has a flag completed. It panics if there is no such flag, which is a fault of this
// program.
func complete(cmd *cobra.Command, flag string, by cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, by); err != nil {
		panic(err)
	}
}

// outputFlag binds -o with its values, of which the first is the default.
func outputFlag(cmd *cobra.Command, p *string, usage string, values ...string) {
	cmd.Flags().StringVarP(p, "output", "o", values[0], usage)
	complete(cmd, "output", cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}
