package attack

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// originAnswers are all kinds of answers that the gate writes itself, and what
// it lets through, to requests with some header fields.
func originAnswers(t *testing.T, s *site, fields ...string) map[string]reply {
	t.Helper()
	html := append([]string{"Accept", "text/html"}, fields...)
	in := s.signIn(t, juan)
	with := func(fields []string) []string { return append([]string{"Cookie", in.cookie()}, fields...) }
	form := append([]string{"Content-Type", csrfForm}, html...)
	out := s.signIn(t, juan)
	return map[string]reply{
		"sign-in page":             s.do(t, "GET", "/accounts/login/?next=/a", "", html...),
		"signed in as":             s.do(t, "GET", "/accounts/login/", "", with(html)...),
		"redirect to sign in":      s.do(t, "GET", "/x?a", "", html...),
		"asked to sign in":         s.do(t, "GET", "/x", "", fields...),
		"page of a post":           s.do(t, "POST", "/x", "", html...),
		"forbidden":                s.do(t, "POST", "/x", "", with(html)...),
		"forbidden to a program":   s.do(t, "POST", "/x", "", with(fields)...),
		"wrong password":           s.do(t, "POST", "/accounts/login/", "username=nobody&password=x", form...),
		"signed in":                s.do(t, "POST", "/accounts/login/", "username="+juan+"&password="+ldaptest.DemoPassword, form...),
		"signed in by the API":     s.trySignIn(t, juan, ldaptest.DemoPassword, fields...),
		"own sessions":             s.do(t, "GET", "/accounts/sessions/", "", with(html)...),
		"session":                  s.do(t, "GET", "/api/session/", "", with(fields)...),
		"upstream's":               s.do(t, "GET", "/x", "", with(fields)...),
		"wrong method":             s.do(t, "PUT", "/accounts/login/", "", html...),
		"wrong method of a path":   s.do(t, "TRACE", "/x", "", fields...),
		"preflight":                s.do(t, "OPTIONS", "/api/login-ldap/", "", fields...),
		"signed out":               s.do(t, "GET", "/api/logout/", "", append([]string{"Cookie", out.cookie()}, html...)...),
		"signed out of no session": s.do(t, "GET", "/api/logout/", "", fields...),
	}
}

// originLacks fails if an answer holds a text, in its header or its body.
func originLacks(t *testing.T, answers map[string]reply, text string) {
	t.Helper()
	for name, r := range answers {
		if strings.Contains(strings.ToLower(fmt.Sprint(r.header)+r.body), text) {
			t.Errorf("%s: %q is in %d %v %.300s", name, text, r.status, r.header, r.body)
		}
	}
}

// caddy-security put the Referer into a link, where escaping stops no scheme.
func TestP04TheRefererIsNeverShown(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: "csrf insecure_off"})
	for _, referer := range []string{"javascript:alert(1)//p04", "https://p04.example/\"><script>alert(1)</script>", "data:text/html,p04", s.base() + "/p04?next=//p04.example", s.base() + "/accounts/login/?next=javascript:p04"} {
		originLacks(t, originAnswers(t, s, "Referer", referer), "p04")
	}
}

// caddy-security built its redirects from X-Forwarded-Host: whoever sets it, a
// cache or a link in a mail leads to their site.
func TestP06TheForwardedHostIsNeverShown(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]string{"of a stranger": "", "of a proxy": clientipStrict} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, setup{server: server, auth: "insecure_http"})
			for _, header := range []string{"X-Forwarded-Host", "X-Host", "X-Forwarded-Server", "X-Original-Host", "X-Http-Host-Override", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Original-Url", "X-Rewrite-Url"} {
				originLacks(t, originAnswers(t, s, header, "evil.p06needle.example"), "p06needle")
			}
			originLacks(t, originAnswers(t, s, "Forwarded", "for=10.0.0.1;host=evil.p06needle.example;proto=https"), "p06needle")
			// Nor is the Host itself: what the gate writes is relative.
			originLacks(t, originAnswers(t, s, "Host", "evil.p06needle.example"), "p06needle")
			for name, r := range originAnswers(t, s) {
				if location := r.header.Get("Location"); location != "" && (!strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//")) {
					t.Errorf("%s: the target %q is not relative", name, location)
				}
			}
		})
	}
}

// caddy-security put any X-Forwarded-Proto before the host of its redirects.
func TestP07TheForwardedSchemeIsNeverShown(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"evil-p07", "javascript:p07", "https://p07.example/", "p07://x", "https p07"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			plain := start(t, setup{server: clientipStrict, auth: "insecure_http"})
			originLacks(t, originAnswers(t, plain, "X-Forwarded-Proto", proto), "p07")
			if cookie := plain.trySignIn(t, juan, ldaptest.DemoPassword, "X-Forwarded-Proto", proto).cookies["sessionid"]; cookie == nil || cookie.Secure {
				t.Errorf("a proxy says %q, and the cookie is %v", proto, cookie)
			}
		})
	}
	// Over TLS nobody's word takes the attribute away.
	for name, server := range map[string]string{"of a stranger": "", "of a proxy": clientipStrict} {
		t.Run("over TLS, "+name, func(t *testing.T) {
			t.Parallel()
			s := start(t, setup{server: server, tls: true})
			for _, proto := range []string{"http", "evil-p07", "", "ws"} {
				r := s.trySignIn(t, juan, ldaptest.DemoPassword, "X-Forwarded-Proto", proto)
				for _, name := range []string{"sessionid", "csrftoken"} {
					if cookie := r.cookies[name]; cookie == nil || !cookie.Secure {
						t.Errorf("with X-Forwarded-Proto %q the cookie %s is %v", proto, name, cookie)
					}
				}
				originLacks(t, originAnswers(t, s, "X-Forwarded-Proto", proto+"p07"), "p07")
			}
		})
	}
}

// What a request says of itself counts only from a proxy that the configuration
// names: address, scheme, host, and with them the attribute Secure, the own
// origin, and whether a password may come.
func TestR12ForwardingHeadersCountFromNamedProxiesOnly(t *testing.T) {
	t.Parallel()
	forwarded := []string{
		"X-Forwarded-For", "10.0.0.1", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "portal.test", "X-Forwarded-Ssl", "on", "X-Forwarded-Scheme", "https",
		"X-Forwarded-Port", "443", "Front-End-Https", "on", "X-Url-Scheme", "https", "Forwarded", "for=10.0.0.1;proto=https;host=portal.test", "X-Real-Ip", "10.0.0.1",
	}
	for name, row := range map[string]struct {
		server string
		named  bool
	}{
		"nobody is named":       {"", false},
		"somebody else is":      {"trusted_proxies static 192.0.2.0/24\ntrusted_proxies_strict", false},
		"the peer is, strictly": {clientipStrict, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, setup{server: row.server, auth: "insecure_http"})
			r := s.trySignIn(t, juan, ldaptest.DemoPassword, forwarded...)
			juan := s.sessionOf(t, r)
			for _, name := range []string{"sessionid", "csrftoken"} {
				if r.cookies[name].Secure != row.named {
					t.Errorf("the cookie %s: Secure is %v, want %v", name, r.cookies[name].Secure, row.named)
				}
			}
			gate := originGate{"protected path", "POST", "/x", "a", []string{"Cookie", juan.cookie(), "X-CSRFToken", juan.csrf}, 200}
			gate.try(t, s, row.named, append(forwarded, "Origin", "https://portal.test")...)
			gate.try(t, s, row.named, append(forwarded, "Referer", "https://portal.test/a")...)
			gate.try(t, s, false, append(forwarded, "Origin", "http://portal.test")...)
			gate.try(t, s, row.named, append(forwarded, "Origin", strings.Replace(s.base(), "http:", "https:", 1))...)
			gate.try(t, s, !row.named, append(forwarded, "Origin", s.base())...)
			// Several hosts are of several proxies, and nobody's word alone.
			gate.try(t, s, false, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "portal.test, evil.example", "Origin", "https://portal.test")
			gate.try(t, s, false, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "portal.test", "X-Forwarded-Host", "evil.example", "Origin", "https://evil.example")
			want := "127.0.0.1"
			if row.named {
				want = "10.0.0.1"
			}
			lines := s.audit(t)
			if len(lines) == 0 || lines[0].ClientIP != want {
				t.Errorf("the audit log begins with %+v, want the address %s", lines[:min(len(lines), 1)], want)
			}
			// The last hop's word counts: a client can put its own before it.
			for _, fields := range [][]string{{"X-Forwarded-Proto", "https, http"}, {"X-Forwarded-Proto", "https", "X-Forwarded-Proto", "http"}} {
				if r := s.trySignIn(t, maria, ldaptest.DemoPassword, fields...); r.cookies["sessionid"] == nil || r.cookies["sessionid"].Secure {
					t.Errorf("%q: the cookie is %v", fields, r.cookies["sessionid"])
				}
			}
		})
	}
	// On plain HTTP a password comes from this machine itself, and not by way of
	// a proxy that nobody named.
	s := start(t, setup{})
	for i := 0; i+1 < len(forwarded); i += 2 {
		r := s.trySignIn(t, juan, ldaptest.DemoPassword, forwarded[i], forwarded[i+1])
		switch forwarded[i] {
		case "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-Ip":
			wantCode(t, r, 403, "https_required")
		}
		if cookie := r.cookies["sessionid"]; cookie != nil && cookie.Secure {
			t.Errorf("%s made the cookie Secure", forwarded[i])
		}
	}
}
