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

package explore

import (
	"fmt"
	"strings"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

// A transcript has one line per action. The line identifies the action, so a transcript can be replayed.
// Indented lines are comments.

var outcomes = map[protocol.Outcome]string{
	protocol.Unknown: "no answer", protocol.Committed: "done", protocol.Stale: "stale", protocol.Busy: "busy",
	protocol.Rejected: "refused", protocol.Denied: "denied", protocol.Altered: "altered",
}

var requestKinds = map[session.RequestKind]string{
	session.Read: "read", session.Write: "write", session.Amend: "amend", session.Enqueue: "enqueue",
	session.Dequeue: "dequeue", session.Delete: "delete", session.Ask: "ask",
}

// msgText returns the name of a message.
func (w *world) msgText(m *msg) string {
	text := fmt.Sprintf("%s's %s %d", w.cfgs[m.client].Client, requestKinds[m.req.Kind], m.req.ID)
	if m.copied {
		text = "the copy of " + text
	}
	if m.answer {
		return "the answer to " + text
	}
	return text
}

// actionText returns the line of an action.
func (w *world) actionText(a action) string {
	i := int(a.i)
	name := func() string { return w.cfgs[i].Client }
	switch a.verb {
	case arrive:
		return fmt.Sprintf("caller %d of %s comes", w.cl[i].came+1, name())
	case giveUp:
		return fmt.Sprintf("caller %d of %s gives up", w.cl[i].waiting[a.j], name())
	case save:
		return name() + " saves"
	case renew:
		return name() + " renews"
	case release:
		return name() + " releases"
	case releaseLost:
		return name() + " releases what it has lost"
	case releaseAgain:
		return name() + " releases again"
	case abandon:
		return name() + " does not wait for its first call any more"
	case shut:
		return name() + " is closed"
	case unwatch:
		return name() + " can have no watch"
	case deliver:
		return w.msgText(w.net[i]) + " arrives"
	case show:
		return "a watch shows " + name() + " what is next"
	case wake:
		return name() + " wakes up"
	case resume:
		return name() + " goes on"
	case heal:
		return "the watches of " + name() + " go on"
	case finalize:
		return "the finalizer is removed"
	case reap:
		return "the reaper acts"
	case tick:
		return "time passes: it is " + at(w.now().Add(w.sc.Tick))
	case lostBefore, lostAfter:
		return w.msgText(w.net[i]) + " is lost"
	case slow:
		return w.msgText(w.net[i]) + " is slow"
	case twice:
		return w.msgText(w.net[i]) + " is copied"
	case crash:
		return name() + " crashes"
	case pause:
		return name() + " stands still"
	case cut:
		return "the watches of " + name() + " are cut"
	case lag:
		return "the watches of " + name() + " are late"
	case deny:
		return w.msgText(w.net[i]) + " is denied"
	case reject:
		return w.msgText(w.net[i]) + " is refused for good"
	case busy:
		return w.msgText(w.net[i]) + " is refused for now"
	case freeByHand:
		return "a person removes the holder"
	case emptyByHand:
		return "a person empties the queue"
	case deleteByHand:
		return "a person deletes the object"
	case restore:
		return fmt.Sprintf("the server goes back to version %d", w.past[i].rv)
	}
	return "?"
}

func at(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Sub(epoch).String()
}

// lockText describes a lock in one line.
func lockText(r protocol.Record, now time.Time) string {
	if !r.Exists() {
		return "no object"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s@%s", r.UID, r.ResourceVersion)
	if h := r.Holder; h != nil {
		fmt.Fprintf(&b, " held by %s token %d for %s from %s (%s)", h.LockID, h.Token, h.Duration, at(h.RenewTime), h.Source)
	} else {
		b.WriteString(" free")
	}
	for _, entry := range r.Waiters {
		fmt.Fprintf(&b, " | %s", strings.Fields(entry)[0])
	}
	if l := r.LastRelease; l != nil {
		fmt.Fprintf(&b, "; last %s %d %s at %s", l.LockID, l.Token, l.Reason, at(l.Time))
	}
	if r.Value != nil {
		fmt.Fprintf(&b, "; state %q", *r.Value)
	}
	if r.Terminating {
		b.WriteString("; being deleted")
	}
	return b.String()
}

func effectText(f session.Effect, now time.Time) string {
	switch f.Kind {
	case session.Send:
		r := f.Request
		text := fmt.Sprintf("%s %d", requestKinds[r.Kind], r.ID)
		switch r.Kind {
		case session.Write, session.Amend:
			text += ": " + lockText(r.To, now)
		case session.Enqueue:
			text += " " + strings.Fields(r.Entry)[0]
			if r.Exact {
				text += " in version " + r.From.ResourceVersion
			}
		case session.Dequeue:
			text += fmt.Sprintf(" place %d", r.Place)
		case session.Read, session.Delete, session.Ask:
		}
		return text
	case session.Cancel:
		return fmt.Sprintf("does not wait for request %d", f.Request.ID)
	case session.Check:
		return fmt.Sprintf("asks caller %d whether it can use %q", f.Caller, text(f.Value))
	case session.Grant:
		return fmt.Sprintf("grants caller %d the lock: %s token %d until %s", f.Caller, f.Hold.LockID, f.Hold.Token, at(f.Hold.Deadline))
	case session.Extend:
		return fmt.Sprintf("extends the hold of caller %d until %s", f.Caller, at(f.Deadline))
	case session.Lose:
		return fmt.Sprintf("caller %d loses its hold", f.Caller)
	case session.Fail:
		return fmt.Sprintf("caller %d does not get the lock: %s", f.Caller, failureText(f.Failure))
	case session.Applied:
		return fmt.Sprintf("caller %d has had the lock for its change: %s", f.Caller, resultText(f.Result))
	case session.Done:
		return fmt.Sprintf("call %d ends: %s", f.Op, resultText(f.Result))
	case session.Believe:
		return "believes a denial"
	}
	return "?"
}

func failureText(f *session.Failure) string {
	var words []string
	for _, w := range []struct {
		is   bool
		text string
	}{{f.Removed, "removed"}, {f.Refused, "refused"}, {f.GaveUp, "gave up"}, {f.OutcomeUnknown, "in doubt"}, {f.TooLate, "too late"}, {f.Err != nil, "error"}} {
		if w.is {
			words = append(words, w.text)
		}
	}
	return strings.Join(words, ", ")
}

func resultText(r *session.Result) string {
	text := [...]string{"OK", "lost", "not held", "failed", "others had it since", "deleted"}[r.Kind]
	if r.OutcomeUnknown {
		text += ", in doubt"
	}
	return text
}

// Transcript describes what happens on the path to a violation.
func Transcript(sc *Scope, f Found) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# scope: %s\n# %s\n", sc.Name, f.Bad)
	w := newWorld(sc)
	w.log = func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, a := range f.Path {
		w = w.do(a)
	}
	if !f.Then {
		return b.String()
	}
	fmt.Fprintf(&b, "# then, without further faults:\n")
	w = w.calm()
	end := w.ticks + f.Fair + 8
	if sc.Fair > 0 {
		end = w.ticks + sc.Fair + 8
	}
	for steps := 0; steps < 300 && w.ticks < end && w.bad == ""; steps++ {
		a, ok := w.fairAction()
		if !ok {
			w.checkEnd()
			break
		}
		w = w.do(a)
	}
	return b.String()
}

// Replay plays the actions of a transcript, and then goes on without further faults. It returns the
// violated invariant, if there is one, and the first line whose action is not possible, if there is one.
func Replay(sc *Scope, transcript string) (bad, impossible string) {
	x := &explorer{sc: sc, fair: map[hash]uint16{}}
	w := newWorld(sc)
	for line := range strings.Lines(transcript) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "# then") {
			break
		}
		if line == "" || line[0] == ' ' || line[0] == '#' || line[0] == '*' {
			continue
		}
		next, ok := w.play(line)
		if w = next; !ok {
			return "", line
		}
		if w.bad != "" {
			return w.bad, ""
		}
	}
	_, bad = x.playFair(w)
	return bad, ""
}
