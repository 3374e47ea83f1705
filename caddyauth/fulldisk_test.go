package caddyauth

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// A disk that is full when Caddy starts keeps nobody from starting it: who needs
// the store gets 503, a sign-out holds, and all goes on by itself.
func TestStartOnAFullDisk(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := start(t, setup{storage: storage})
	before, out := s.signIn("ac12345"), s.signIn("ac12345")
	if err := s.load("{\n\tadmin off\n\tpersist_config off\n}"); err != nil {
		t.Fatal(err)
	}
	faults.full.Store(true)
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatalf("starting on a full disk: %v", err)
	}
	unavailable := func(got reply) {
		t.Helper()
		if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || len(got.setCookies("sessionid")) > 0 {
			t.Errorf("got %d %s, Retry-After %q, cookies %q", got.StatusCode, got.body, got.Header.Get("Retry-After"), got.setCookies("sessionid"))
		}
	}
	signIn := func() reply {
		return s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON("ac12345", ldaptest.DemoPassword)))
	}
	unavailable(signIn())
	unavailable(s.do("GET", "/", before.cookies))
	want(t, s.do("GET", "/api/logout/", out.cookies), http.StatusOK, bodySignedOut)

	faults.full.Store(false)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if got := signIn(); got.StatusCode == http.StatusOK {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("with space again: %d %s", got.StatusCode, got.body)
		}
	}
	if got := s.do("GET", "/", before.cookies); got.StatusCode != http.StatusOK {
		t.Errorf("the session of before: %d %s", got.StatusCode, got.body)
	}
	want(t, s.do("GET", "/", out.cookies), http.StatusUnauthorized, bodyAuthenticationRequired)
}
