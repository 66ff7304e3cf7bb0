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
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/kubelock/kubelock/test/chaos/checks"
	"github.com/kubelock/kubelock/test/chaos/external"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// leftovers are the facts about a run that are saved beside its journals and versions.
type leftovers struct {
	ManualEdits []checks.ManualEdit       `json:"manualEdits"`
	Calm        []checks.Span             `json:"calm"`
	Faults      []checks.Fault            `json:"faults"`
	Refusals    []history.Refusal         `json:"refusals"`
	Ended       int64                     `json:"ended"`
	Fenced      map[string]external.Count `json:"fenced"`
	Unfenced    map[string]external.Count `json:"unfenced"`
	Accesses    []external.Access         `json:"accesses"`
}

// save writes the history of a run to its folder.
func (r *run) save(finished *checks.Run) error {
	text, err := json.Marshal(leftovers{finished.ManualEdits, finished.Calm, finished.Faults, finished.Refusals, finished.Ended, finished.Fenced, finished.Unfenced, finished.Accesses})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.folder, "leftovers.json"), text, 0o644); err != nil {
		return err
	}
	return history.WriteVersions(filepath.Join(r.folder, "versions.jsonl"), finished.Versions)
}

// checkSaved checks the history of an earlier run, from its folder.
func (r *run) checkSaved(context.Context) (violations []checks.Violation, err error) {
	r.folder = r.check
	r.injected, r.failed = map[string]int{}, map[string]int{}
	if r.faultLog, err = os.CreateTemp("", "chaos-check-"); err != nil {
		return nil, err
	}
	defer func() { _ = r.faultLog.Close(); _ = os.Remove(r.faultLog.Name()) }()
	text, err := os.ReadFile(filepath.Join(r.folder, "leftovers.json"))
	if err != nil {
		return nil, err
	}
	var left leftovers
	if err := json.Unmarshal(text, &left); err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(r.folder, "client-*.jsonl"))
	if err != nil {
		return nil, err
	}
	account, err := assemble(paths)
	if err != nil {
		return nil, err
	}
	versions, err := history.ReadVersions(filepath.Join(r.folder, "versions.jsonl"))
	if err != nil {
		return nil, err
	}
	return r.checkAll(&checks.Run{
		Account: account, Versions: versions, ManualEdits: left.ManualEdits, Calm: left.Calm, Faults: left.Faults, Refusals: left.Refusals, Ended: left.Ended,
		Fenced: left.Fenced, Unfenced: left.Unfenced, Accesses: left.Accesses,
	}), nil
}

func assemble(paths []string) (*history.Account, error) {
	journals := make([][]history.Entry, 0, len(paths))
	for _, path := range paths {
		entries, err := history.ReadJournal(path)
		if os.IsNotExist(err) {
			continue // The process was killed before it had begun.
		}
		if err != nil {
			return nil, err
		}
		journals = append(journals, entries)
	}
	return history.Assemble(journals)
}
