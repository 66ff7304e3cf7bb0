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

package conformance

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// metadataIsOfTheCreator checks Config.Labels and Config.Annotations: they are those of an object from
// its creation on, beside the lock's own, and no client changes them later.
func metadataIsOfTheCreator(s *suite) {
	labels, annotations := map[string]string{"team": "shipping"}, map[string]string{"example.com/note": "by the first"}
	first := s.configured(kubelock.Config{Identity: "first", LockDuration: time.Minute, Labels: labels, Annotations: annotations})
	labels["team"] = "changed after NewClient"
	second := s.configured(kubelock.Config{
		Identity: "second", LockDuration: time.Minute,
		Labels: map[string]string{"team": "billing", "tier": "2"}, Annotations: map[string]string{"example.com/note": "by the second"},
	})
	check := func(when, team, tier, note string) {
		s.Helper()
		obj, err := s.objects().Get(s.soon(), key, metav1.GetOptions{})
		s.must(err)
		if l, a := obj.GetLabels(), obj.GetAnnotations(); l["team"] != team || l["tier"] != tier || a["example.com/note"] != note {
			s.Errorf("%s: labels %v and annotations %v", when, l, a)
		}
	}
	h := s.acquire(first)
	check("created", "shipping", "", "by the first")
	s.must(h.Update("state").Save(s.soon()))
	s.release(h)
	s.release(s.acquire(second))
	check("used by another client", "shipping", "", "by the first")
	s.patch(`{"metadata":{"labels":{"team":"by-hand"}}}`)
	s.release(s.acquire(first))
	check("labelled by hand", "by-hand", "", "by the first")

	s.must(kubelock.NewLock[string](first, key).Delete(s.soon()))
	s.release(s.acquire(second))
	check("created anew", "billing", "2", "by the second")
	s.state(second, "")
}
