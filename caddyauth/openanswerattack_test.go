package caddyauth

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A byte behind the request makes the server's own look-out for the client end,
// which on HTTP/1 is what a deadline would wake.
func TestPipelinedByteKeepsNoAnswerOpen(t *testing.T) {
	s, u := startLong(t, setup{})
	for _, path := range []string{"/silent?pipelined", "/events?pipelined"} {
		c := s.signIn("ac12345")
		conn := dialRaw(t, s, c, "GET "+path)
		waitFor(t, u.begun, path, "reached")
		if _, err := io.WriteString(conn, "G"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		want(t, s.do("POST", "/api/logout/", c.shown), http.StatusOK, bodySignedOut)
		waitFor(t, u.done, path, "ended at the upstream")
	}
}

// A body that nobody reads keeps the look-out from beginning.
func TestUnreadBodyKeepsNoAnswerOpen(t *testing.T) {
	s, u := startLong(t, setup{})
	c := s.signIn("ac12345")
	conn := dialRaw(t, s, c, "POST /stuck", "Content-Length: 1000000000", "Content-Type: application/octet-stream")
	ended := make(chan error, 1)
	go func() {
		for block := make([]byte, 64<<10); ; {
			if _, err := conn.Write(block); err != nil {
				ended <- err
				return
			}
		}
	}()
	waitFor(t, u.begun, "/stuck", "reached")
	time.Sleep(200 * time.Millisecond) // until the buffers are full
	want(t, s.do("POST", "/api/logout/", c.shown), http.StatusOK, bodySignedOut)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the connection is still open")
	}
}

// The gate watches the answers of an ldap_login behind it too, and those are
// about the end of the session.
func TestSignInRoutesBehindAGateAnswerTheirOwnEnd(t *testing.T) {
	s := start(t, setup{site: "route {\n\t\trequire_session\n\t\tldap_login {\n\t\t\tlogout /bye/\n\t\t\tsessions /mine/\n\t\t}\n\t\trespond upstream\n\t}"})
	c := s.signIn("ac12345")
	got, err := s.once("GET", "/bye/", c.cookies)
	if err != nil {
		t.Fatal(err)
	}
	want(t, got, http.StatusOK, bodySignedOut)
	c = s.signIn("ac12345")
	if got, err = s.once("POST", "/mine/", c.shown, end(s.idOf(c))); err != nil {
		t.Fatal(err)
	}
	if got.StatusCode != http.StatusOK || got.cookie("sessionid") != "" || len(got.setCookies("sessionid")) != 1 {
		t.Errorf("got %d %s, %q", got.StatusCode, got.body, got.Header["Set-Cookie"])
	}
	want(t, s.do("GET", "/x", c.cookies), http.StatusUnauthorized, bodyAuthenticationRequired)
}

// lingering is a handler that goes on after its answer, until the request ends.
type lingering struct{}

func init() {
	caddy.RegisterModule(lingering{})
	httpcaddyfile.RegisterHandlerDirective("test_linger", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return lingering{}, nil
	})
}

func (lingering) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_linger", New: func() caddy.Module { return new(lingering) }}
}

func (lingering) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if err := r.Context().Err(); err != nil {
		fmt.Fprintf(w, "born dead: %v", err)
		return nil
	}
	w.Header().Set("Content-Length", "2")
	_, _ = io.WriteString(w, "ok")
	_ = http.NewResponseController(w).Flush()
	if r.URL.Path == "/linger" {
		<-r.Context().Done()
	}
	return nil
}

// A connection whose answer was ended must not serve the next request, which may
// be another user's behind a proxy: it would begin with a context and deadlines
// that have passed.
func TestConnectionOfAnEndedAnswerServesNobodyElse(t *testing.T) {
	s := start(t, setup{site: "route {\n\t\trequire_session\n\t\ttest_linger\n\t}"})
	first, second := s.signIn("ac12345"), s.signIn("mgarcia")
	conn := dialRaw(t, s, first, "GET /linger")
	in := bufio.NewReader(conn)
	read := func() (string, error) {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(response.Body)
		return string(body), err
	}
	if body, err := read(); body != "ok" || err != nil {
		t.Fatalf("got %q, %v", body, err)
	}
	want(t, s.do("POST", "/api/logout/", first.shown), http.StatusOK, bodySignedOut)
	if _, err := fmt.Fprintf(conn, "GET /x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nCookie: sessionid=%s\r\n\r\n", s.port, second.token); err != nil {
		return // it is closed already
	}
	if body, err := read(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the next user of the connection gets %q, %v", body, err)
	}
}
