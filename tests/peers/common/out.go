// Package common holds what the three peers share: the command line, the
// lines on standard output, the book of running handlers.
package common

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stdout is kept for the lines of the protocol. go-micro v2's logger prints to
// os.Stdout whatever its options say, so that name is given to stderr.
var (
	stdout  = os.Stdout
	printMu sync.Mutex
)

func init() { os.Stdout = os.Stderr }

// Line prints one line of the protocol.
func Line(format string, args ...any) {
	printMu.Lock()
	defer printMu.Unlock()
	fmt.Fprintf(stdout, format+"\n", args...)
}

// Object is a JSON object.
type Object map[string]any

// JSON is a value as one line of JSON text.
func JSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		Fatal("a result that is no JSON: %v", err)
	}
	return string(text)
}

// Ok is the result of a case that saw no error.
func Ok(more Object) Object {
	out := Object{"ok": true}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// Failed is the result of a case that saw an error.
func Failed(err Object, more Object) Object {
	out := Ok(more)
	out["ok"] = false
	out["error"] = err
	return out
}

// Unsupported is the result of a case that this peer's library cannot run.
func Unsupported(why string) Object {
	return Failed(Object{"kind": "unsupported", "message": why}, nil)
}

// Case is one entry of the case list: `name` or `name:argument`.
type Case struct {
	Name, Arg string
}

// Number is the argument as a number, or the default if there is none.
func (c Case) Number(otherwise int64) int64 {
	if c.Arg == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(c.Arg, 10, 64)
	if err != nil {
		Fatal("case %s expects a number, found %q", c.Name, c.Arg)
	}
	return n
}

// Millis is the argument as a duration in milliseconds.
func (c Case) Millis(otherwise int64) time.Duration {
	return time.Duration(c.Number(otherwise)) * time.Millisecond
}

// Text is the argument, or the default if there is none.
func (c Case) Text(otherwise string) string {
	if c.Arg == "" {
		return otherwise
	}
	return c.Arg
}

// RunCases runs each case and prints `CASE JSON` for it. The words are lists
// of cases joined with commas; the word "-" stands for the lines of standard
// input, each answered before the next is read. A case that has not ended
// after the limit is reported as such and left behind.
func RunCases(words []string, limit time.Duration, run func(Case) Object) {
	one := func(text string) {
		name, arg, _ := strings.Cut(text, ":")
		done := make(chan Object, 1)
		go func() { done <- run(Case{name, arg}) }()
		var result Object
		select {
		case result = <-done:
		case <-time.After(limit):
			result = Failed(Object{"kind": "hung", "message": fmt.Sprintf("no end within %v", limit)}, nil)
		}
		Line("%s %s", text, JSON(result))
	}
	if len(words) == 0 {
		Fatal("client expects cases, as in: client --name N unary,fail:404, or - to read them from standard input")
	}
	for _, word := range words {
		if word == "-" {
			lines := bufio.NewScanner(os.Stdin)
			for lines.Scan() {
				if text := strings.TrimSpace(lines.Text()); text != "" {
					one(text)
				}
			}
			continue
		}
		for _, text := range strings.Split(word, ",") {
			if text != "" {
				one(text)
			}
		}
	}
}

// MicroFields reads the text of a go-micro error, which is a JSON object.
// Anything else gives an empty object.
func MicroFields(text string) Object {
	var e struct {
		ID     string `json:"id"`
		Code   int32  `json:"code"`
		Detail string `json:"detail"`
		Status string `json:"status"`
	}
	if !strings.HasPrefix(text, "{") || json.Unmarshal([]byte(text), &e) != nil {
		return Object{}
	}
	return Object{"id": e.ID, "code": e.Code, "detail": e.Detail, "status": e.Status}
}

// payloadShown is the longest payload that is printed, in bytes.
const payloadShown = 64

// Payload is how a payload is shown: its length, and itself if it is short.
func Payload(b []byte) (int, []byte) {
	if len(b) > payloadShown {
		return len(b), nil
	}
	return len(b), b
}
