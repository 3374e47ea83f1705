package caddyauth

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// endsWithin is how long an answer may outlive its session. DESIGN allows 2 s;
// machines that run tests are slow, so that it is not less here.
const endsWithin = 2 * time.Second

// longUpstream has answers that take as long as the client stays. Each handler
// tells when it is done.
type longUpstream struct {
	*httptest.Server
	begun, done chan string
	release     chan struct{} // closed at the end of the test
	uploaded    atomic.Int64
}

func newLongUpstream(t *testing.T) *longUpstream {
	u := &longUpstream{begun: make(chan string, 100), done: make(chan string, 100), release: make(chan struct{})}
	mux := http.NewServeMux()
	handle := func(path string, serve func(w http.ResponseWriter, r *http.Request)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			u.begun <- r.RequestURI
			defer func() { u.done <- r.RequestURI }()
			serve(w, r)
		})
	}
	handle("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	handle("/stuck", func(http.ResponseWriter, *http.Request) { <-u.release })
	handle("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprint(w, "data: hola\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	handle("/big", func(w http.ResponseWriter, r *http.Request) {
		for block := make([]byte, 64<<10); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	handle("/trickle", func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.WriteString(w, "more\n"); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	handle("/upload", func(w http.ResponseWriter, r *http.Request) {
		for block := make([]byte, 4<<10); ; {
			n, err := r.Body.Read(block)
			u.uploaded.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	handle("/socket", func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	})
	u.Server = httptest.NewServer(mux)
	t.Cleanup(u.Close)
	t.Cleanup(func() { close(u.release) })
	return u
}

// waitFor takes what a handler has to say.
func waitFor(t *testing.T, events chan string, path, what string) {
	t.Helper()
	for timeout := time.After(10 * time.Second); ; {
		select {
		case got := <-events:
			if got == path {
				return
			}
		case <-timeout:
			t.Fatalf("%s was not %s", path, what)
		}
	}
}

// startLong runs a site before a longUpstream.
func startLong(t *testing.T, setup setup) (*server, *longUpstream) {
	t.Helper()
	u := newLongUpstream(t)
	setup.site = "require_session\nreverse_proxy " + u.Listener.Addr().String() + " {\n\t\tflush_interval -1\n\t}"
	if setup.global == "" {
		setup.global = "servers {\n\t\tprotocols h1 h2c\n\t}"
	}
	return start(t, setup), u
}

// openKind is a way in which a client can keep an answer open. open returns
// what tells that the client has seen the end.
type openKind struct {
	name, path string
	open       func(t *testing.T, s *server, c signedIn, path string) <-chan error
}

func openKinds() []openKind {
	return []openKind{
		{"an event stream", "/events?1", openGet},
		{"an event stream on HTTP/2", "/events?2", openGetHTTP2},
		{"an upstream that does not answer", "/silent?1", openGet},
		{"an upstream that does not answer on HTTP/2", "/silent?2", openGetHTTP2},
		{"a download that trickles", "/trickle?1", openGet},
		{"a download that trickles on HTTP/2", "/trickle?2", openGetHTTP2},
		{"a download that the client lets stall", "/big", openStalled},
		{"an upload", "/upload", openUpload},
		{"a WebSocket", "/socket", openSocket},
	}
}

func openGet(t *testing.T, s *server, c signedIn, path string) <-chan error {
	return openGetOver(t, s, c, path, 1)
}

func openGetHTTP2(t *testing.T, s *server, c signedIn, path string) <-chan error {
	return openGetOver(t, s, c, path, 2)
}

// openGetOver reads an answer until it ends.
func openGetOver(t *testing.T, s *server, c signedIn, path string, version int) <-chan error {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(version == 1)
	transport.Protocols.SetUnencryptedHTTP2(version == 2)
	t.Cleanup(transport.CloseIdleConnections)
	ended := make(chan error, 1)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.cookies(request)
	go func() {
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err == nil {
			if response.ProtoMajor != version {
				err = fmt.Errorf("the answer is HTTP/%d", response.ProtoMajor)
			} else if _, err = io.Copy(io.Discard, response.Body); err == nil && response.StatusCode == http.StatusOK {
				err = io.EOF
			}
			response.Body.Close()
		}
		ended <- err
	}()
	return ended
}

// dialRaw sends the head of a request by hand.
func dialRaw(t *testing.T, s *server, c signedIn, line string, headers ...string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(s.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	head := line + " HTTP/1.1\r\nHost: 127.0.0.1:" + strconv.Itoa(s.port) + "\r\nCookie: sessionid=" + c.token + "; csrftoken=" + c.csrf + "\r\nX-CSRFToken: " + c.csrf + "\r\n"
	if _, err := io.WriteString(conn, head+strings.Join(append(headers, "", ""), "\r\n")); err != nil {
		t.Fatal(err)
	}
	return conn
}

// openStalled asks for a lot and reads nothing until the end.
func openStalled(t *testing.T, s *server, c signedIn, path string) <-chan error {
	dialRaw(t, s, c, "GET "+path)
	ended := make(chan error, 1)
	ended <- errors.New("the client does not look")
	return ended
}

// openUpload sends a body that does not end.
func openUpload(t *testing.T, s *server, c signedIn, path string) <-chan error {
	conn := dialRaw(t, s, c, "POST "+path, "Content-Length: 1000000000", "Content-Type: application/octet-stream")
	ended := make(chan error, 1)
	go func() {
		for block := make([]byte, 1<<10); ; {
			if _, err := conn.Write(block); err != nil {
				ended <- err
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return ended
}

// openSocket talks through a WebSocket's connection.
func openSocket(t *testing.T, s *server, c signedIn, path string) <-chan error {
	t.Helper()
	conn := dialRaw(t, s, c, "GET "+path, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("opening a WebSocket: %v, %v", response, err)
	}
	if _, err := io.WriteString(conn, "hola\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := in.ReadString('\n'); line != "hola\n" {
		t.Fatalf("the WebSocket says %q, %v", line, err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := in.ReadByte()
		ended <- err
	}()
	return ended
}

// expectEnd waits for the end of an answer, on both sides of Caddy.
func expectEnd(t *testing.T, u *longUpstream, path string, ended <-chan error, since time.Time) {
	t.Helper()
	timeout := time.After(endsWithin - time.Since(since))
	var atClient, atUpstream bool
	for !atClient || !atUpstream {
		select {
		case err := <-ended:
			if atClient = true; err == nil {
				t.Error("the answer came to a good end")
			}
		case done := <-u.done:
			atUpstream = atUpstream || done == path
		case <-timeout:
			t.Fatalf("the answer is still open %s after its session ended (seen at the client: %t, upstream: %t)", endsWithin, atClient, atUpstream)
		}
	}
	t.Logf("ended after %s", time.Since(since).Round(time.Millisecond))
}

// Whoever is signed out must not go on reading: logout leaves no stream alive.
func TestOpenAnswersEndWithASignOut(t *testing.T) {
	s, u := startLong(t, setup{})
	for _, kind := range openKinds() {
		t.Run(kind.name, func(t *testing.T) {
			c := s.signIn("ac12345")
			other := s.signIn("ac12345")
			ended := kind.open(t, s, c, kind.path)
			waitFor(t, u.begun, kind.path, "reached")
			otherEnded := openGet(t, s, other, "/events?other")
			waitFor(t, u.begun, "/events?other", "reached")
			answer := s.do("POST", "/api/logout/", c.shown)
			since := time.Now()
			want(t, answer, http.StatusOK, bodySignedOut)
			expectEnd(t, u, kind.path, ended, since)
			select {
			case err := <-otherEnded:
				t.Errorf("the other session's stream ended: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			want(t, s.do("POST", "/api/logout/", other.shown), http.StatusOK, bodySignedOut)
			if err := <-otherEnded; err == nil {
				t.Error("the other session's stream came to a good end")
			}
		})
	}
}

// An end that no request of the session asked for holds as well.
func TestOpenAnswersEndWithARevocation(t *testing.T) {
	s, u := startLong(t, setup{})
	for _, kind := range openKinds() {
		t.Run(kind.name, func(t *testing.T) {
			c := s.signIn("ac12345")
			ended := kind.open(t, s, c, kind.path)
			waitFor(t, u.begun, kind.path, "reached")
			token, _ := sessionstore.ParseToken(c.token)
			if _, err := s.sessions().End(context.Background(), token); err != nil {
				t.Fatal(err)
			}
			expectEnd(t, u, kind.path, ended, time.Now())
		})
	}
}

// Absolute expiry ends every answer; idle expiry those that stay open for as
// long as somebody listens, and no download.
func TestOpenAnswersEndWithTheLimits(t *testing.T) {
	for _, limit := range []struct {
		name, lines string
		ends        []string
	}{
		{"absolute", "absolute_timeout 3s", []string{"/events?1", "/events?2", "/silent?1", "/silent?2", "/trickle?1", "/trickle?2", "/big", "/upload", "/socket"}},
		{"idle", "idle_timeout 3s", []string{"/events?1", "/events?2", "/socket"}},
	} {
		t.Run(limit.name, func(t *testing.T) {
			s, u := startLong(t, setup{sessions: limit.lines})
			for _, kind := range openKinds() {
				kind.open(t, s, s.signIn("ac12345"), kind.path)
				waitFor(t, u.begun, kind.path, "reached")
			}
			var ended []string
			timeout := time.After(3*time.Second + endsWithin)
			for waiting := true; waiting; {
				select {
				case path := <-u.done:
					ended = append(ended, path)
				case <-timeout:
					waiting = false
				}
			}
			slices.Sort(ended)
			slices.Sort(limit.ends)
			if !slices.Equal(ended, limit.ends) {
				t.Errorf("ended: %q, want %q", ended, limit.ends)
			}
		})
	}
}

// A file server's answer is written by the kernel where that is possible, and
// ends all the same.
func TestOpenAnswerOfAFileEndsWithItsSession(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "big.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.Truncate(1<<30), file.Close()); err != nil {
		t.Fatal(err)
	}
	s := start(t, setup{site: "require_session\nroot * " + dir + "\nfile_server"})
	c := s.signIn("ac12345")
	conn := dialRaw(t, s, c, "GET /big.bin")
	if _, err := io.ReadFull(conn, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("POST", "/api/logout/", c.shown), http.StatusOK, bodySignedOut)
	_ = conn.SetReadDeadline(time.Now().Add(endsWithin))
	n, err := io.Copy(io.Discard, conn)
	if n > 512<<20 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the sign-out %d bytes came, then %v", n, err)
	}
}

// A connection outlives a request whose answer was watched: what ends the
// session later must not touch the next request on it.
func TestConnectionGoesOnAfterAWatchedAnswer(t *testing.T) {
	s := start(t, setup{})
	first, second := s.signIn("ac12345"), s.signIn("ac12345")
	for range 20 {
		if got := s.do("GET", "/", first.cookies); got.StatusCode != http.StatusOK {
			t.Fatalf("got %d %s", got.StatusCode, got.body)
		}
	}
	want(t, s.do("POST", "/api/logout/", first.shown), http.StatusOK, bodySignedOut)
	for range 20 {
		if got := s.do("GET", "/", second.cookies); got.StatusCode != http.StatusOK {
			t.Fatalf("got %d %s", got.StatusCode, got.body)
		}
		want(t, s.do("GET", "/", first.cookies), http.StatusUnauthorized, bodyAuthenticationRequired)
	}
}

// sessions are the server's.
func (s *server) sessions() *sessionstore.Sessions {
	s.t.Helper()
	var open *sessionstore.Sessions
	stores.Range(func(_, value any) bool {
		open = value.(*storeHandle).sessions.Load()
		return false
	})
	if open == nil {
		s.t.Fatal("no store is open")
	}
	return open
}

// What watches an answer stands in the server's own request: placeholders read
// that one, error routes go on with it.
func TestPlaceholdersSeeTheWatchedRequest(t *testing.T) {
	for name, site := range map[string]string{
		"behind the gate":   "require_session\nrequest_header X-Copy {http.request.body}\nreverse_proxy UPSTREAM",
		"in an error route": "require_session\nerror /fails 404\nhandle_errors {\n\t\treverse_proxy UPSTREAM {\n\t\t\theader_up X-Copy copied\n\t\t}\n\t}",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{site: site})
			c := s.signIn("ac12345")
			sent := ""
			if name == "behind the gate" {
				sent = "hola"
			}
			got := s.do("POST", "/fails", c.shown, body("text/plain", sent))
			if got.StatusCode != http.StatusOK {
				t.Fatalf("got %d %s", got.StatusCode, got.body)
			}
			seen := s.upstream.last(t)
			if copied := seen.header.Get("X-Copy"); copied == "" || seen.body != sent {
				t.Errorf("the upstream got X-Copy %q and the body %q, want %q", copied, seen.body, sent)
			}
		})
	}
}
