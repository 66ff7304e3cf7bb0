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

// Package gocron lets the replicas of a program share the jobs of a scheduler,
// github.com/go-co-op/gocron/v2.
//
// With a Locker, one of the replicas does each run of a job, so the runs are spread over the replicas. With an
// Elector, one replica, the leader, does all runs. A scheduler can have one of them.
package gocron
