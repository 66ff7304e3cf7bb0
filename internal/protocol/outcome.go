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

// Outcome is what an answer says of a request.
type Outcome int

const (
	// Unknown means that the write may have been committed, may be so later, or never. No
	// answer came, or one that does not say.
	Unknown Outcome = iota
	// Committed means that it was done.
	Committed
	// Stale means that this request was not committed, because the object is not, or no longer,
	// as the write assumed. An earlier copy of the request may have been: transports
	// may send a request twice.
	Stale
	// Busy means that it was not looked at; it may be sent again later.
	Busy
	// Rejected means that it was not committed and would not be if it were sent again.
	Rejected
	// Denied means that it was not committed, because its sender has no access, or there is
	// nothing to have access to. Where there was access before, that may end by itself.
	Denied
	// Altered means that it was committed, but that the object is not as it was written.
	Altered
)
