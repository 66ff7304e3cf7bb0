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

package fenced_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// program finds a server's program, or skips the test.
func program(t *testing.T, name, pkg string, folders ...string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, pattern := range folders {
		found, err := filepath.Glob(filepath.Join(pattern, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Skipf("SKIPPED, NOT TESTED: %s is not installed: install Debian's package %s", name, pkg)
	return ""
}

// serve starts a server, which ends with the test, and waits until ping says that it answers.
func serve(t *testing.T, cmd *exec.Cmd, ping func(ctx context.Context) error) {
	t.Helper()
	log := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // Servers end by a signal.
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // It may have ended.
		<-ended
	})
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := ping(ctx)
		cancel()
		if err == nil {
			return
		}
		select {
		case <-ended:
			t.Fatalf("the server has ended: %s", log)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not answer: %v", err)
		}
	}
}

// port is one of loopback that was free a moment ago.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It does not wait.
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // Whether that failed shows when the server listens.
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// postgres starts a server of its own, and returns how to connect to it. The server does not run as root:
// root starts it as another user.
func postgres(t *testing.T) string {
	t.Helper()
	folders := []string{"/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin"}
	initdb, server := program(t, "initdb", "postgresql", folders...), program(t, "postgres", "postgresql", folders...)
	dir, err := os.MkdirTemp("", "fenced-postgres-") //nolint:usetesting // The parents of TempDir are closed to other users.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C", "HOME="+dir)
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner(t, dir)}
		}
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := command(initdb, "--pgdata", data, "--username", "test", "--auth", "trust", "--no-sync", "--encoding", "UTF8").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	at := port(t)
	source := "postgres://test@127.0.0.1:" + at + "/postgres?sslmode=disable"
	serve(t, command(server, "-D", data, "-p", at, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+dir, "-c", "fsync=off"),
		func(ctx context.Context) error {
			conn, err := pgx.Connect(ctx, source)
			if err != nil {
				return err
			}
			return conn.Close(ctx)
		})
	return source
}

// owner gives a folder to a user who is not root, and returns that user.
func owner(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	i := slices.IndexFunc([]string{"postgres", "nobody"}, func(name string) bool { _, err := user.Lookup(name); return err == nil })
	if i < 0 {
		t.Skip("SKIPPED, NOT TESTED: postgres does not run as root, and there is no user postgres or nobody")
	}
	u, err := user.Lookup([]string{"postgres", "nobody"}[i])
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// redisServer starts a server of its own, and returns its address.
func redisServer(t *testing.T) string {
	t.Helper()
	at := port(t)
	cmd := exec.CommandContext(t.Context(), program(t, "redis-server", "redis-server"),
		"--port", at, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	address := "127.0.0.1:" + at
	serve(t, cmd, func(ctx context.Context) error {
		client := redis.NewClient(&redis.Options{Addr: address})
		defer func() { _ = client.Close() }() // It was only for this.
		return client.Ping(ctx).Err()
	})
	return address
}
