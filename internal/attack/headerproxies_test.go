package attack

import (
	"strings"
	"testing"
)

// Every way to the upstream that a site can have: both layouts of the handlers,
// a matcher that looks at the session first, a request in absolute form, TLS.
func TestP54IdentityOnEveryWayToTheUpstream(t *testing.T) {
	t.Parallel()
	forged := headerLines("Remote-User", "Remote-Name", "remote_groups", "Remote.Email")
	gate := "require_session {\npublic /open/*\n}\n"
	for _, test := range []struct {
		name, lines string
		tls         bool
		inside      map[string]string
	}{
		{"the gate alone", gate + "reverse_proxy UPSTREAM", false, headerJuan()},
		{"the gate alone over TLS", gate + "reverse_proxy UPSTREAM", true, headerJuan()},
		{"a sign-in before", "ldap_login\n" + gate + "reverse_proxy UPSTREAM", false, headerJuan()},
		{"a sign-in and an upstream of its own", "ldap_login\n@open path /open/*\nreverse_proxy @open UPSTREAM\n" + gate + "reverse_proxy UPSTREAM", false, headerJuan()},
		{"two gates", "ldap_login\nhandle /open/* {\n" + gate + "reverse_proxy UPSTREAM\n}\nhandle {\nrequire_session\nreverse_proxy UPSTREAM\n}", false, headerJuan()},
		{"a matcher before", "ldap_login\n@it session_group \"IT Admins\"\nhandle @it {\nreverse_proxy UPSTREAM\n}\nhandle {\n" + gate + "reverse_proxy UPSTREAM\n}", false, headerJuan()},
		{"headers off", "require_session {\npublic /open/*\nidentity_headers off\n}\nreverse_proxy UPSTREAM", false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, setup{site: test.lines, tls: test.tls})
			juan := s.signIn(t, juan)
			for path, want := range map[string]map[string]string{"/open/x": nil, "/inside": test.inside, s.base() + "/inside": test.inside} {
				s.echo.Forget()
				wantServed(t, s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nCookie: "+juan.cookie()+"\n"+forged+"\n"))
				headerWant(t, path, s.echo.Last(t), want)
			}
			headerTryFrames(t, s, juan, test.inside)
			s.echo.Forget()
			wantRefused(t, s.raw(t, "GET /inside HTTP/1.1\nHost: HOST\n"+forged+"\n"))
			s.wantNothingUpstream(t)
		})
	}
}

// headerTryFrames sends forged headers in frames.
func headerTryFrames(t *testing.T, s *site, juan session, want map[string]string) {
	t.Helper()
	s.echo.Forget()
	answer, err := s.h2(t, h2Request{fields: [][2]string{
		{":path", "/inside"}, {"cookie", "sessionid=" + juan.token}, {"cookie", "csrftoken=" + juan.csrf},
		{"remote-user", headerForged}, {"remote-user", headerForged}, {"remote_user", headerForged}, {"remote--groups", headerForged},
	}})
	if err != nil {
		t.Fatal(err)
	}
	wantServed(t, answer)
	headerWant(t, "frames", s.echo.Last(t), want)
}

// headerClaims are headers of other sign-in proxies and of frameworks, which
// Caddy passes on.
func headerClaims() []string {
	return []string{
		"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Auth-Request-User", "X-Auth-Request-Email", "X-Remote-User", "X-Remote-Group", "X-Webauth-User",
		"X-Forwarded--User", "X~Remote~User",
		"X-Original-Url", "X-Rewrite-Url", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Prefix", "Forwarded", "X-Real-Ip",
	}
}

// An application that believes these from a proxy would believe a client.
func TestB07HeadersOfOtherProxies(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: headerSite})
	juan := s.signIn(t, juan)
	headerTry(t, s, juan, headerClaims())
	wantServed(t, s.raw(t, "POST /open/x HTTP/1.1\nHost: HOST\nTrailer: X-Remote-User, X-Sum\nTransfer-Encoding: chunked\n\n0\n"+headerLines("X-Remote-User", "X-Forwarded-User")+"X-Sum: 1\n\n"))
	headerWant(t, "trailer", s.echo.Last(t), nil)

	// That they are gone must not make a proxy's plain line pass for our own.
	for _, name := range []string{"Forwarded", "X-Real-Ip", "X-Forwarded-For", "Via"} {
		wantCode(t, s.trySignIn(t, "ac12345", "secreto", name, "192.0.2.7"), 403, "https_required")
	}
}

// A proxy that is trusted may say where a request comes from and what was asked
// for; who is signed in, it may not.
func TestB07HeadersOfATrustedProxy(t *testing.T) {
	t.Parallel()
	s := start(t, setup{server: "trusted_proxies static 127.0.0.1\ntrusted_proxies_strict", site: headerSite})
	wantServed(t, s.raw(t, "GET /open/x HTTP/1.1\nHost: HOST\nX-Forwarded-Prefix: /app\nForwarded: for=192.0.2.7\nX-Real-Ip: 192.0.2.7\n"+headerLines("X-Forwarded-User", "X-Auth-Request-User", "Remote-User")+"\n"))
	r := s.echo.Last(t)
	headerWant(t, "a trusted proxy", r, nil)
	for name, want := range map[string]string{"X-Forwarded-Prefix": "/app", "Forwarded": "for=192.0.2.7", "X-Real-Ip": "192.0.2.7"} {
		if got := r.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s arrived as %q, want %q", name, got, want)
		}
	}
}

// No decision is made by what a header says of the path, the method or the host.
func TestP59ForwardedHeadersDecideNothing(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: `
	require_session {
		public /open/*
		require /admin/* "IT Admins"
	}
	reverse_proxy UPSTREAM`})
	juan := s.signIn(t, juan)
	s.echo.Forget()
	open := "X-Forwarded-Uri: /open/x\nX-Forwarded-Prefix: /open\nX-Forwarded-Path: /open/x\nX-Original-Url: /open/x\nX-Original-Uri: /open/x\nX-Rewrite-Url: /open/x\n" +
		"X-Forwarded-Method: OPTIONS\nX-Original-Method: OPTIONS\nX-Forwarded-Host: open.test\nX-Forwarded-Proto: https\nForwarded: for=127.0.0.1;host=open.test;proto=https\nX_Forwarded_Uri: /open/x\n"
	wantRefused(t, s.raw(t, "GET /inside HTTP/1.1\nHost: HOST\n"+open+"\n"))
	wantCode(t, s.raw(t, "GET /admin/x HTTP/1.1\nHost: HOST\nCookie: "+juan.cookie()+"\n"+open+"\n"), 403, "group_required")
	wantCode(t, s.raw(t, "POST /inside HTTP/1.1\nHost: HOST\nContent-Length: 0\nOrigin: https://open.test\nX-CSRFToken: "+juan.csrf+"\nCookie: "+juan.cookie()+"\n"+open+"\n"), 403, "origin_not_trusted")
	s.wantNothingUpstream(t)

	// The other way round: an application behind a public path is not sent
	// elsewhere by it.
	inside := strings.NewReplacer("/open/x", "/inside", "/open", "/admin").Replace(open)
	wantServed(t, s.raw(t, "GET /open/x HTTP/1.1\nHost: HOST\n"+inside+"\n"))
	if raw := s.echo.Last(t).Raw; strings.Contains(raw, "/inside") || strings.Contains(raw, "/admin") || strings.Contains(raw, "open.test") {
		t.Errorf("the upstream was told of another path or host: %q", raw)
	}
}
