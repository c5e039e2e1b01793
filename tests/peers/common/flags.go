package common

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Args is a parsed command line: `COMMAND --flag value --flag=value word …`.
type Args struct {
	Command string
	flags   map[string][]string
	Words   []string
}

// ParseArgs reads os.Args and then cuts them down to the program's name,
// because go-micro parses os.Args itself and ends the process at a flag that
// it does not know.
func ParseArgs() *Args {
	a := &Args{flags: map[string][]string{}}
	rest := os.Args[1:]
	os.Args = os.Args[:1]
	if len(rest) > 0 {
		a.Command, rest = rest[0], rest[1:]
	}
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		if !strings.HasPrefix(word, "--") {
			a.Words = append(a.Words, word)
			continue
		}
		key, value, found := strings.Cut(word[2:], "=")
		if !found {
			if len(rest) == 0 {
				Fatal("flag --%s needs a value", key)
			}
			value, rest = rest[0], rest[1:]
		}
		a.flags[key] = append(a.flags[key], value)
	}
	return a
}

// Get is the last value of a flag, or the default.
func (a *Args) Get(key, otherwise string) string {
	if v := a.flags[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return otherwise
}

// Need is the value of a flag that must be there.
func (a *Args) Need(key string) string {
	v := a.Get(key, "")
	if v == "" {
		Fatal("%s needs --%s", a.Command, key)
	}
	return v
}

// Int is the value of a flag as a number.
func (a *Args) Int(key string, otherwise int) int {
	text := a.Get(key, "")
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		Fatal("--%s expects a number, found %q", key, text)
	}
	return n
}

// Pairs collects a repeatable flag of the form `--key k=v`.
func (a *Args) Pairs(key string) map[string]string {
	out := map[string]string{}
	for _, pair := range a.flags[key] {
		k, v, _ := strings.Cut(pair, "=")
		out[k] = v
	}
	return out
}

// Fatal ends the process with status 2: the harness was used wrongly.
func Fatal(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "peer: "+format+"\n", args...)
	os.Exit(2)
}
