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

package view

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Line is a line on the screen.
type Line struct {
	text  string
	style style
}

// style is how a line stands out.
type style string

const (
	plain    style = ""
	heading  style = "\x1b[1m"  // bold
	wanted   style = "\x1b[33m" // yellow
	alarming style = "\x1b[31m" // red
	reset          = "\x1b[0m"
)

const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // another screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K" // before the text: after the last column it would take that
	clearRest   = "\x1b[J"
)

// Screen is where pictures are shown, one in place of the other on a terminal.
type Screen struct {
	Out      io.Writer
	Terminal *os.File // nil if Out is none
}

// Begin takes the terminal. quit is closed when the person at it asks by a key to quit.
func (s *Screen) Begin(in io.Reader) (quit <-chan struct{}, restore func(), _ error) {
	if s.Terminal == nil {
		return nil, func() {}, nil
	}
	leave := func() { fmt.Fprint(s.Terminal, leaveScreen) }
	keyboard, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(keyboard.Fd())) {
		fmt.Fprint(s.Terminal, enterScreen)
		return nil, leave, nil
	}
	before, err := term.MakeRaw(int(keyboard.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("reading single keys: %w", err)
	}
	fmt.Fprint(s.Terminal, enterScreen)
	pressed := make(chan struct{})
	go func() { // It ends with the process: a read of a keyboard cannot be ended.
		defer close(pressed)
		key := make([]byte, 1)
		for {
			if _, err := keyboard.Read(key); err != nil {
				return
			}
			switch key[0] {
			case 'q', 'Q', 3, 4: // Ctrl-C and Ctrl-D, which make no signal and no end now.
				return
			}
		}
	}()
	return pressed, func() {
		leave()
		if err := term.Restore(int(keyboard.Fd()), before); err != nil {
			fmt.Fprintln(s.Terminal, "error: the terminal is left as it was for single keys, \"reset\" mends it:", err)
		}
	}, nil
}

// Columns is how wide the screen is.
func (s *Screen) Columns() int {
	columns, _ := s.size()
	return columns
}

func (s *Screen) size() (columns, rows int) {
	if s.Terminal != nil {
		if columns, rows, err := term.GetSize(int(s.Terminal.Fd())); err == nil && columns > 0 && rows > 0 {
			return columns, rows
		}
	}
	return 80, 24
}

// coloured reports whether colours are wanted: see no-color.org.
func coloured() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }

// Show shows a picture: all of it, or in place of the last one and as much as there is room
// for.
func (s *Screen) Show(lines []Line, replace bool) error {
	if !replace {
		return plainText(s.Out, lines)
	}
	columns, rows := s.size()
	room := max(rows-1, 1)
	if more := len(lines) - room; more > 0 {
		lines = append(lines[:room-1:room-1], Line{fmt.Sprintf("and %d more locks, for which there is no room", more+1), plain})
	}
	var picture strings.Builder
	picture.WriteString(home)
	for _, l := range lines {
		text := strings.TrimRight(fit(l.text, columns), " ")
		if l.style != plain && coloured() {
			text = string(l.style) + text + reset
		}
		picture.WriteString(clearLine + text + "\r\n")
	}
	picture.WriteString(clearRest + strings.TrimRight(fit("q: quit", columns), " "))
	_, err := io.WriteString(s.Terminal, picture.String())
	return err
}

// plainText is a picture without a terminal.
func plainText(out io.Writer, lines []Line) error {
	for _, l := range lines {
		if _, err := fmt.Fprintln(out, strings.TrimRight(l.text, " ")); err != nil {
			return err
		}
	}
	return nil
}
