//go:build unix

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

package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubelock/kubelock/api/v1alpha1"
)

// asking writes a kubeconfig whose credentials a program prints, anew for each request, after
// what script does.
func asking(t *testing.T, account *rest.Config, mode clientcmdapi.ExecInteractiveMode, script string) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "credentials")
	text := fmt.Sprintf("#!/bin/sh\n%s\n"+
		`echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s","expirationTimestamp":"2020-01-01T00:00:00Z"}}'`,
		script, account.BearerToken)
	if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: account.Host, CertificateAuthorityData: account.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1", Command: program, InteractiveMode: mode,
	}}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "c"
	file := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestTerminalStaysTheCommands has what prints credentials ask for something on the terminal in the
// middle of a hold: the keys go to the command.
func TestTerminalStaysTheCommands(t *testing.T) {
	t.Parallel()
	deploy(t) // The role.
	ns := env.Namespace(t)
	may := authorizationv1.ResourceAttributes{Verb: "create", Group: "kubelock.dev", Resource: "distributedlocks"}
	account := env.AccountIn(t, ns, "kubelock-user", may)
	dir := t.TempDir()
	file := asking(t, account, clientcmdapi.IfAvailableExecInteractiveMode, fmt.Sprintf(`cd %s
		test -t 0 && echo >>interactive
		if test -e begun && ! test -e ended; then head -c 1 >>taken; echo >>asked; fi`, dir))
	cmd := command(t, ns, "run", "k", "--duration", "3s", "--", "sh", "-c",
		`touch "$DIR/begun"; while ! test -s "$DIR/asked"; do sleep 0.1; done; echo asked; read line; echo "read <$line>"; touch "$DIR/ended"; exit 4`)
	cmd.Env = append(cmd.Env, "KUBECONFIG="+file, "DIR="+dir)
	r, keyboard := atTerminal(t, cmd)
	r.until(t, "asked")
	press(t, keyboard, "hello\n")
	r.until(t, "read <hello>")
	r.end(t, 4)
	if taken, err := os.ReadFile(filepath.Join(dir, "taken")); err != nil || len(taken) > 0 {
		t.Errorf("credentials were asked for with the command's keys: %q %v", taken, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "interactive")); err != nil {
		t.Errorf("nothing could be asked for before the command either: %v", err)
	}
	free(t, ns, "k", v1alpha1.ReasonReleased)
}
