package caddyauth

import (
	"strings"
	"testing"
)

func TestSessionGroupMatcher(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := start(t, setup{storage: storage, site: `@admins session_group "IT Admins"
	@staff session_group Nadie Empleados
	handle @admins {
		respond "admins"
	}
	handle @staff {
		respond "staff"
	}
	handle /gated {
		require_session
		reverse_proxy UPSTREAM
	}
	handle {
		reverse_proxy UPSTREAM
	}`})
	// The sign-in routes need a handler: here inside a handle of their own.
	s.setup.site = "ldap_login\n" + s.setup.site
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	juan, maria := s.signIn("ac12345"), s.signIn("mgarcia")
	want(t, s.do("GET", "/x", maria.cookies), 200, "admins")
	want(t, s.do("GET", "/x", juan.cookies), 200, "staff")
	want(t, s.do("GET", "/x", forge), 200, "upstream")
	wantIdentity(t, s.upstream.last(t), nil)
	want(t, s.do("GET", "/x", header("Cookie", "a=b; sessionid="+strings.Repeat("A", 43))), 200, "upstream")
	if cookies := s.upstream.last(t).header["Cookie"]; len(cookies) != 1 || cookies[0] != "a=b" {
		t.Errorf("the upstream saw %q", cookies)
	}
	want(t, s.do("GET", "/gated"), 401, bodyAuthenticationRequired)

	faults.down.Store(true)
	before := s.upstream.count()
	if got := s.do("GET", "/x", header("Cookie", "sessionid="+strings.Repeat("A", 43))); got.StatusCode != 503 {
		t.Errorf("a store that cannot say: %d %s", got.StatusCode, got.body)
	}
	if s.upstream.count() != before {
		t.Error("a store that cannot say opened the route for everybody else")
	}
	want(t, s.do("GET", "/x"), 200, "upstream")
}

// TestMatcherAloneStripsToo: the first of our modules on a request strips it.
func TestMatcherAloneStripsToo(t *testing.T) {
	s := start(t, setup{site: "@admins session_group \"IT Admins\"\nhandle @admins {\nrespond admins\n}\nhandle {\nreverse_proxy UPSTREAM\n}"})
	want(t, s.do("GET", "/x", forge, header("Cookie", "sessionid=x; a=b")), 200, "upstream")
	seen := s.upstream.last(t)
	wantIdentity(t, seen, nil)
	if cookies := seen.header["Cookie"]; len(cookies) != 1 || cookies[0] != "a=b" {
		t.Errorf("the upstream saw %q", cookies)
	}
}
