package attack

import (
	"strings"
	"testing"
)

// headerConnections are Connection headers that name what a middleware sets.
func headerConnections() []string {
	return []string{
		"Connection: close, Remote-User, Remote-Name, Remote-Email, Remote-Groups",
		"Connection: remote-user,remote_user ,\tREMOTE-NAME , Remote-Email,Remote-Groups",
		"Connection: keep-alive\nConnection: Remote-User\nConnection: Remote-Name, ,Remote-Email,, Remote-Groups",
		"Connection: Remote-User, Remote-Name, Remote-Email, Remote-Groups, Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
		"Connection: X-App-User, Remote-User, close, Remote-Name, Remote-Email, Remote-Groups\nProxy-Connection: Remote-User",
	}
}

// A proxy removes the headers that Connection names, its own too.
func TestP57ConnectionTakesNoIdentityAway(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: `
	require_session {
		forward_groups Ingenieria
		public /open/*
	}
	request_header X-App-User {http.auth.user.id}
	reverse_proxy UPSTREAM`})
	juan := s.signIn(t, juan)
	want := headerJuan()
	want["REMOTE_GROUPS"] = "Ingenieria"
	for _, connection := range headerConnections() {
		s.echo.Forget()
		wantServed(t, s.raw(t, "GET /inside HTTP/1.1\nHost: HOST\nCookie: "+juan.cookie()+"\n"+connection+"\n\n"))
		r := s.echo.Last(t)
		headerWant(t, connection, r, want)
		if got := r.Values("X-App-User"); len(got) != 1 || got[0] != "ac12345" {
			t.Errorf("%s: a header that the site sets arrived as %q", connection, got)
		}
	}
}

// Of Connection only options stay. A header for this connection alone goes no
// further; one for every recipient is not for this connection alone.
func TestB04ConnectionKeepsItsOptions(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: headerSite})
	juan := s.signIn(t, juan)
	for _, path := range []string{"/inside", "/open/x"} {
		s.echo.Forget()
		wantServed(t, s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nCookie: app=1; "+juan.cookie()+"\nX-Hop: 1\nX-End: 1\nAuthorization: Bearer x\nReferer: http://HOST/\n"+
			"Connection: close, X-Hop, Cookie, authorization, Referer, X-Forwarded-For, Remote-User\n\n"))
		r := s.echo.Last(t)
		for name, want := range map[string]string{
			"X-Hop": "", "X-End": "1", "Authorization": "Bearer x", "Cookie": "app=1; csrftoken=" + juan.csrf, "X-Forwarded-For": "127.0.0.1", "Connection": "",
		} {
			if got := strings.Join(r.Values(name), "|"); got != want {
				t.Errorf("%s: %s arrived as %q, want %q", path, name, got, want)
			}
		}
	}

	// HTTP/2 has no such header: a server that took it would remove the names.
	s.echo.Forget()
	answer, err := s.h2(t, h2Request{fields: [][2]string{{":path", "/inside"}, {"cookie", juan.cookie()}, {"connection", "remote-user"}}})
	if err == nil && answer.status < 400 {
		t.Errorf("a Connection header in HTTP/2 is answered with %d", answer.status)
	}
	s.wantNothingUpstream(t)
}
