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

package cluster

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"
)

// Servers is the number of API servers.
const Servers = 2

// Server is one API server.
type Server struct {
	*Process
	Address string
	Etcd    []*Link // its links to the members of etcd
}

func (c *Cluster) file(name string) string { return filepath.Join(c.Folder, name) }

func (c *Cluster) startServers(users []string) error {
	certificate, key, err := certutil.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return err
	}
	c.ca = certificate
	signing, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(signing)
	if err != nil {
		return err
	}
	var tokens strings.Builder
	tokens.WriteString("admin-token,admin,admin,system:masters\n")
	for _, user := range users {
		fmt.Fprintf(&tokens, "%s,%s,%[2]s\n", token(user), user)
	}
	for name, data := range map[string][]byte{
		"tls.crt": certificate, "tls.key": key, "tokens.csv": []byte(tokens.String()),
		"accounts.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	} {
		if err := os.WriteFile(c.file(name), data, 0o600); err != nil {
			return err
		}
	}
	for i := range Servers {
		free, err := freeAddresses(1)
		if err != nil {
			return err
		}
		s := &Server{Address: free[0]}
		var etcd []string
		for j, m := range c.Etcd {
			link, err := c.links.open(fmt.Sprintf("apiserver-%d-etcd-%d", i, j), "127.0.0.1:0", m.address)
			if err != nil {
				return err
			}
			s.Etcd = append(s.Etcd, link)
			etcd = append(etcd, "http://"+link.Address())
		}
		name, assets := fmt.Sprintf("apiserver-%d", i), c.Assets
		if i == 0 { // The older one is there before the newer one joins, as in an upgrade.
			assets = cmp.Or(c.Older, assets)
		}
		_, port, _ := net.SplitHostPort(s.Address)
		s.Process = &Process{Name: name, Logs: c.file(name + ".log"), Command: func() *exec.Cmd {
			return exec.Command(filepath.Join(assets, "kube-apiserver"), //nolint:noctx // Ended by Stop.
				"--etcd-servers="+strings.Join(etcd, ","), "--bind-address=127.0.0.1", "--secure-port="+port,
				"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
				"--tls-cert-file="+c.file("tls.crt"), "--tls-private-key-file="+c.file("tls.key"), "--cert-dir="+c.file(name),
				"--token-auth-file="+c.file("tokens.csv"), "--authorization-mode=RBAC",
				"--service-account-issuer=https://chaos", "--service-account-key-file="+c.file("accounts.key"),
				"--service-account-signing-key-file="+c.file("accounts.key"), "--service-cluster-ip-range=10.0.0.0/24",
				"--disable-admission-plugins=ServiceAccount",
				// Only the run itself compacts etcd, after the recorder has got the history.
				"--etcd-compaction-interval=0",
				// The server ends watches after 30 to 60 seconds, too.
				"--min-request-timeout=30", "--v=1")
		}}
		c.Servers = append(c.Servers, s)
		c.processes = append(c.processes, s.Process)
		if err := s.Start(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		err = c.Ready(ctx, s) // One after the other: both would create the same objects at their start.
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// Ready waits until an API server is ready.
func (c *Cluster) Ready(ctx context.Context, s *Server) error {
	client, err := kubernetes.NewForConfig(c.config(s.Address, "admin"))
	if err != nil {
		return err
	}
	return until(ctx, s.Name, func(ctx context.Context) error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// Versions returns the version that each API server reports.
func (c *Cluster) Versions() ([]string, error) {
	versions := make([]string, 0, len(c.Servers))
	for _, s := range c.Servers {
		client, err := kubernetes.NewForConfig(c.config(s.Address, "admin"))
		if err != nil {
			return nil, err
		}
		info, err := client.Discovery().ServerVersion()
		if err != nil {
			return nil, fmt.Errorf("asking %s for its version: %w", s.Name, err)
		}
		versions = append(versions, info.GitVersion)
	}
	return versions, nil
}

func token(user string) string { return strings.ReplaceAll(user, ":", "-") + "-token" }

func (c *Cluster) config(address, user string) *rest.Config {
	return &rest.Config{
		Host: "https://" + address, BearerToken: token(user), QPS: -1, Timeout: 15 * time.Second,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.ca},
	}
}

// Kubeconfig writes a kubeconfig with the credentials of a user and the address of an API server, and
// returns its path.
func (c *Cluster) Kubeconfig(name, address, user string) (string, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters["chaos"] = &clientcmdapi.Cluster{Server: "https://" + address, CertificateAuthorityData: c.ca}
	config.AuthInfos["chaos"] = &clientcmdapi.AuthInfo{Token: token(user)}
	config.Contexts["chaos"] = &clientcmdapi.Context{Cluster: "chaos", AuthInfo: "chaos"}
	config.CurrentContext = "chaos"
	path := c.file(name + ".kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}
