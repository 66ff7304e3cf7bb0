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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

type set struct {
	*options
	hold
	file      string
	condition string
	compares  bool
}

func newSet(o *options) *cobra.Command {
	s := &set{options: o}
	cmd := &cobra.Command{
		Use:   "set KEY VALUE|-f FILE",
		Short: "Write a lock's state, under the lock",
		Long: `Write VALUE as the state of the lock of KEY, as if under the lock: where it is free, one write
takes it, stores VALUE and releases it; otherwise the plugin queues for it. VALUE is JSON: text
needs quotes of its own.

With --if-value, write only if the state is equal to that: no other client can change it in
between. Objects are equal in whatever order their fields are; numbers are equal if they are
written alike. An empty text stands for no state. If the state is another, the exit code is 79
and nothing is written.

With --try the plugin does not queue: it takes the lock in one write, and releases it with VALUE
in another.`,
		Example: `  # A number, an object, a text
  kubectl dlock set counter 1
  kubectl dlock set orders '{"shard": 3}'
  kubectl dlock set greeting '"hello"'

  # From a file, or from standard input
  echo '{"shard": 4}' | kubectl dlock set orders -f -

  # Only if nobody has written anything else
  kubectl dlock set counter 2 --if-value 1`,
		Args: func(cmd *cobra.Command, args []string) error {
			want := 2
			if cmd.Flags().Changed("filename") {
				want = 1
			}
			if len(args) != want {
				return usage("set takes a KEY and either a VALUE or -f FILE, got %d arguments: see \"%s --help\"", len(args), cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: o.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.compares = cmd.Flags().Changed("if-value")
			return s.run(cmd.Context(), args[0], args[1:])
		},
	}
	s.hold.bind(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&s.try, "try", false, "Do not wait for the lock.")
	flags.StringVarP(&s.file, "filename", "f", "", "The file with the value; - is standard input.")
	flags.StringVar(&s.condition, "if-value", "", "Write only if the state is equal to this JSON; empty: only if there is none.")
	return cmd
}

func (s *set) run(ctx context.Context, key string, args []string) error {
	value, err := s.value(args)
	if err != nil {
		return err
	}
	if s.compares && s.condition != "" {
		if err := checkState("--if-value", []byte(s.condition)); err != nil {
			return err
		}
	}
	if s.try { // Apply waits for its turn.
		return s.underLock(ctx, key, value)
	}
	return s.apply(ctx, key, value)
}

// apply writes value in the write that takes and releases the lock, or in that which hands it over.
func (s *set) apply(ctx context.Context, key string, value json.RawMessage) error {
	wait, cancel, err := s.waiting(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	until, computed, stop := settling(wait)
	defer stop()
	c, err := s.admitted(wait, func(c *kubelock.Client) error {
		defer s.tell(ctx, key, c)()
		_, err := kubelock.NewLock[json.RawMessage](c, key).Apply(until, func(state json.RawMessage) (json.RawMessage, error) {
			computed()
			return value, s.differs(key, state != nil, state)
		}, kubelock.WithDuration(s.duration))
		return err
	})
	if c != nil {
		defer s.closed(c)
	}
	_, own := errors.AsType[*exitError](err)
	switch {
	case err == nil || own:
		return err
	case errors.Is(err, kubelock.ErrUnknownOutcome):
		return fmt.Errorf("%w: see \"kubectl dlock describe\" for what became of it", err)
	}
	return notAcquired(ctx, s.options, key, err)
}

// underLock writes value as the holder of the lock, if that can be had at once.
func (s *set) underLock(ctx context.Context, key string, value json.RawMessage) error {
	held, c, err := s.acquire(ctx, s.options, key)
	if err != nil {
		return err
	}
	defer s.closed(c)
	differs := s.differs(key, held.Exists(), held.Value())
	if differs == nil {
		held.Update(value)
	}
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	defer s.tell(release, key, c)()
	return errors.Join(differs, held.Release(release))
}

// settleTimeout is how long the answer of a write is waited for that may have been sent.
const settleTimeout = 5 * time.Second

// settling returns a context that ends as ctx does, but not before settleTimeout after the last call of computed:
// a write that may be on its way then gets its answer, and its outcome is known. The caller calls stop.
func settling(ctx context.Context) (_ context.Context, computed, stop func()) {
	until, end := context.WithCancelCause(context.WithoutCancel(ctx))
	var last atomic.Pointer[time.Time]
	left := func() time.Duration {
		if at := last.Load(); at != nil {
			return settleTimeout - time.Since(*at)
		}
		return 0
	}
	unhook := context.AfterFunc(ctx, func() {
		for rest := left(); rest > 0; rest = left() {
			timer := time.NewTimer(rest)
			select {
			case <-timer.C:
			case <-until.Done():
				timer.Stop()
				return
			}
		}
		end(context.Cause(ctx))
	})
	computed = func() {
		now := time.Now()
		last.Store(&now)
	}
	return until, computed, func() {
		unhook()
		end(nil)
	}
}

// value is what to write.
func (s *set) value(args []string) (json.RawMessage, error) {
	what := "VALUE"
	var text []byte
	var err error
	switch {
	case len(args) > 0:
		text = []byte(args[0])
	case s.file == "-":
		what = "standard input"
		text, err = readState(s.In)
	default:
		what = s.file
		text, err = readStateFile(s.file)
	}
	if errors.Is(err, errTooLong) {
		return nil, &exitError{code: exitData, err: fmt.Errorf("%s %w", what, err)}
	}
	if err != nil {
		return nil, usage("the value cannot be read: %w", err)
	}
	return text, checkState(what, text)
}

// differs is the error of a state that is not as --if-value has it.
func (s *set) differs(key string, exists bool, state json.RawMessage) error {
	if !s.compares {
		return nil
	}
	now := "there is none"
	if exists {
		now = fmt.Sprintf("it is %.200s", state)
	}
	if exists == (s.condition != "") && (!exists || equalJSON(state, []byte(s.condition))) {
		return nil
	}
	return &exitError{code: exitDiffers, err: fmt.Errorf("the state of %q is not as --if-value has it, %s: nothing was written", key, now)}
}

// equalJSON compares two valid texts.
func equalJSON(a, b []byte) bool {
	var values [2]any
	for i, text := range [][]byte{a, b} {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber() // Large numbers would be rounded.
		if d.Decode(&values[i]) != nil {
			return false
		}
	}
	return reflect.DeepEqual(values[0], values[1])
}
