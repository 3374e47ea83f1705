package caddyauth

import (
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

func TestPerUserEndsTheOldest(t *testing.T) {
	s := start(t, setup{sessions: "per_user 2"})
	other := s.signIn("mgarcia")
	first, second := s.signIn("ac12345"), s.signIn("ac12345")
	id := s.idOf(first)
	want(t, s.do("GET", "/x", first.cookies), 200, "upstream") // its use makes it no newer
	mark := logged.mark()
	third := s.signIn("ac12345")
	wantAudit(t, mark, auditLine{"event": "session_end", "result": "ok", "reason": "per_user", "user": "ac12345", "session": id, "client_ip": "127.0.0.1"})
	want(t, s.do("GET", "/x", first.cookies), 401, bodyAuthenticationRequired)
	for _, c := range []signedIn{second, third, other} {
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	}
	t.Run("a session that is replaced makes room", func(t *testing.T) {
		mark := logged.mark()
		again := s.signIn("ac12345", third.cookies)
		want(t, s.do("GET", "/x", second.cookies), 200, "upstream")
		want(t, s.do("GET", "/x", again.cookies), 200, "upstream")
		for _, line := range auditSince(t, mark) {
			if line["reason"] == "per_user" {
				t.Errorf("%v", line)
			}
		}
		third = again
	})
	t.Run("a smaller number holds from the next sign-in on", func(t *testing.T) {
		s.setup.sessions = "per_user 1"
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		want(t, s.do("GET", "/x", second.cookies), 200, "upstream")
		last := s.signIn("ac12345")
		want(t, s.do("GET", "/x", second.cookies), 401, bodyAuthenticationRequired)
		want(t, s.do("GET", "/x", third.cookies), 401, bodyAuthenticationRequired)
		if list := s.sessionsOf(last); len(list) != 1 || !list[0].Current {
			t.Errorf("%+v", list)
		}
	})
}

func TestPerUserDefault(t *testing.T) {
	s := start(t, setup{})
	var first, last signedIn
	for i := range 101 {
		last = s.signIn("ac12345")
		if i == 0 {
			first = last
		}
	}
	if list := s.sessionsOf(last); len(list) != 100 || !list[0].Current {
		t.Errorf("%d sessions", len(list))
	}
	want(t, s.do("GET", "/x", first.cookies), 401, bodyAuthenticationRequired)
}

// TestManySignInsAtOnceKeepToPerUser: each of them counts the others.
func TestManySignInsAtOnceKeepToPerUser(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := start(t, setup{storage: storage, sessions: "per_user 3", auth: "throttle insecure_off"})
	const many = 50
	clients := make([]signedIn, many)
	mark := logged.mark()
	var running sync.WaitGroup
	for i := range many {
		running.Go(func() {
			got, err := s.try("POST", "/api/login-ldap/", jsonBody(credentialsJSON("ac12345", ldaptest.DemoPassword)))
			if err != nil || got.StatusCode != 200 {
				t.Errorf("%v: %v %s", err, got.Response, got.body)
				return
			}
			clients[i] = signedIn{token: got.cookie("sessionid"), csrf: got.cookie("csrftoken")}
		})
	}
	running.Wait()
	if t.Failed() {
		return
	}
	newest := faults.newest.Load()
	var alive []signedIn
	for _, c := range clients {
		switch got := s.do("GET", "/x", c.cookies); got.StatusCode {
		case 200:
			alive = append(alive, c)
		case 401:
		default:
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	}
	if len(alive) != 3 {
		t.Fatalf("%d sessions live on, want 3", len(alive))
	}
	if list := s.sessionsOf(alive[0]); len(list) != 3 || list[0].ID != newest.ID {
		t.Errorf("%+v are left, the newest is %s", list, newest.ID)
	}
	ended := 0
	for _, line := range auditSince(t, mark) {
		if line["event"] == "session_end" && line["reason"] == "per_user" {
			ended++
		}
	}
	if ended != many-3 {
		t.Errorf("%d audit lines of ended sessions, want %d", ended, many-3)
	}
}

// TestPerUserThatFailsDoesNotFailTheSignIn: what is not ended now, the next
// sign-in ends.
func TestPerUserThatFailsDoesNotFailTheSignIn(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := start(t, setup{storage: storage, sessions: "per_user 1"})
	first := s.signIn("ac12345")
	faults.listFails.Store(true)
	mark := logged.mark()
	s.signIn("ac12345")
	wantLog(t, mark, "session store failed", "ending the oldest sessions of a user", errStoreDown.Error())
	want(t, s.do("GET", "/x", first.cookies), 200, "upstream")
	faults.listFails.Store(false)
	last := s.signIn("ac12345")
	want(t, s.do("GET", "/x", first.cookies), 401, bodyAuthenticationRequired)
	if list := s.sessionsOf(last); len(list) != 1 {
		t.Errorf("%+v", list)
	}
}
