package attack

import (
	"strings"
	"testing"
)

// A client's identity headers go before anything else happens, on every path a
// request can take to an upstream: also where it is refused and an error route
// takes over.
func TestR02HeadersAreStrippedBeforeAnythingElse(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: `
	require_session {
		public /open/*
	}
	handle /open/broken {
		error 500
	}
	reverse_proxy UPSTREAM
	handle_errors {
		reverse_proxy UPSTREAM
	}`})
	forged := "Remote-User: admin\nRemote-Groups: IT Admins\nremote_user: admin\nRemote.User: admin\nConnection: close\n\n"
	for _, path := range []string{"/open/page", "/open/broken"} {
		s.echo.Forget()
		s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\n"+forged)
		got := s.echo.Last(t)
		for name, values := range got.CGI() {
			if strings.HasPrefix(name, "REMOTE_") {
				t.Errorf("%s: the upstream got %s: %q", path, name, values)
			}
		}
	}
	s.echo.Forget()
	wantRefused(t, s.raw(t, "GET /inside HTTP/1.1\nHost: HOST\n"+forged))
	s.wantNothingUpstream(t)

	juan := s.signIn(t, juan)
	wantServed(t, s.raw(t, "GET /inside HTTP/1.1\nHost: HOST\nCookie: "+juan.cookie()+"\n"+forged))
	if got := s.echo.Last(t).CGI()["REMOTE_USER"]; len(got) != 1 || got[0] != "ac12345" {
		t.Errorf("the upstream got Remote-User %q, want ac12345 alone", got)
	}
	answer, err := s.h2(t, h2Request{fields: [][2]string{{":path", "/inside"}, {"cookie", juan.cookie()}, {"remote-user", "admin"}}})
	if err != nil {
		t.Fatal(err)
	}
	wantServed(t, answer)
	if got := s.echo.Last(t).CGI()["REMOTE_USER"]; len(got) != 1 || got[0] != "ac12345" {
		t.Errorf("by HTTP/2 the upstream got Remote-User %q, want ac12345 alone", got)
	}
}
