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

package cli

import (
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
)

func TestAdmittedIdentity(t *testing.T) {
	t.Parallel()
	bound := map[string]authenticationv1.ExtraValue{podNameExtra: {"worker-0"}}
	for name, tt := range map[string]struct {
		who       authenticationv1.UserInfo
		want, err string
	}{
		"a person":                        {authenticationv1.UserInfo{Username: "alice@example.com"}, "alice@example.com", ""},
		"a person with a Pod's name":      {authenticationv1.UserInfo{Username: "alice"}, "", "such as alice@example.com"},
		"an account":                      {authenticationv1.UserInfo{Username: "system:serviceaccount:shop:ci"}, "system:serviceaccount:shop:ci", ""},
		"an account in a Pod":             {authenticationv1.UserInfo{Username: "system:serviceaccount:shop:ci", Extra: bound}, "worker-0", ""},
		"an account of another namespace": {authenticationv1.UserInfo{Username: "system:serviceaccount:shop2:ci", Extra: bound}, "system:serviceaccount:shop2:ci", ""},
		"a node that speaks for its Pod":  {authenticationv1.UserInfo{Username: "system:node:a", Extra: bound}, "system:node:a", ""},
		"a user without a name":           {authenticationv1.UserInfo{}, "", "could be that of a Pod"},
	} {
		got, err := admittedIdentity(tt.who, "shop")
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v; want %q, %q", name, got, err, tt.want, tt.err)
		}
	}
}
