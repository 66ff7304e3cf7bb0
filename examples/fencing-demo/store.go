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
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// store has two copies of a number. One copy accepts every write. The other one refuses a write whose fencing
// token is older than a token that it has seen.
type store struct {
	// read is called for each read, before the worker gets the answer.
	read func(worker string)

	mu       sync.Mutex // protects the fields below
	unfenced int
	fenced   int
	newest   int64 // token
}

// access is a read, or a write of both numbers.
type access struct {
	Worker   string `json:"worker"`
	Token    int64  `json:"token"`
	Write    bool   `json:"write"`
	Unfenced int    `json:"unfenced"`
	Fenced   int    `json:"fenced"`
}

// answer has the numbers of the store after an access.
type answer struct {
	Unfenced int  `json:"unfenced"`
	Fenced   int  `json:"fenced"`
	Refused  bool `json:"refused"` // whether the fenced copy has refused the access
}

// ServeHTTP implements http.Handler.
func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var a access
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	result := s.do(a)
	if !a.Write {
		s.read(a.Worker)
	}
	if err := json.NewEncoder(w).Encode(result); err != nil {
		sayf("The store could not answer %s: %v", a.Worker, err)
	}
}

func (s *store) do(a access) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := a.Token < s.newest
	if !refused {
		s.newest = a.Token // Reads count, too: an older holder must not write after a newer one has read.
	}
	if a.Write {
		s.unfenced = a.Unfenced
		if !refused {
			s.fenced = a.Fenced
		}
		verdict := "accepts it"
		if refused {
			verdict = fmt.Sprintf("refuses it, it has seen token %d", s.newest)
		}
		sayf("%s writes with token %d: the unfenced store accepts it, the fenced store %s", a.Worker, a.Token, verdict)
	}
	return answer{s.unfenced, s.fenced, refused}
}
