package caddyauth

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// leaves sends a request whose client hangs up while the store is about to
// acknowledge what it did for it.
func (s *server) leaves(faults *storeFaults, method, path, body string, headers ...string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(s.port))
	if err != nil {
		s.t.Fatal(err)
	}
	gone := make(chan struct{})
	reply := func() error {
		defer close(gone)
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond) // the server sees it
		return nil
	}
	faults.reply.Store(&reply)
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %d\r\n", method, path, s.port, len(body))
	if body != "" {
		head += "Content-Type: application/json\r\n"
	}
	for _, header := range headers {
		head += header + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"+body); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		s.t.Fatal("the store was not asked")
	}
}

// shownRaw is what a client shows that has a session.
func shownRaw(c signedIn) []string {
	return []string{"Cookie: sessionid=" + c.token, "X-CSRFToken: " + c.csrf}
}

// auditSoon waits for an audit line.
func auditSoon(t *testing.T, mark int, want auditLine) {
	t.Helper()
	eventually(t, fmt.Sprintf("the audit line %v", want), func() bool {
	lines:
		for _, line := range auditSince(t, mark) {
			for key, value := range want {
				if line[key] != value {
					continue lines
				}
			}
			return true
		}
		return false
	})
}

func startLeaving(t *testing.T, options string) (*server, *longUpstream, *storeFaults) {
	t.Helper()
	storage, faults := faultyStorage(t)
	s, u := startLong(t, setup{storage: storage, sessions: options})
	t.Cleanup(u.CloseClientConnections)
	return s, u, faults
}

// TestAClientThatLeavesItsEnd: what it asked for is done, so its open answers
// end, and the audit log says so.
func TestAClientThatLeavesItsEnd(t *testing.T) {
	s, u, faults := startLeaving(t, "")
	credentials := credentialsJSON("ac12345", ldaptest.DemoPassword)
	for i, test := range []struct {
		name string
		ask  func(c, other signedIn, id string)
		line auditLine
	}{
		{"sign-out", func(c, _ signedIn, _ string) {
			s.leaves(faults, "POST", "/api/logout/", "", shownRaw(c)...)
		}, auditLine{"event": "sign_out", "result": "ok", "user": "ac12345"}},
		{"the end of one of my sessions", func(_, other signedIn, id string) {
			s.leaves(faults, "POST", listPath, `{"end":"`+id+`"}`, shownRaw(other)...)
		}, auditLine{"event": "session_end", "reason": "ended_by_user", "user": "ac12345"}},
		{"the end of all my other sessions", func(_, other signedIn, _ string) {
			s.leaves(faults, "POST", listPath, `{"end":"others"}`, shownRaw(other)...)
		}, auditLine{"event": "session_end", "reason": "ended_by_user", "user": "ac12345"}},
		{"a sign-in that replaces it", func(c, _ signedIn, _ string) {
			s.leaves(faults, "POST", "/api/login-ldap/", credentials, shownRaw(c)...)
		}, auditLine{"event": "session_end", "reason": "replaced", "user": "ac12345"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := s.signIn("ac12345")
			id, path := s.idOf(c), "/events?"+strconv.Itoa(i)
			openGet(t, s, c, path)
			waitFor(t, u.begun, path, "reached")
			other := s.signIn("ac12345")
			mark := logged.mark()
			test.ask(c, other, id)
			waitFor(t, u.done, path, "ended")
			test.line["session"] = id
			auditSoon(t, mark, test.line)
			want(t, s.do("GET", "/x", c.cookies), 401, bodyAuthenticationRequired)
		})
	}
}

// TestPerUserOfClientsThatLeave: hanging up at the right moment gives nobody
// more sessions than others have.
func TestPerUserOfClientsThatLeave(t *testing.T) {
	s, _, faults := startLeaving(t, "per_user 1")
	credentials := credentialsJSON("ac12345", ldaptest.DemoPassword)
	stored := func() int {
		counts, err := s.sessions().Count(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return counts.Sessions
	}
	t.Run("while the session is stored", func(t *testing.T) {
		c, mark := s.signIn("ac12345"), logged.mark()
		s.leaves(faults, "POST", "/api/login-ldap/", credentials)
		auditSoon(t, mark, auditLine{"event": "sign_in", "result": "unavailable", "reason": "cancelled", "user": "ac12345"})
		if n := stored(); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
		// Nobody has the new one: the old one goes on.
		if _, ok, err := s.sessions().Show(t.Context(), s.idOf(c), sessionstore.Limits{}); !ok || err != nil {
			t.Errorf("the session in use: there %v, %v", ok, err)
		}
	})
	t.Run("while the oldest one is ended", func(t *testing.T) {
		c := s.signIn("ac12345")
		id, mark := s.idOf(c), logged.mark()
		faults.answers.Store(1) // that of the new session
		s.leaves(faults, "POST", "/api/login-ldap/", credentials)
		auditSoon(t, mark, auditLine{"event": "session_end", "reason": "per_user", "session": id})
		if n := stored(); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	})
}

// TestAnEndWhoseAnswerIsLost: the client is told that the store failed, and the
// audit log has the end all the same.
func TestAnEndWhoseAnswerIsLost(t *testing.T) {
	s, u, faults := startLeaving(t, "")
	c := s.signIn("ac12345")
	id, path := s.idOf(c), "/events?lost"
	openGet(t, s, c, path)
	waitFor(t, u.begun, path, "reached")
	mark := logged.mark()
	lost := func() error { return errStoreDown }
	faults.reply.Store(&lost)
	if got := s.do("POST", "/api/logout/", c.shown); got.StatusCode != 503 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	waitFor(t, u.done, path, "ended")
	auditSoon(t, mark, auditLine{"event": "session_end", "result": "ok", "reason": "ended_late", "user": "ac12345", "session": id})
	want(t, s.do("GET", "/x", c.cookies), 401, bodyAuthenticationRequired)
}
