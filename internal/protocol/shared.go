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

package protocol

import "time"

// ElectorLease is the longest lease in an object that leader electors use, too. Some of
// them judge a holder by their own LeaseDuration and not by the holder's; for those of
// Kubernetes' own components and for most others it is this.
const ElectorLease = 15 * time.Second

// lease is how long a hold lasts from one renewal on that shall last for d. Its holder
// renews it until that is over.
func (r Record) lease(d time.Duration) time.Duration {
	if r.Shared {
		return min(d, ElectorLease)
	}
	return d
}
