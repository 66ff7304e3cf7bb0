//go:build !unix

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

package dlock

import (
	"os"
	"os/exec"
	"time"
)

// guardArgument is that of a guard, which only Unix has.
const guardArgument = "__guard"

func guard(string) int { return exitUsage }

// passedOn are the signals that a command gets which are sent to the plugin.
func passedOn() []os.Signal { return ending() }

// group is the command alone: there are no process groups here, and no signals but that
// which kills.
type group struct{ command *exec.Cmd }

func newGroup(string) (*group, error) { return &group{}, nil }

func (g *group) start(cmd *exec.Cmd) error {
	g.command = cmd
	return cmd.Start()
}

// signal does nothing: what the console sends, it sends to the command, too.
func (g *group) signal(os.Signal) {}

func (g *group) terminate() { g.kill() }

func (g *group) kill() { _ = g.command.Process.Kill() } // It may have ended.

func (g *group) ended(command <-chan error, _ <-chan os.Signal, deadline <-chan time.Time) bool {
	select {
	case <-command:
		return true
	case <-deadline:
		return false
	}
}

func (g *group) close() {}

func (g *group) foreground() bool { return false }

// interrupt does nothing: the console has told every program of it.
func interrupt() {}

func signalOf(*os.ProcessState) int { return 0 }
