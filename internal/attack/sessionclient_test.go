package attack

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// The service account of a directory that re-checks its people.
const (
	sessionService         = "svc@empresa.local"
	sessionServicePassword = "del-servicio-7"
)

// sessionRechecked is the demonstration's directory with a service account.
func sessionRechecked() ldaptest.Directory {
	dir := ldaptest.Demo()
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "svc", UPN: sessionService, Surname: "Servicio", Password: sessionServicePassword})
	return dir
}

// sessionBlock is the directory block that goes with it.
func sessionBlock(options string) string {
	return "servers DIRECTORY\nbind " + sessionService + " " + sessionServicePassword + "\n" + options
}

// admin asks Caddy's admin endpoint. That is open before the configuration is
// in force, as the site's port is.
func (s *site) admin(t testing.TB, method, path string) reply {
	t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, "admin.sock"))
		},
	}
	client := &http.Client{Transport: transport, Timeout: 60 * time.Second}
	var r reply
	sessionEventually(t, "the admin endpoint has a configuration", func() bool {
		request, err := http.NewRequest(method, "http://127.0.0.1"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatalf("%s %s on the admin endpoint: %v", method, path, err)
		}
		if r, err = replyOf(response); err != nil {
			t.Fatal(err)
		}
		return !strings.Contains(r.body, "no configuration with ldap_auth runs")
	})
	return r
}

// sessionCounts is what the store holds.
type sessionCounts struct{ Sessions, Users int }

func (s *site) sessionCounts(t testing.TB) sessionCounts {
	t.Helper()
	var counts sessionCounts
	r := s.admin(t, "GET", "/ldap_auth/counts")
	if err := json.Unmarshal([]byte(r.body), &counts); err != nil || r.status != http.StatusOK {
		t.Fatalf("asking for counts: %d %s", r.status, r.body)
	}
	return counts
}

// sessionIDs are the public ids of somebody's sessions.
func (s *site) sessionIDs(t testing.TB, username string) []string {
	t.Helper()
	var list struct{ Sessions []struct{ ID string } }
	r := s.admin(t, "GET", "/ldap_auth/sessions?user="+username)
	if err := json.Unmarshal([]byte(r.body), &list); err != nil || r.status != http.StatusOK {
		t.Fatalf("asking for sessions: %d %s", r.status, r.body)
	}
	var ids []string
	for _, session := range list.Sessions {
		ids = append(ids, session.ID)
	}
	return ids
}

// post sends a POST with the session's cookies and its CSRF token.
func (s session) post(t testing.TB, path, body string, fields ...string) reply {
	t.Helper()
	return s.do(t, "POST", path, body, append(fields, "Cookie", s.cookie(), "X-CSRFToken", s.csrf)...)
}

// signOut ends the session.
func (s session) signOut(t testing.TB) reply {
	t.Helper()
	r := s.post(t, "/api/logout/", "")
	if r.status != http.StatusOK || r.body != signedOut {
		t.Fatalf("signing out: %d %s", r.status, r.body)
	}
	return r
}

// sessionBurst sends requests on one connection, without waiting for answers,
// and returns these. Each text is a request in lines, as for raw.
func (s *site) sessionBurst(t testing.TB, texts []string) []reply {
	t.Helper()
	conn := s.dial(t, "http/1.1")
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, s.wire(strings.Join(texts, "")))
		sent <- err
	}()
	in := bufio.NewReader(conn)
	replies := make([]reply, 0, len(texts))
	for range texts {
		response, err := http.ReadResponse(in, nil)
		var r reply
		if err == nil {
			r, err = replyOf(response)
		}
		if err != nil {
			t.Fatalf("reading answer %d of %d: %v", len(replies)+1, len(texts), err)
		}
		replies = append(replies, r)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	return replies
}

// sessionGet is a request in lines, with a Cookie header.
func sessionGet(path, cookie string) string {
	return "GET " + path + " HTTP/1.1\nHost: HOST\nCookie: " + cookie + "\n\n"
}

// restart runs Caddy again after it has ended.
func (s *site) restart(t testing.TB, text string) {
	t.Helper()
	if conn, err := net.Dial("tcp", "127.0.0.1:"+s.port); err == nil {
		_ = conn.Close()
		t.Fatal("it still runs")
	}
	s.run(t, text)
}

// startFails runs Caddy on a configuration with which it must not start, and
// returns what it printed.
func (s *site) startFails(t testing.TB, text string) string {
	t.Helper()
	cmd := s.command(t, "run", "--config", s.config(t, text), "--adapter", "caddyfile")
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	bounded := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	bounded.Env = cmd.Env
	out, err := bounded.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Fatalf("it started: %v\n%s", err, tail(string(out)))
	}
	return string(out) + s.read("caddy.json")
}

// sessionEventually waits for something that comes about by itself.
func sessionEventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for limit := time.Now().Add(45 * time.Second); !happened(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("this did not come about: %s", what)
		}
	}
}
