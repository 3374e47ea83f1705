package attack

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
)

// openanswerFile is the size of a download, more than all buffers on its way.
const openanswerFile = 256 << 20

// openanswerLimit is how long an answer may outlive its session here: by design
// that is 2 s, but not on every machine that runs tests.
const openanswerLimit = 12 * time.Second

// openanswerStart runs a site with answers that come to no end by themselves.
func openanswerStart(t *testing.T, sessions string) *site {
	t.Helper()
	s, text := prepare(t, setup{sessions: sessions, site: `require_session
	handle /big {
		root * DIR/files
		file_server
	}
	reverse_proxy UPSTREAM {
		flush_interval -1
	}`})
	folder := filepath.Join(s.dir, "files")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "big"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(folder, "big"), openanswerFile); err != nil {
		t.Fatal(err)
	}
	open := make(chan struct{})
	t.Cleanup(func() { close(open) })
	s.echo.Answer(func(r rawecho.Request) string {
		switch r.Target() {
		case "/socket":
			return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
		case "/events":
			return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000000\r\n\r\ndata: hola\n\n"
		case "/trickle":
			return "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\nhola\n"
		case "/silent":
			<-open
		}
		return ""
	})
	s.run(t, text)
	return s
}

// openanswerKind is a way to keep an answer open. first is what the client
// reads before the session ends, "" for nothing.
type openanswerKind struct{ name, head, first string }

func openanswerKinds() []openanswerKind {
	return []openanswerKind{
		{"a WebSocket", "GET /socket HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n", "HTTP/1.1 101"},
		{"an event stream", "GET /events HTTP/1.1\n", "HTTP/1.1 200"},
		{"a download that stalls at the upstream", "GET /trickle HTTP/1.1\n", "HTTP/1.1 200"},
		{"a file that the client does not read", "GET /big HTTP/1.1\n", "HTTP/1.1 200"},
		{"an upstream that does not answer", "GET /silent HTTP/1.1\n", ""},
		{"an upload", "POST /upload HTTP/1.1\nContent-Type: application/octet-stream\nContent-Length: 1000000\n", ""},
	}
}

// openanswer is a connection whose answer is under way.
type openanswer struct {
	openanswerKind
	conn net.Conn
	in   *bufio.Reader
}

// open begins an answer.
func (kind openanswerKind) open(t *testing.T, c session) openanswer {
	t.Helper()
	o := openanswer{openanswerKind: kind, conn: c.dial(t, "http/1.1")}
	o.in = bufio.NewReader(o.conn)
	request := c.wire(kind.head + "Host: HOST\nCookie: " + c.cookie() + "\nX-CSRFToken: " + c.csrf + "\n\n")
	if _, err := io.WriteString(o.conn, request); err != nil {
		t.Fatal(err)
	}
	if kind.first == "" {
		return o
	}
	line, err := o.in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, kind.first) {
		t.Fatalf("%s began with %q, %v", kind.name, line, err)
	}
	return o
}

// over reads until the answer breaks off. What it returns tells what went wrong
// otherwise.
func (o openanswer) over(since time.Time) error {
	_ = o.conn.SetReadDeadline(since.Add(openanswerLimit))
	n, err := io.Copy(io.Discard, o.in)
	var network net.Error
	switch {
	case errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("it is still open %s after its session has ended", time.Since(since))
	case n >= openanswerFile:
		return errors.New("the whole file came")
	}
	return nil
}

// Whatever is being sent, received or waited for when a session ends breaks
// off, and nobody else's does.
func TestB30OpenAnswersEndWithTheSession(t *testing.T) {
	t.Parallel()
	s := openanswerStart(t, "")
	for _, end := range []struct {
		name string
		end  func(t *testing.T, c session)
	}{
		{"signed out", func(t *testing.T, c session) { c.signOut(t) }},
		{"ended by an operator", func(t *testing.T, _ session) { s.endSessions(t, juan) }},
		{"ended by its owner elsewhere", func(t *testing.T, c session) {
			other := s.signIn(t, juan)
			if r := other.post(t, "/accounts/sessions/", `{"end":"others"}`, "Content-Type", "application/json"); r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.body)
			}
			other.signOut(t)
		}},
		{"replaced by a sign-in", func(t *testing.T, c session) { s.signIn(t, juan, "Cookie", c.cookie()) }},
	} {
		t.Run(end.name, func(t *testing.T) {
			c, other := s.signIn(t, juan), s.signIn(t, maria)
			var open []openanswer
			for _, kind := range openanswerKinds() {
				open = append(open, kind.open(t, c))
			}
			stays := openanswerKinds()[0].open(t, other)
			time.Sleep(200 * time.Millisecond) // until those that say nothing are under way
			end.end(t, c)
			since := time.Now()
			for _, o := range open {
				if err := o.over(since); err != nil {
					t.Errorf("%s: %v", o.name, err)
				}
			}
			stays.echoes(t)
			other.signOut(t)
			if err := stays.over(time.Now()); err != nil {
				t.Errorf("%s of the other: %v", stays.name, err)
			}
		})
	}
}

// echoes fails unless what is sent through a WebSocket's connection comes back.
func (o openanswer) echoes(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(o.conn, "hola\n"); err != nil {
		t.Errorf("%s of somebody else: %v", o.name, err)
		return
	}
	for {
		line, err := o.in.ReadString('\n')
		if err != nil {
			t.Errorf("%s of somebody else: %v", o.name, err)
		}
		if err != nil || line == "hola\n" {
			return
		}
	}
}

// The absolute limit ends all of them, the idle one those that would stay open
// for as long as somebody listens.
func TestB30OpenAnswersEndWithTheLimits(t *testing.T) {
	t.Parallel()
	for _, limit := range []struct {
		name, lines string
		kinds       []openanswerKind
	}{
		{"absolute", "absolute_timeout 4s", openanswerKinds()},
		{"idle", "idle_timeout 4s", openanswerKinds()[:2]},
	} {
		t.Run(limit.name, func(t *testing.T) {
			t.Parallel()
			s := openanswerStart(t, limit.lines)
			var open []openanswer
			for _, kind := range limit.kinds {
				open = append(open, kind.open(t, s.signIn(t, juan)))
			}
			since := time.Now()
			for _, o := range open {
				if err := o.over(since); err != nil {
					t.Errorf("%s: %v", o.name, err)
				}
			}
		})
	}
}
