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

package components_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

var (
	env *testenv.Env
	// installed is why the manifests are not; nil if they are.
	installed error
)

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, func(e *testenv.Env) {
		env = e
		installed = errors.Join(e.Deploy(context.Background()), install(context.Background()))
	}))
}

// install applies what config/default lacks.
func install(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, path := range []string{"leases/user_role.yaml", "configmaps/user_role.yaml"} {
		if out, err := env.Kubectl(ctx, "", "apply", "-f", "config/components/"+path); err != nil {
			return fmt.Errorf("kubectl apply: %w: %s", err, out)
		}
	}
	return nil
}

// patience bounds what must happen but may take long on a loaded machine.
const patience = 60 * time.Second

// within returns a context for a call that must come to an end.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// backends are the kinds of objects that locks are kept in, and the roles for them.
var backends = []struct {
	backend  kubelock.Backend
	resource schema.GroupResource
	role     string
}{
	{kubelock.DistributedLocks, schema.GroupResource{Group: "kubelock.dev", Resource: "distributedlocks"}, "kubelock-user"},
	{kubelock.Leases, schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}, "kubelock-leases-user"},
	{kubelock.ConfigMaps, schema.GroupResource{Resource: "configmaps"}, "kubelock-configmaps-user"},
}

// program returns the client of a program with that configuration.
func program(t testing.TB, config *rest.Config, cfg kubelock.Config) *kubelock.Client {
	t.Helper()
	c, err := kubelock.NewClient(config, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
