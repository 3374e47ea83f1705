package caddyauth

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// A form comes slowly, and while it does a reload has the same sessions kept by
// another user of the same Redis, and its session is ended there. Nobody told the
// store that the request asked, and nothing is done for it.
func TestASlowFormIsNotServedByAClosedStore(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"user two on nopass ~* &* +@all"}})
	s := start(t, setup{storage: redisLine(server)})
	c := s.signIn("ac12345")
	form := "csrfmiddlewaretoken=" + c.csrf + "&a=b"
	conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", s.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nCookie: sessionid=%s; csrftoken=%s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", s.port, c.token, c.csrf, len(form), form[:5])
	time.Sleep(500 * time.Millisecond) // it has been looked up
	s.setup.storage = redisLine(server, "username two", "password x")
	if err := s.load(strings.Replace(s.caddyfile(), "grace_period 3s", "grace_period 1m", 1)); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/api/logout/", c.cookies), 200, bodySignedOut)
	want(t, s.do("GET", "/x", c.cookies), 401, bodyAuthenticationRequired)
	if _, err := io.WriteString(conn, form[5:]); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable || len(answer.Cookies()) > 0 {
		t.Errorf("got %d, with cookies %v", answer.StatusCode, answer.Cookies())
	}
}

// An answer that is open when its sessions are kept elsewhere ends by their limits.
func TestOpenAnswersOfAClosedStoreKeepTheirLimits(t *testing.T) {
	s := start(t, setup{sessions: "absolute_timeout 6s"})
	c := s.signIn("ac12345")
	stream := s.openEvents(c)
	s.setup.storage = "storage badger " + t.TempDir() + "/other"
	if err := s.load(strings.Replace(s.caddyfile(), "grace_period 3s", "grace_period 1m", 1)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, stream)
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("the stream outlives the absolute limit")
	}
}

// openEvents has c read from an event stream that lasts until somebody ends it.
func (s *server) openEvents(c signedIn) io.Reader {
	s.t.Helper()
	const first = "data: hola\n\n"
	s.upstream.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/events" {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, first)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	r, err := http.NewRequest("GET", s.base+"/events", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	c.cookies(r)
	stream, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { stream.Body.Close() })
	if _, err := io.ReadFull(stream.Body, make([]byte, len(first))); err != nil {
		s.t.Fatal(err)
	}
	return stream.Body
}
