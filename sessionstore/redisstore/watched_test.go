package redisstore

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// lines are the bytes of commands or answers, in the order of the protocol.
func lines(parts ...string) string { return strings.Join(parts, "\r\n") + "\r\n" }

func TestAnswersAreThoseOfTheCommands(t *testing.T) {
	subscribe := lines("*3", "$9", "SUBSCRIBE", "$1", "a", "$1", "b")
	confirmed := lines(">3", "$9", "subscribe", "$1", "a", ":1")
	unsubscribe := lines("*1", "$11", "UNSUBSCRIBE") + lines("*1", "$4", "PING")
	ended := lines(">3", "$11", "unsubscribe", "_", ":0")
	ping := lines("*1", "$4", "PING")
	master := lines("*3", "$8", "SENTINEL", "$23", "GET-MASTER-ADDR-BY-NAME", "$1", "m")
	event := func(channel, text string) string {
		return lines(">3", "+message", "+"+channel, "+"+text)
	}
	for name, test := range map[string]struct {
		commands, answers string
		err               error
	}{
		"an answer":                               {ping, "+PONG\r\n", nil},
		"an answer that nobody asked for":         {"", "+OK\r\n", errUnasked},
		"one more than commands":                  {ping, "+PONG\r\n+PONG\r\n", errUnasked},
		"a change":                                {"", lines(">2", "$10", "invalidate", "*1", "$1", "a"), nil},
		"an attribute":                            {ping, "|1\r\n+a\r\n+b\r\n+PONG\r\n", nil},
		"a push without anything":                 {"", ">0\r\n", nil},
		"subscriptions":                           {subscribe, confirmed + confirmed, nil},
		"subscriptions, and a change between":     {subscribe, confirmed + lines(">2", "+invalidate", "_") + confirmed, nil},
		"a subscription that nobody asked for":    {"", confirmed, errUnasked},
		"another kind of subscription":            {"", lines(">3", "+psubscribe", "+x", ":1"), errUnasked},
		"a subscription for another command":      {ping + subscribe, confirmed, errUnasked},
		"a subscription too many":                 {subscribe, confirmed + confirmed + confirmed, errUnasked},
		"a subscription in an error's clothes":    {"", lines(">2", "-subscribe", "+x"), errUnasked},
		"a subscription that is refused":          {subscribe + ping, "-NOPERM no\r\n+PONG\r\n", nil},
		"a subscription that is refused too late": {subscribe, confirmed + "-NOPERM no\r\n", errUnasked},
		"a subscription that is answered":         {subscribe, "+OK\r\n", errUnasked},
		"a subscription that waits":               {subscribe, "+QUEUED\r\n", errUnasked},
		"a subscription that waits as an error":   {subscribe, "-QUEUED\r\n", errUnasked},
		"the end of subscriptions":                {unsubscribe + ping, ended + ended + "+PONG\r\n+PONG\r\n", nil},
		"the end of none":                         {unsubscribe, "+PONG\r\n", nil},
		"an end within the beginning":             {subscribe, confirmed + ended + confirmed, errUnasked},
		"an end that nobody asked for":            {ping, ended + "+PONG\r\n", nil},
		"an end that is refused":                  {unsubscribe + ping, "-NOPERM no\r\n+PONG\r\n+PONG\r\n", nil},
		"an end that is refused, and the PING":    {unsubscribe, "-NOPERM no\r\n-NOPERM the 'ping' command\r\n", nil},
		"an end, and a server that cannot save":   {unsubscribe + ping, ended + "-MISCONF no\r\n-MISCONF no\r\n", errUnasked},
		"an end that is answered":                 {unsubscribe, "+OK\r\n", errUnasked},
		"a PING that is refused":                  {ping, "-MISCONF no\r\n", nil},
		"a role":                                  {lines("*1", "$4", "ROLE"), lines("*3", "+master", ":0", "*0"), nil},
		"a role that is refused":                  {lines("*1", "$4", "ROLE"), "-NOPERM no\r\n", nil},
		"no role":                                 {lines("*1", "$4", "ROLE"), "*0\r\n", errUnasked},
		"a primary":                               {master, lines("*2", "+192.0.2.1", "+6379"), nil},
		"no such primary":                         {master, "*-1\r\n", nil},
		"a primary without a port":                {master, lines("*1", "+192.0.2.1"), errUnasked},
		"an event":                                {"", event("+switch-master", "m 192.0.2.1 1 192.0.2.2 2"), nil},
		"an event that is cut short":              {"", event("+switch-master", "m 192.0.2.1 1 192.0.2.2"), errUnasked},
		"a sentinel":                              {"", event("+sentinel", "sentinel x 192.0.2.1 1 @ m 192.0.2.2 2"), nil},
		"a sentinel without an address":           {"", event("+sentinel", "sentinel"), errUnasked},
		"a restart without an address":            {"", event("+reboot", "master m"), errUnasked},
		"an event without a text":                 {"", lines(">3", "+message", "++reboot", ":1"), errUnasked},
		"an event that nobody reads":              {"", event("+sdown", ""), nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 1 << 10} {
				here, there := net.Pipe()
				defer here.Close()
				go func() {
					defer there.Close()
					if _, err := io.CopyN(io.Discard, there, int64(len(test.commands))); err != nil {
						return
					}
					for rest := test.answers; rest != ""; {
						n := min(size, len(rest))
						if _, err := io.WriteString(there, rest[:n]); err != nil {
							return
						}
						rest = rest[n:]
					}
				}()
				w := newWatched(here, new(atomic.Bool), func() bool { return true })
				if test.commands != "" { // a pipe waits for somebody to read nothing
					if _, err := io.WriteString(w, test.commands); err != nil {
						t.Fatal(err)
					}
				}
				got, err := io.ReadAll(w)
				if !errors.Is(err, test.err) || err == nil && string(got) != test.answers {
					t.Errorf("in parts of %d: %q, error %v, want error %v", size, got, err, test.err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestTheOlderProtocolIsNotSpoken(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	w := newWatched(here, new(atomic.Bool), func() bool { return true })
	if _, err := io.WriteString(w, lines("*2", "$5", "HELLO", "$1", "2")); !errors.Is(err, errOldProtocol) {
		t.Errorf("%v, want that it is refused", err)
	}
}
