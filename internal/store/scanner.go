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

package store

import (
	"bytes"
)

// scanner looks for unknown keys in JSON text that a decoder has accepted. What it makes of other
// text does not matter, but that it comes to its end.
type scanner struct {
	text []byte
	at   int
}

// value goes past a value, and reports whether it has an unknown key. It stops at the first.
func (s *scanner) value(f *fieldSet) bool {
	switch c := s.next(); {
	case c == '{' && f != nil:
		return s.object(f)
	case c == '{' || c == '[':
		s.skip()
	case c == '"':
		s.string()
	default:
		s.literal()
	}
	return false
}

func (s *scanner) object(f *fieldSet) bool {
	for key, ok := s.enter(); ok; key, ok = s.key() {
		within, known := f.key(key)
		if !known || s.value(within) {
			return true
		}
	}
	return false
}

// list is value for each of a list's items.
func (s *scanner) list(f *fieldSet) bool {
	if s.next() != '{' {
		return false
	}
	for key, ok := s.enter(); ok; key, ok = s.key() {
		if string(key) != "items" || s.next() != '[' {
			s.value(nil)
			continue
		}
		s.at++
		for c := s.next(); c != ']' && c != 0; c = s.next() {
			if c == ',' {
				s.at++
			} else if s.value(f) {
				return true
			}
		}
		s.at++
	}
	return false
}

// next goes to what is next and no space; 0 is the end.
func (s *scanner) next() byte {
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// enter goes into an object, and past its first key, which ok says that there is.
func (s *scanner) enter() (key []byte, ok bool) {
	s.at++
	return s.key()
}

// key goes past the next key of an object or, if there is none, past the object.
func (s *scanner) key() (key []byte, ok bool) {
	c := s.next()
	if c == ',' {
		s.at++
		c = s.next()
	}
	if c != '"' {
		s.at++
		return nil, false
	}
	key = s.string()
	s.next() // It is a colon.
	s.at++
	return key, true
}

// string goes past a string, and returns what is between its quotes.
func (s *scanner) string() []byte {
	start := s.at + 1
	for end := start; end < len(s.text); end++ {
		i := bytes.IndexByte(s.text[end:], '"')
		if i < 0 {
			break
		}
		end += i
		escapes := end
		for escapes > start && s.text[escapes-1] == '\\' {
			escapes--
		}
		if (end-escapes)%2 == 0 {
			s.at = end + 1
			return s.text[start:end]
		}
	}
	s.at = len(s.text)
	return nil
}

// literal goes past a number, or a word.
func (s *scanner) literal() {
	for s.at++; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return
		}
	}
}

// skip goes past an object or an array.
func (s *scanner) skip() {
	for depth := 0; s.at < len(s.text); {
		switch s.text[s.at] {
		case '"':
			s.string()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.at++
		if depth == 0 {
			return
		}
	}
}
