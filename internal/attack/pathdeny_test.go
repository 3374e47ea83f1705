package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pathFiles writes files into a site's folder.
func pathFiles(t testing.TB, s *site, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Nothing is open that no line opens: no method, no path that other products
// exempt, nothing beside the sign-in routes.
func TestR04WhatNoLineOpensIsClosed(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PURGE", "get", "OPTIONS", "PROPFIND", "MKCOL", "SEARCH", "FOO"} {
		r := s.raw(t, method+" /private HTTP/1.1\nHost: HOST\nContent-Length: 0\n\n")
		if r.status != 401 || method != "HEAD" && r.body != unauthenticated {
			t.Errorf("%s: %d %s", method, r.status, r.body)
		}
	}
	for _, path := range []string{
		"/", "/index.html", "/favicon.ico", "/robots.txt", "/.well-known/security.txt", "/.well-known/acme-challenge/x", "/health", "/healthz", "/metrics", "/static/x",
		"/accounts/login/x", "/accounts/login//", "/accounts/login/../x", "/Accounts/Login/", "/accounts%2flogin/", "/accounts/login;x/", "/accounts/login/%20", "/accounts/%6cogin/",
		"/api/logout/x", "/api/login-ldap/x", "/api/session/x", "/api//session/", "/api/", "/api/session/..", "/accounts/sessions/x", `/accounts\login`,
	} {
		wantRefused(t, s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\n\n"))
		r, err := s.h2(t, h2Request{fields: [][2]string{{":path", path}}})
		if err != nil || r.status != 401 {
			t.Errorf("%s by HTTP/2: %d %s, %v", path, r.status, r.body, err)
		}
	}
	for name, request := range map[string]string{
		"HTTP/1.0":                  "GET /x HTTP/1.0\n\n",
		"an absolute target":        "GET http://elsewhere.test/x HTTP/1.1\nHost: HOST\n\n",
		"a host and no path":        "GET http://HOST HTTP/1.1\nHost: HOST\n\n",
		"a part":                    "GET /x HTTP/1.1\nHost: HOST\nRange: bytes=0-0\n\n",
		"a conditional request":     "GET /x HTTP/1.1\nHost: HOST\nIf-None-Match: *\nIf-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT\n\n",
		"an expectation":            "POST /x HTTP/1.1\nHost: HOST\nExpect: 100-continue\nContent-Length: 0\n\n",
		"a WebSocket":               "GET /x HTTP/1.1\nHost: HOST\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n\n",
		"a preflight of a stranger": "OPTIONS /x HTTP/1.1\nHost: HOST\nOrigin: https://evil.test\nAccess-Control-Request-Method: GET\n\n",
	} {
		if r := s.raw(t, request); r.status != 401 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	s.wantNothingUpstream(t)
}

// What somebody claims in a header about path, place or purpose opens nothing.
func pathHeaders() []string {
	return []string{
		"X-Forwarded-Uri: /health", "X-Forwarded-Uri: %", "X-Forwarded-Uri: ", "X-Original-Url: /health", "X-Original-Uri: /static/x", "X-Rewrite-Url: /health",
		"X-Forwarded-Path: /health", "X-Forwarded-Prefix: /static", "X-Forwarded-Prefix: /static/..", "X-Forwarded-Method: OPTIONS", "X_Forwarded_Uri: /health", "X.Forwarded.Uri: /health",
		"X-Forwarded-Host: public.test", "X-Auth-Request-Redirect: /health", "X-Accel-Redirect: /health", "Forwarded: for=127.0.0.1;host=public.test;proto=https",
		"User-Agent: GoogleHC/1.0", "User-Agent: kube-probe/1.31", "User-Agent: ELB-HealthChecker/2.0", "User-Agent: Consul Health Check", "X-Health-Check: 1",
		"X-Forwarded-For: 127.0.0.1", "X-Real-Ip: 127.0.0.1", "X-Middleware-Subrequest: middleware", "Purpose: prefetch", "Sec-Purpose: prefetch", "Service-Worker: script",
		"Authorization: Bearer x", "Authorization: Basic YWRtaW46YWRtaW4=", "Remote-User: mgarcia", "X-Remote-User: mgarcia", "X-Internal: true", "Via: 1.1 localhost",
	}
}

func pathWantHeadersIgnored(t *testing.T, setup setup, pick string) {
	t.Helper()
	v := startPathSite(t, setup)
	tried := 0
	for _, line := range pathHeaders() {
		if !strings.Contains(line, pick) {
			continue
		}
		tried++
		v.echo.Forget()
		wantRefused(t, v.raw(t, "GET /secret HTTP/1.1\nHost: HOST\n"+line+"\n\n"))
		wantCode(t, v.raw(t, "GET /admin/x HTTP/1.1\nHost: HOST\nCookie: "+v.juan+"\n"+line+"\n\n"), 403, "group_required")
		v.wantNothingUpstream(t)
	}
	if tried == 0 {
		t.Error("nothing was tried")
	}
}

// trustedPeer makes the tests' own address a trusted proxy: what it says of the
// path counts for nothing all the same.
const trustedPeer = "trusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict"

func TestP32ForwardedUriOpensNothing(t *testing.T) {
	t.Parallel()
	pathWantHeadersIgnored(t, setup{site: pathRules, server: trustedPeer}, "X")
}

func TestP34NoHeaderValueOpensAPath(t *testing.T) {
	t.Parallel()
	pathWantHeadersIgnored(t, setup{site: pathRules}, "")
}

// What cannot be parsed is refused, and never taken for a path without rules.
func TestP45MalformedTargetsFailClosed(t *testing.T) {
	t.Parallel()
	v := startPathSite(t, setup{site: pathRules})
	for _, target := range []string{
		"/%", "/%zz", "/static/%", "/static/%2", "/static/%u002f..", "/health%", "static/x", "*", "http:", "http://", "http:static/x", "http://HOST:x/static/x",
		"//", "///static/x", "?/static/x", "#", "/static/\x01", "/static/\xff", "/static/\xc0\xaf..", "/static/%ff", "/static/%c0%ae", "/static/x y", "%2fstatic/x", "",
	} {
		for _, cookie := range []string{v.nobody, v.juan} {
			v.echo.Forget()
			r, err := v.tryRaw(t, "GET "+target+" HTTP/1.1\nHost: HOST\nX-Forwarded-Uri: %\nConnection: close\nCookie: "+cookie+"\n\n")
			if err == nil && r.status < 400 {
				t.Errorf("%q (cookie %t): %d %s", target, cookie != "", r.status, r.body)
			}
			v.wantNothingUpstream(t)
		}
	}
	for _, target := range []string{"static/x", "*", "", "/%", "/static/%zz", "http://", "/static/\x01"} {
		v.echo.Forget()
		if r, err := v.h2(t, h2Request{fields: [][2]string{{":path", target}}}); err == nil && r.status < 400 {
			t.Errorf("%q by HTTP/2: %d %s", target, r.status, r.body)
		}
		v.wantNothingUpstream(t)
	}
}

// Who is in the wrong group gets 403 by every way there is to ask for a group.
func TestP39WrongGroupIsForbidden(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: `
	ldap_login
	handle /line/* {
		require_session "IT Admins"
		reverse_proxy UPSTREAM
	}
	handle /path/* {
		require_session {
			require /path/* "IT Admins"
		}
		reverse_proxy UPSTREAM
	}
	handle /both/* {
		require_session Empleados {
			require /both/* Ingenieria
			require /both/* "IT Admins"
		}
		reverse_proxy UPSTREAM
	}
	handle /unknown/* {
		require_session "No Such Group"
		reverse_proxy UPSTREAM
	}
	handle /two/* {
		require_session
		@admins session_group "IT Admins"
		handle @admins {
			reverse_proxy UPSTREAM
		}
		respond "not for you" 403
	}`})
	juan, maria := s.signIn(t, juan), s.signIn(t, maria)
	for path, want := range map[string]string{
		"/line/x": "401 403 200", "/path/x": "401 403 200", "/both/x": "401 403 403", "/unknown/x": "401 403 403", "/two/x": "401 403 200",
	} {
		for _, method := range []string{"GET", "POST"} {
			fields := func(who session) []string { return []string{"Cookie", who.cookie(), "X-CSRFToken", who.csrf} }
			s.echo.Forget()
			got := fmt.Sprint(s.do(t, method, path, "").status, s.do(t, method, path, "", fields(juan)...).status, s.do(t, method, path, "", fields(maria)...).status)
			if got != want || s.echo.Count() != strings.Count(want, "200") {
				t.Errorf("%s %s for nobody, Juan, María: %s with %d at the upstream, want %s", method, path, got, s.echo.Count(), want)
			}
		}
	}
}
