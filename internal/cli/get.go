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
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

type get struct {
	*options
	output output
}

func newGet(o *options) *cobra.Command {
	g := &get{options: o}
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print a lock's state",
		Long: `Print the state that is stored with a lock, as JSON, whether somebody holds it or not.
With -o json or yaml print everything that is known of the lock: its holder and token, its
queue, how its last hold ended. A template, as kubectl takes them, prints fields of that.

The exit code is 66 if there is no such lock, or it has no state.`,
		Example: `  # The state
  kubectl dlock get orders

  # Everything, with the fencing token and the holder
  kubectl dlock get orders -o json

  # Who holds it
  kubectl dlock get orders -o jsonpath='{.holder.identity}'`,
		Args:              oneKey,
		ValidArgsFunction: o.completeKey,
		RunE:              func(cmd *cobra.Command, args []string) error { return g.run(cmd.Context(), args[0]) },
	}
	g.output.bind(cmd, "What to print: the value, or everything as json or yaml.", "value", "json", "yaml")
	return cmd
}

func (g *get) run(ctx context.Context, key string) error {
	if err := g.output.check(); err != nil {
		return err
	}
	l, err := g.lock(key)
	if err != nil {
		return err
	}
	r, err := l.mustExist(ctx)
	if err != nil {
		return err
	}
	if g.output.format != "value" {
		return g.output.document(g.Out, viewOf(l.kind, r), false)
	}
	if r.Value == nil {
		return &exitError{code: exitNothing, err: fmt.Errorf("the lock %q has no state: \"kubectl dlock set\" writes one", key)}
	}
	if !json.Valid([]byte(*r.Value)) {
		return editedState(key)
	}
	_, err = io.WriteString(g.Out, *r.Value+"\n")
	return err
}
