package attack

import (
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
)

// errorRoute answers every error as if all were well: what the gate refuses must
// never get here, because this chain has no gate in it.
const errorRoute = `
	handle_errors {
		respond "error route {err.status_code}" 200
	}`

// Every refusal is an answer of ours, with our bytes.
func TestR03RefusalsStartNoErrorRoute(t *testing.T) {
	t.Parallel()
	s := start(t, setup{
		auth: "throttle account 3 15m",
		site: `
	require_session {
		public /open/*
		require /admin/* "IT Admins"
	}
	handle /open/broken {
		error 500
	}
	reverse_proxy UPSTREAM` + errorRoute,
	})
	juan := s.signIn(t, juan)
	own := "Cookie: " + juan.cookie() + "\n"
	for name, test := range map[string]struct {
		request string
		status  int
	}{
		"no session":                {"GET /x HTTP/1.1\nHost: HOST\n\n", 401},
		"no session, a navigation":  {"GET /x HTTP/1.1\nHost: HOST\nAccept: text/html\n\n", 303},
		"an unknown token":          {"GET /x HTTP/1.1\nHost: HOST\nCookie: sessionid=" + strings.Repeat("A", 43) + "\n\n", 401},
		"a malformed token":         {"GET /x HTTP/1.1\nHost: HOST\nCookie: sessionid=x\n\n", 401},
		"no group":                  {"GET /admin/x HTTP/1.1\nHost: HOST\n" + own + "\n", 403},
		"no group, a navigation":    {"GET /admin/x HTTP/1.1\nHost: HOST\nAccept: text/html\n" + own + "\n", 403},
		"an ambiguous path":         {"GET /x//y HTTP/1.1\nHost: HOST\n" + own + "\n", 403},
		"no CSRF token":             {"POST /x HTTP/1.1\nHost: HOST\nContent-Length: 0\n" + own + "\n", 403},
		"a foreign origin":          {"POST /x HTTP/1.1\nHost: HOST\nContent-Length: 0\nOrigin: https://evil.test\n" + own + "\n", 403},
		"a foreign WebSocket":       {"GET /x HTTP/1.1\nHost: HOST\nConnection: Upgrade\nUpgrade: websocket\nOrigin: https://evil.test\n" + own + "\n", 403},
		"TRACE":                     {"TRACE /x HTTP/1.1\nHost: HOST\n" + own + "\n", 405},
		"CONNECT":                   {"CONNECT evil.test:443 HTTP/1.1\nHost: HOST\n" + own + "\n", 405},
		"a wrong password":          {"POST /api/login-ldap/ HTTP/1.1\nHost: HOST\nContent-Type: application/json\nContent-Length: 31\n\n{\"username\":\"a\",\"password\":\"b\"}", 401},
		"no JSON":                   {"POST /api/login-ldap/ HTTP/1.1\nHost: HOST\nContent-Type: application/json\nContent-Length: 1\n\n{", 400},
		"another type":              {"POST /api/login-ldap/ HTTP/1.1\nHost: HOST\nContent-Type: text/plain\nContent-Length: 2\n\n{}", 415},
		"a sign-in by GET":          {"GET /api/login-ldap/ HTTP/1.1\nHost: HOST\n\n", 405},
		"a sign-out by HEAD":        {"HEAD /api/logout/ HTTP/1.1\nHost: HOST\n\n", 405},
		"a foreign sign-out":        {"POST /api/logout/ HTTP/1.1\nHost: HOST\nContent-Length: 0\nOrigin: https://evil.test\n" + own + "\n", 403},
		"who is signed in, nobody":  {"GET /api/session/ HTTP/1.1\nHost: HOST\n\n", 401},
		"a form from a foreign one": {"POST /accounts/login/ HTTP/1.1\nHost: HOST\nOrigin: https://evil.test\nContent-Length: 0\n\n", 403},
	} {
		if r := s.raw(t, test.request); r.status != test.status || strings.Contains(r.body, "error route") {
			t.Errorf("%s: %d %s, want %d of ours", name, r.status, r.body, test.status)
		}
	}
	s.wantNothingUpstream(t)
	if r := s.do(t, "GET", "/open/broken", ""); r.body != "error route 500" {
		t.Errorf("an error of the site's own: %d %s", r.status, r.body)
	}
}

// An error route that serves files once gave the secret one to strangers, as the
// body of their 401.
func TestB10ErrorRouteServesNoFileToStrangers(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{site: `
	require_session {
		require /admin/* "IT Admins"
	}
	root * DIR/www
	file_server
	handle_errors {
		rewrite * /secret.html
		file_server
	}`})
	pathFiles(t, s, map[string]string{"www/secret.html": "the secret", "www/index.html": "the secret index", "www/admin/x.html": "the secret of admins"})
	s.run(t, text)
	strangers := []string{"", "Accept: text/html\n", "Cookie: sessionid=x\n", "Cookie: sessionid=" + strings.Repeat("A", 43) + "\n", "Upgrade: h2c\nConnection: Upgrade, HTTP2-Settings\nHTTP2-Settings: AAAA\n", "Range: bytes=0-3\n"}
	for _, line := range []string{"GET / HTTP/1.1", "GET /secret.html HTTP/1.1", "GET /missing HTTP/1.1", "GET /admin/x.html HTTP/1.1", "POST / HTTP/1.1", "FOO / HTTP/1.1", "TRACE / HTTP/1.1", "GET /../ HTTP/1.1", "GET //secret.html HTTP/1.1", "GET / HTTP/1.0", "GET /%00 HTTP/1.1", "OPTIONS / HTTP/1.1"} {
		for _, header := range strangers {
			r := s.raw(t, line+"\nHost: HOST\nContent-Length: 0\n"+header+"\n")
			if strings.Contains(r.body, "the secret") || r.status < 300 {
				t.Errorf("%s with %q: %d %s", line, header, r.status, r.body)
			}
		}
	}
	juan := s.signIn(t, juan)
	for _, path := range []string{"/admin/x.html", "/admin/missing", "/a//b"} {
		if r := juan.get(t, path); r.status != 403 || strings.Contains(r.body, "the secret") {
			t.Errorf("%s for Juan: %d %s", path, r.status, r.body)
		}
	}
	if r := juan.get(t, "/missing"); r.body != "the secret" {
		t.Errorf("the site's own 404 for Juan: %d %s", r.status, r.body)
	}
}

// A file probe before the gate tells strangers which files there are, and its
// error reached an upstream.
func TestB11FileProbeTellsStrangersNothing(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{site: `
	root * DIR/www
	try_files {path} =404
	require_session
	file_server
	handle_errors {
		reverse_proxy UPSTREAM
	}`})
	pathFiles(t, s, map[string]string{"www/there.html": "the secret"})
	s.run(t, text)
	for _, header := range []string{"", "Accept: text/html\n", "Cookie: sessionid=" + strings.Repeat("A", 43) + "\n", "If-None-Match: *\n", "Range: bytes=0-0\n"} {
		var answers []string
		for _, path := range []string{"/there.html", "/gone0.html"} {
			r := s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\n"+header+"\n")
			r.header.Del("Date")
			var wire strings.Builder
			_ = r.header.Write(&wire)
			answers = append(answers, strings.ReplaceAll(wire.String()+r.body, path[1:], "NAME"))
			if r.status != 401 && r.status != 303 {
				t.Errorf("%s with %q: %d %s", path, header, r.status, r.body)
			}
		}
		if answers[0] != answers[1] {
			t.Errorf("with %q a file that is there is told from one that is not:\n%s\n%s", header, answers[0], answers[1])
		}
	}
	s.wantNothingUpstream(t)
	juan := s.signIn(t, juan)
	if r := juan.get(t, "/there.html"); r.body != "the secret" {
		t.Errorf("for Juan: %d %s", r.status, r.body)
	}
}

// What goes wrong behind the gate ends as what it is: half an answer never looks
// whole, and Caddy serves on.
func TestB29FailureBehindTheGateIsNoSuccess(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: `
	require_session {
		public /open/*
	}
	reverse_proxy UPSTREAM`})
	juan := s.signIn(t, juan)
	for name, answer := range map[string]string{
		"a length that is not kept": "HTTP/1.1 200 OK\nContent-Length: 100\n\nhalf", // line feeds alone: the upstream hangs up then
		"chunks that do not end":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"a broken chunk":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
		"no answer":                 "garbage\r\n\r\n",
		"half a header":             "HTTP/1.1 200 OK\r\nContent-Le",
	} {
		s.echo.Answer(func(rawecho.Request) string { return answer })
		for _, path := range []string{"/x", "/open/x"} {
			r, err := s.send("GET", path, "", "Cookie", juan.cookie())
			if err == nil && r.status < 500 {
				t.Errorf("%s at %s ends as a whole %d %q", name, path, r.status, r.body)
			}
		}
	}
	s.echo.Answer(nil)
	wantServed(t, juan.get(t, "/x"))
	wantRefused(t, s.do(t, "GET", "/x", ""))
}
