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
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// fieldManager is that of writes which the library does not do. It is their user agent, too,
// which the API server takes it from where it is not named.
const fieldManager = "kubectl-dlock"

// backends are the kinds of object that locks are kept in, by the name of the library's
// Backend.
var backends = []struct {
	name kubelock.Backend
	kind store.Kind
}{
	{kubelock.DistributedLocks, store.DistributedLocks},
	{kubelock.Leases, store.Leases},
	{kubelock.ConfigMaps, store.ConfigMaps},
}

// options are what all commands share.
type options struct {
	genericiooptions.IOStreams
	flags    *genericclioptions.ConfigFlags
	backend  string
	identity string
	quiet    bool
	server   server   // what all requests tell of it
	typed    []string // the command line that a shell asks to complete
}

func newOptions(streams genericiooptions.IOStreams) *options {
	return &options{IOStreams: streams, flags: genericclioptions.NewConfigFlags(false)}
}

func (o *options) bind(root *cobra.Command) {
	flags := root.PersistentFlags()
	o.flags.AddFlags(flags)
	flags.StringVar(&o.backend, "backend", "", "The kind of object that locks are kept in: DistributedLocks (the default), Leases or ConfigMaps.")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "Do not tell on standard error what is waited for.")
	flags.StringVar(&o.identity, "identity", "", "Who is shown as a lock's holder. The default is $POD_NAME, or else user@host; "+
		"where the admission policies refuse that, the name by which the API server knows you.")
}

// kind is the kind of object of a command for one lock.
func (o *options) kind() (store.Kind, kubelock.Backend, error) {
	if o.backend == "" {
		return store.DistributedLocks, kubelock.DistributedLocks, nil
	}
	var names []string
	for _, b := range backends {
		if strings.EqualFold(o.backend, string(b.name)) {
			return b.kind, b.name, nil
		}
		names = append(names, string(b.name))
	}
	return nil, "", usage("--backend %q is unknown, use one of %s", o.backend, strings.Join(names, ", "))
}

// kinds are the kinds of object of a command that looks at many locks.
func (o *options) kinds() ([]store.Kind, error) {
	if o.backend != "" {
		kind, _, err := o.kind()
		return []store.Kind{kind}, err
	}
	kinds := make([]store.Kind, 0, len(backends))
	for _, b := range backends {
		kinds = append(kinds, b.kind)
	}
	return kinds, nil
}

// namespace is where a command for one lock looks.
func (o *options) namespace() (string, error) {
	ns, _, err := o.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", err
	}
	if bad := validation.IsDNS1123Label(ns); len(bad) > 0 {
		return "", usage("the namespace %q is not valid: %s", ns, strings.Join(bad, "; "))
	}
	return ns, nil
}

func (o *options) config() (*rest.Config, error) {
	config, err := o.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("no configuration for the API server: set KUBECONFIG or --kubeconfig: %w", err)
	}
	config.QPS = -1 // The API server's priority and fairness is the limit.
	config.UserAgent = fieldManager
	config.WarningHandler = rest.NewWarningWriter(o.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
	config.Wrap(o.server.transport)
	return config, nil
}

// client returns the library's client. Its caller closes it.
func (o *options) client() (*kubelock.Client, error) { return o.clientAs(o.holder()) }

// clientAs returns the library's client with an identity. Its caller closes it.
func (o *options) clientAs(identity string) (*kubelock.Client, error) {
	_, backend, err := o.kind()
	if err != nil {
		return nil, err
	}
	ns, err := o.namespace()
	if err != nil {
		return nil, err
	}
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	if len(identity) > validation.DNS1123SubdomainMaxLength {
		return nil, usage("--identity must have at most %d bytes, has %d", validation.DNS1123SubdomainMaxLength, len(identity))
	}
	return kubelock.NewClient(config, kubelock.Config{Namespace: ns, Backend: backend, Identity: identity})
}

// within bounds ctx by a timeout; 0 waits for ever.
func within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc, error) {
	switch {
	case timeout < 0:
		return nil, nil, usage("--timeout must not be negative, is %v; 0 waits for ever", timeout)
	case timeout == 0:
		return ctx, func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	return ctx, cancel, nil
}

// oneOf checks the value of a flag.
func oneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return usage("--%s %q is unknown, use one of %s", flag, value, strings.Join(allowed, ", "))
}
