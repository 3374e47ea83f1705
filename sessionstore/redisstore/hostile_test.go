package redisstore

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// What a server sends of its own accord, after it was taken for one, is an error
// at the worst. The client would end the process over most of it.
func TestAServerThatGoesMad(t *testing.T) {
	for name, words := range map[string]string{
		"a subscription":           ">3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n",
		"the end of one":           ">3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:0\r\n",
		"no push":                  ">-1\r\n",
		"no map":                   "%-1\r\n",
		"a push of numbers":        ">2\r\n$10\r\ninvalidate\r\n:5\r\n",
		"a push in an answer":      "*1\r\n>2\r\n+a\r\n+b\r\n",
		"truths without an end":    "#txx#txx#txx",
		"nothings without an end":  "_xx_xx_xx",
		"the end of a list":        ".\r\n",
		"lists in lists":           strings.Repeat("*1\r\n", 1<<16),
		"another place":            "-MOVED\r\n",
		"an answer":                "+OK\r\n",
		"an event without a text":  ">3\r\n$7\r\nmessage\r\n$9\r\n+sentinel\r\n$0\r\n\r\n",
		"an error with its length": "!2\r\nno\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			said := make(chan struct{}, 100)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						var b [4096]byte
						if _, err := conn.Read(b[:]); err != nil {
							return
						}
						io.WriteString(conn, "%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n+OK\r\n")
						// By now it reads in the background, and has asked what it is.
						if _, err := conn.Read(b[:]); err != nil {
							return
						}
						for range 3 {
							if _, err := io.WriteString(conn, words); err != nil {
								break
							}
							time.Sleep(10 * time.Millisecond)
						}
						said <- struct{}{}
					}()
				}
			}()
			s := open(t, Options{Addresses: []string{l.Addr().String()}})
			t.Log(unavailable(t, s))
			<-said
		})
	}
}

// What the client panics over while somebody waits for it is an error too.
func TestAPanicOverAnAnswerIsAnError(t *testing.T) {
	_, err := aside(t.Context(), func() (int, error) {
		var none []string
		return len(none[0]), nil
	})
	if !errors.Is(err, errNotProtocol) {
		t.Errorf("%v, want that it is no Redis server", err)
	}
}
