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
	"os/exec"
	"runtime"
	"sync"
)

// starts returns a channel of functions that start commands. One thread that lives as long as the
// program calls them: the kernel sends a child its parent-death signal when the thread that started
// it ends.
var starts = sync.OnceValue(func() chan<- func() {
	requests := make(chan func())
	go func() {
		runtime.LockOSThread()
		for request := range requests {
			request()
		}
	}()
	return requests
})

func startOnKeptThread(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	starts() <- func() { done <- cmd.Start() }
	return <-done
}
