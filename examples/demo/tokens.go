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

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// tokenRotation is how often the tokens of the demo's processes are replaced. A token is valid for an hour, as
// in a Pod.
const tokenRotation = 10 * time.Minute

// kubeconfig writes a kubeconfig for a service account. Its token is in a separate file, which gets new tokens
// until the stage is cleared, as in a Pod.
func (s *stage) kubeconfig(ctx context.Context, ns, name string) (string, error) {
	client, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		return "", err
	}
	file := filepath.Join(s.folder, name+".token")
	replace := func(ctx context.Context) error {
		token, err := client.CoreV1().ServiceAccounts(ns).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("a token of %s/%s: %w", ns, name, err)
		}
		// The rename is atomic: a reader gets a complete token.
		if err := os.WriteFile(file+".new", []byte(token.Status.Token), 0o600); err != nil {
			return err
		}
		return os.Rename(file+".new", file)
	}
	if err := replace(ctx); err != nil {
		return "", err
	}
	rotateCtx, cancel := context.WithCancel(ctx)
	if before := s.endRotation; before != nil {
		s.endRotation = func() { cancel(); before() }
	} else {
		s.endRotation = cancel
	}
	s.rotating.Go(func() { rotate(rotateCtx, s.rotation, replace) })

	config := clientcmdapi.NewConfig()
	config.Clusters["demo"] = &clientcmdapi.Cluster{Server: s.config.Host, CertificateAuthorityData: s.config.CAData}
	config.AuthInfos["demo"] = &clientcmdapi.AuthInfo{TokenFile: file}
	config.Contexts["demo"] = &clientcmdapi.Context{Cluster: "demo", AuthInfo: "demo", Namespace: ns}
	config.CurrentContext = "demo"
	path := filepath.Join(s.folder, name+".kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}

// rotate replaces a token regularly until ctx ends. A token is valid for several rotations, so a failed
// rotation does no harm.
func rotate(ctx context.Context, every time.Duration, replace func(context.Context) error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := replace(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "demo:", err)
			}
		case <-ctx.Done():
			return
		}
	}
}
