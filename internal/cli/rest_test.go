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

package cli_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// TestRunMinHold runs a command once, although it is short: the lock rests after it, which all commands show.
func TestRunMinHold(t *testing.T) {
	testenv.Slow(t)
	t.Parallel()
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			run := func(args ...string) result { return dlock(t, ns, append(args, "--backend", string(backend))...) }
			tick := func() result {
				return dlock(t, ns, "run", "tick", "--backend", string(backend), "--try", "--min-hold", "1h", "--", "sh", "-c", `echo 7 >"$KUBELOCK_VALUE_FILE"`)
			}
			tick().want(t, 0)
			tick().want(t, 75, "it rests for")
			s := show(t, ns, "tick", "--backend", string(backend))
			if !s.Resting || s.Holder == nil || !strings.HasPrefix(s.Holder.LockID, "rest-") || string(s.Value) != "7" {
				t.Errorf("the lock is %+v with the holder %+v", s, s.Holder)
			}
			if r := run("list"); !regexp.MustCompile(`tick +<resting>`).MatchString(r.out) {
				t.Errorf("list does not show that the lock rests:\n%s", r.out)
			}
			d := run("describe", "tick")
			for _, want := range []string{`Holder: +<none>\n +Resting: +after the hold of .*, ends in [56]`, `Last release: +Released`, `  <resting> .*goes on`} {
				if !regexp.MustCompile(want).MatchString(d.out) {
					t.Errorf("%s is not in\n%s", want, d.out)
				}
			}
			run("release", "tick", "--lock-id", s.Holder.LockID).want(t, 76, "it rests")
			run("wait", "tick", "--timeout", "1s").want(t, 75)
			run("break", "tick", "--yes", "--reason", "one more run").want(t, 0, "it is free now")
			tick().want(t, 0)
			run("delete", "tick").want(t, 0)
			tick().want(t, 0)
		})
	}
}

func TestRunMinHoldIsChecked(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	dlock(t, ns, "run", "k", "--min-hold", "-1s", "--", "true").want(t, 64, "--min-hold must be at least 0")
	dlock(t, ns, "run", "k", "--min-hold", "9000h", "--", "true").want(t, 64, "at most 8760h")
	dlock(t, ns, "run", "k", "--min-hold", "1m", "--no-renew", "--", "true").want(t, 64, "longer than the --duration")
}
