package attack

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// People see their own sessions and end them, by names that are no tokens, and
// only their own.
func TestS09PeopleSeeAndEndTheirOwnSessions(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	here, there, other := s.signIn(t, juan), s.signIn(t, juan), s.signIn(t, maria)
	r := here.get(t, "/accounts/sessions/")
	var list struct {
		Sessions []struct {
			ID      string
			Current bool
		}
	}
	if err := json.Unmarshal([]byte(r.body), &list); err != nil || len(list.Sessions) != 2 {
		t.Fatalf("the list is %d %s", r.status, r.body)
	}
	var mine, others string
	for _, session := range list.Sessions {
		if session.Current {
			mine = session.ID
		} else {
			others = session.ID
		}
	}
	if mine == "" || others == "" || len(others) == 43 {
		t.Fatalf("the list is %s", r.body)
	}
	for _, secret := range []string{here.token, there.token, other.token, here.csrf, there.csrf} {
		if strings.Contains(r.body, secret) {
			t.Error("the list has a secret")
		}
	}
	end := func(by session, which string) reply {
		t.Helper()
		return by.post(t, "/accounts/sessions/", `{"end":"`+which+`"}`, "Content-Type", "application/json")
	}
	for _, which := range []string{s.sessionIDs(t, maria)[0], other.token, there.token, "*", ""} {
		end(here, which)
	}
	wantServed(t, other.get(t, "/"))
	wantServed(t, there.get(t, "/"))
	wantCode(t, here.do(t, "POST", "/accounts/sessions/", `{"end":"`+others+`"}`, "Content-Type", "application/json", "Cookie", here.cookie()), http.StatusForbidden, "csrf_failed")
	wantServed(t, there.get(t, "/"))
	if r := end(here, others); r.status != http.StatusOK {
		t.Errorf("ending another session: %d %s", r.status, r.body)
	}
	wantRefused(t, there.get(t, "/"))
	wantServed(t, here.get(t, "/"))
	again := s.signIn(t, juan)
	if r := end(again, "others"); r.status != http.StatusOK {
		t.Errorf("ending all others: %d %s", r.status, r.body)
	}
	wantRefused(t, here.get(t, "/"))
	wantServed(t, again.get(t, "/"))
	wantServed(t, other.get(t, "/"))
}

// The newest sessions of a person stay, also where sign-ins race, and the audit
// log says which went.
func TestS11SessionsOfAPersonAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t, setup{sessions: "per_user 3"})
	other := s.signIn(t, maria)
	var sessions []session
	for range 5 {
		sessions = append(sessions, s.signIn(t, juan))
	}
	for i, session := range sessions {
		if r := session.get(t, "/"); i < 2 {
			wantRefused(t, r)
		} else {
			wantServed(t, r)
		}
	}
	wantServed(t, other.get(t, "/"))
	if ended := s.auditedEnds(t, "per_user"); ended != 2 {
		t.Errorf("%d ends were audited, want 2", ended)
	}
	errs := make(chan error, 12)
	for range cap(errs) {
		go func() {
			_, err := s.send("POST", "/api/login-ldap/", signInJSON(juan, ldaptest.DemoPassword), "Content-Type", "application/json")
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if ids := s.sessionIDs(t, juan); len(ids) > 3 {
		t.Errorf("after sign-ins at once there are %d sessions", len(ids))
	}
}
