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
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// tok is one token.
type tok struct {
	kind tokKind
	v    int64
}

type tokKind uint8

const (
	plain   tokKind = iota
	moment          // nanoseconds since the epoch
	version         // a resourceVersion or a fencing token
	reqID           // the number of a request of a client
	lockID          // a client's, by its number
)

// clip is the largest distance from now at which a time counts exactly.
const clip = 20 * time.Second

// roles has the meaning of fields by their names.
var roles = map[string]tokKind{
	"looked": reqID, "after": reqID, "request": reqID, "serial": reqID, "suspected": reqID, "tooLate": reqID, "lastID": reqID, "ID": reqID,
	"ResourceVersion": version, "Token": version, "token": version, "rv": version,
	"LockID": lockID, "lockID": lockID, "lostID": lockID, "base": lockID, "Waiters": lockID, "Entry": lockID,
}

// skipped has fields that influence nothing, or that only have values during an event.
var skipped = map[string]bool{
	"Session.cfg": true, "Session.now": true, "Session.server": true, "Session.number": true, "Session.ids": true,
	"Session.random": true, "Session.request": true, // The request is in the network, too.
	"Session.out": true, "client.number": true, "client.toks": true, "msg.toks": true, "msg.client": true,
}

var timeType = reflect.TypeFor[time.Time]()

// plan says how to make the tokens of a type.
type plan struct {
	kind   reflect.Kind
	moment bool
	role   tokKind
	elem   *plan // of a pointer or a slice
	fields []step
}

type step struct {
	index int
	plan  *plan
}

type planKey struct {
	t    reflect.Type
	role tokKind
}

var plans = map[planKey]*plan{}

// planOf returns the plan of a type, for a field with that role.
func planOf(t reflect.Type, role tokKind) *plan {
	key := planKey{t, role}
	if p, ok := plans[key]; ok {
		return p
	}
	p := &plan{kind: t.Kind(), role: role, moment: t == timeType}
	plans[key] = p
	switch {
	case p.moment:
	case p.kind == reflect.Pointer, p.kind == reflect.Slice:
		p.elem = planOf(t.Elem(), role)
	case p.kind == reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if skipped[t.Name()+"."+f.Name] {
				continue
			}
			role := roles[f.Name]
			if t.Name() == "attempt" && f.Name == "op" { // The first request of the call.
				role = reqID
			}
			if f.Type.Kind() == reflect.Struct {
				role = plain
			}
			p.fields = append(p.fields, step{i, planOf(f.Type, role)})
		}
	}
	return p
}

// walk appends the tokens of v.
func walk(to []tok, v reflect.Value, p *plan) []tok {
	switch p.kind {
	case reflect.Struct:
		if p.moment {
			return append(to, tok{moment, nanos(v)})
		}
		for i := range p.fields {
			f := &p.fields[i]
			to = walk(to, v.Field(f.index), f.plan)
		}
		return to
	case reflect.Pointer:
		if v.IsNil() {
			return append(to, tok{plain, 0})
		}
		return walk(append(to, tok{plain, 1}), v.Elem(), p.elem)
	case reflect.Interface:
		if v.IsNil() {
			return append(to, tok{plain, 0})
		}
		return walk(append(to, tok{plain, 1}), v.Elem(), planOf(v.Elem().Type(), plain))
	case reflect.Slice:
		n := v.Len()
		to = append(to, tok{plain, int64(n)})
		for i := range n {
			to = walk(to, v.Index(i), p.elem)
		}
		return to
	case reflect.String:
		return walkText(to, v.String(), p.role)
	case reflect.Bool:
		if v.Bool() {
			return append(to, tok{plain, 1})
		}
		return append(to, tok{plain, 0})
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		role := p.role
		if role == lockID {
			role = plain
		}
		return append(to, tok{role, v.Int()})
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return append(to, tok{plain, int64(v.Uint())})
	case reflect.Float64:
		return append(to, tok{plain, int64(math.Float64bits(v.Float()))})
	default:
		panic(fmt.Sprintf("no canonical form of a %s", v.Type()))
	}
}

// walkText appends the tokens of a text: a version, a lock ID, an entry of a queue, or the condition of an
// attempt.
func walkText(to []tok, s string, role tokKind) []tok {
	if s == "" {
		return append(to, tok{plain, 0})
	}
	switch role {
	case version:
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return append(to, tok{version, n})
		}
	case lockID:
		return walkWords(to, s)
	case plain, moment, reqID:
	}
	return append(to, tok{plain, sum(s)})
}

var words = map[string][]tok{}

func walkWords(to []tok, s string) []tok {
	known, ok := words[s]
	if !ok {
		known = readWords(nil, s)
		if len(words) < 1<<16 {
			words[s] = known
		}
	}
	return append(to, known...)
}

func readWords(to []tok, s string) []tok {
	for i, word := range strings.Fields(s) {
		if of, ok := strings.CutPrefix(word, protocol.RestID("")); ok {
			to, word = append(to, tok{plain, 2}), of
		}
		client, number, ok := strings.Cut(word, "-")
		switch n, err := strconv.ParseInt(word, 10, 64); {
		case ok && len(client) == 1:
			n, _ := strconv.ParseUint(number, 36, 32)
			to = append(to, tok{lockID, int64(client[0])<<32 | int64(n)})
			continue
		case i == 0 && err == nil:
			to = append(to, tok{version, n})
			continue
		case i == 2: // The third part of a holder's text (see holderOf in session); in an entry it is an identity.
			if n, err := strconv.ParseInt(word, 36, 64); err == nil && n > epoch.UnixNano()/2 {
				to = append(to, tok{moment, n - epoch.UnixNano()})
				continue
			}
		}
		to = append(to, tok{plain, sum(word)})
	}
	return append(to, tok{plain, -1})
}

// nanos reads a time by reflection: methods cannot be called on the value of an unexported field.
func nanos(v reflect.Value) int64 {
	wall, ext := v.Field(0).Uint(), v.Field(1).Int()
	if wall == 0 && ext == 0 {
		return -1 << 62
	}
	if wall>>63 != 0 {
		panic("a time with a monotonic reading")
	}
	const unixToInternal = (1969*365 + 1969/4 - 1969/100 + 1969/400) * 86400
	seconds := ext - unixToInternal - epoch.Unix()
	if seconds > 1<<30 {
		return 1 << 62
	}
	return seconds*int64(time.Second) + int64(wall&(1<<30-1))
}
