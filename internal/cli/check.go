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
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/cli/view"
	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

type check struct {
	*options
	reaperNamespace string
	timeout         time.Duration

	// Set when the command runs.
	kind      store.Kind
	backend   kubelock.Backend
	namespace string
	reader    *reader // tells the server's time by all that is asked
	clients   kubernetes.Interface
}

func newCheck(o *options) *cobra.Command {
	c := &check{options: o}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Find out whether locks work here, and what to do if not",
		Long: `Look at whatever locks in a namespace need: the kind of object that they are kept in, your
permissions, the reaper, the API server's clock, and at last a lock that is acquired, released
and deleted. Each finding is ok, a warning (locks work, but not all that goes with them) or
a fault (locks do not work); warnings and faults come with a remedy.

The exit code is 0 if there is no fault, and 78 if there is one.`,
		Example: `  # Can I use locks in this namespace?
  kubectl dlock check

  # Those that are kept in Leases
  kubectl dlock check --backend Leases`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&c.reaperNamespace, "reaper-namespace", "kubelock-system", "The namespace that the reaper runs in.")
	flags.DurationVar(&c.timeout, "timeout", 15*time.Second, "How long each step of the lock that is tried may take.")
	return cmd
}

func (c *check) run(ctx context.Context) error {
	if c.timeout <= 0 {
		return usage("--timeout must be positive, is %v", c.timeout)
	}
	var err error
	if c.kind, c.backend, err = c.options.kind(); err != nil {
		return err
	}
	if c.reader, err = c.options.reader(false); err != nil {
		return err
	}
	c.namespace = c.reader.namespace
	if c.clients, err = kubernetes.NewForConfigAndClient(rest.CopyConfig(c.reader.config), c.reader.http); err != nil {
		return err
	}
	findings := c.findings(ctx)
	if ctx.Err() != nil { // What is found then tells nothing of the cluster.
		return because(ctx, ctx.Err())
	}
	if err := view.Findings(c.Out, findings); err != nil {
		return err
	}
	faults := 0
	for _, f := range findings {
		if f.Grade == view.Fault {
			faults++
		}
	}
	if faults > 0 {
		return &exitError{code: exitFault, err: fmt.Errorf("%d of %d findings are faults", faults, len(findings))}
	}
	return nil
}

// findings looks at one thing after the other. What cannot be looked at because of an
// earlier fault is left out.
func (c *check) findings(ctx context.Context) []view.Finding {
	found := []view.Finding{c.apiServer(ctx)}
	if found[0].Grade == view.Fault {
		return found
	}
	served := c.served(ctx)
	found = append(found, served)
	if served.Grade == view.Fault {
		return append(found, c.clock(ctx))
	}
	permissions := c.permissions(ctx)
	found = append(found, permissions...)
	found = append(found, c.reaper(ctx)...)
	found = append(found, c.clock(ctx))
	for _, f := range permissions {
		if f.Grade == view.Fault { // A lock might be left behind.
			return append(found, warn("round trip", "no lock was tried, because permissions are missing", f.Remedy))
		}
	}
	return append(found, c.roundTrip(ctx))
}

// apiServer asks for the API server's version.
func (c *check) apiServer(ctx context.Context) view.Finding {
	var version struct{ GitVersion string }
	err := c.ask(ctx, "/version", &version)
	switch {
	case apierrors.IsUnauthorized(err):
		return fail("API server", err.Error(), "Log in again, or choose another user with --context or --user.")
	case err != nil:
		return fail("API server", err.Error(), "See whether \"kubectl version\" reaches it; choose another cluster with --context or --server.")
	}
	return fine("API server", fmt.Sprintf("%s at %s", version.GitVersion, c.reader.config.Host))
}

// fine is what a look has found that is as it should be.
func fine(about, text string) view.Finding {
	return view.Finding{Grade: view.Good, About: about, Text: text}
}

// warn is what a look has found that locks work without.
func warn(about, text, remedy string) view.Finding {
	return view.Finding{Grade: view.Warning, About: about, Text: text, Remedy: remedy}
}

// fail is what a look has found that locks do not work with.
func fail(about, text, remedy string) view.Finding {
	return view.Finding{Grade: view.Fault, About: about, Text: text, Remedy: remedy}
}

// ask reads what the API server has at a path.
func (c *check) ask(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	text, err := c.clients.Discovery().RESTClient().Get().AbsPath(path).Do(ctx).Raw()
	if err != nil {
		return err
	}
	return decode(text, into)
}
