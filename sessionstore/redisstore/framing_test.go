package redisstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestFraming(t *testing.T) {
	for _, test := range []struct {
		name, stream string
		messages     int64
		err          error
	}{
		{"one answer", "+OK\r\n", 1, nil},
		{"each kind", "-ERR no\r\n:1\r\n_\r\n#t\r\n,1.5\r\n(123\r\n$3\r\na\r\n\r\n=5\r\ntxt:a\r\n", 8, nil},
		{"nothing", "$-1\r\n*-1\r\n", 2, nil},
		{"empty ones", "$0\r\n\r\n*0\r\n%0\r\n", 3, nil},
		{"content that looks like answers", "$10\r\n+OK\r\n+OK\r\n\r\n", 1, nil},
		{"nested ones", "*2\r\n*2\r\n:1\r\n$1\r\na\r\n%1\r\n+a\r\n~1\r\n:1\r\n", 1, nil},
		{"a command", "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", 1, nil},
		{"what nobody asks for", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n+OK\r\n", 2, nil},
		{"what stands before an answer", "|1\r\n+a\r\n+b\r\n+OK\r\n", 2, nil},
		{"one that is not whole yet", "*2\r\n:1\r\n", 0, nil},
		{"the longest, not whole yet", "$67108864\r\n", 0, nil},
		{"too long a text", "$67108865\r\n", 0, errTooLong},
		{"too many", "*1048577\r\n", 0, errTooLong},
		{"too many in all", strings.Repeat("*1048576\r\n", 3), 0, errTooLong},
		{"too many, one after the other", "*600000\r\n" + strings.Repeat("_\r\n", 599999) + "*600000\r\n", 0, errTooLong},
		{"too much in all", "*2\r\n$3\r\nabc\r\n$67108862\r\n", 0, errTooLong},
		{"lists in lists", strings.Repeat("*1\r\n", maxDepth) + "_\r\n", 1, nil},
		{"too many lists in lists", strings.Repeat("*1\r\n", maxDepth+1), 0, errTooLong},
		{"empty lists in a list", "*2\r\n*0\r\n*1\r\n*0\r\n+OK\r\n", 2, nil},
		{"no map", "%-1\r\n", 0, errNotProtocol},
		{"no push", ">-1\r\n", 0, errNotProtocol},
		{"a push in an answer", "*1\r\n>1\r\n+a\r\n", 0, errNotProtocol},
		{"an attribute in an answer", "*1\r\n|1\r\n+a\r\n+b\r\n+c\r\n", 0, errNotProtocol},
		{"an error with a length", "!1\r\nx\r\n", 0, errNotProtocol},
		{"a truth of no letter", "#\r\n", 0, errNotProtocol},
		{"a truth of several", "#true\r\n", 0, errNotProtocol},
		{"nothing, and something", "_x\r\n", 0, errNotProtocol},
		{"nothing without an end", "_xx_xx", 0, errNotProtocol},
		{"truths without an end", "#txx#txx", 0, errNotProtocol},
		{"the end of a list of any length", ".", 0, errNotProtocol},
		{"a number that is none", ":x\r\n", 0, errNotProtocol},
		{"another place", "-MOVED 1 192.0.2.1:6379\r\n-ASK 1 192.0.2.1:6379\r\n", 2, nil},
		{"another place without an address", "-MOVED 1\r\n", 0, errNotProtocol},
		{"a line without an end", strings.Repeat("+", maxLine+1), 0, errTooLong},
		{"a length that is none", "$x\r\n", 0, errNotProtocol},
		{"a length of any length", "$?\r\n", 0, errNotProtocol},
		{"a negative length", "$-2\r\n", 0, errNotProtocol},
		{"a length out of range", "$99999999999999999999\r\n", 0, errNotProtocol},
		{"an unknown kind", "HTTP/1.1 200 OK\r\n", 0, errNotProtocol},
		{"an empty line", "\r\n", 0, errNotProtocol},
		{"half a line end", "+OK\n", 0, errNotProtocol},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 7, 1 << 20} { // as it comes in
				messages := int64(0)
				f := framing{whole: func(*message) error { messages++; return nil }}
				var err error
				for rest := test.stream; rest != "" && err == nil; {
					n := min(size, len(rest))
					err = f.read([]byte(rest[:n]))
					rest = rest[n:]
				}
				if !errors.Is(err, test.err) || messages != test.messages {
					t.Errorf("in parts of %d: %d messages, error %v, want %d and %v", size, messages, err, test.messages, test.err)
				}
			}
		})
	}
}

func FuzzFraming(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\na\r\n"), 3)
	f.Fuzz(func(t *testing.T, stream []byte, at int) {
		seen := func(into *[]string) func(*message) error {
			return func(m *message) error {
				*into = append(*into, fmt.Sprintf("%c %d %q", m.kind, m.size, m.words))
				return nil
			}
		}
		var all, same []string
		whole, parts := framing{whole: seen(&all)}, framing{whole: seen(&same)}
		at = min(max(at, 0), len(stream))
		err := whole.read(stream)
		first := parts.read(stream[:at])
		if first == nil {
			first = parts.read(stream[at:])
		}
		if !errors.Is(err, first) || err == nil && (!slices.Equal(all, same) || whole.skip != parts.skip || !slices.Equal(whole.open, parts.open)) {
			t.Errorf("in two parts: %v, %q; whole: %v, %q", first, same, err, all)
		}
	})
}
