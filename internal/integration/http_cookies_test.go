package integration

import (
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

func TestHTTPMalformedCookies(t *testing.T) {
	site, _ := startOnTestDirectory(t, "require_session {\n\t\tpublic /publico\n\t}")
	s := site.signIn(t, "ac12345", ldaptest.DemoPassword)
	good := "sessionid=" + s.token
	other := "sessionid=" + strings.Repeat("A", 43)
	tests := []struct {
		what, headers string
		status        int
	}{
		{"the session's own", "Cookie: " + good, 200},
		{"the same twice", "Cookie: " + good + "; " + good, 200},
		{"empty", "Cookie: sessionid=", 401},
		{"no value", "Cookie: sessionid", 401},
		{"unknown token", "Cookie: " + other, 401},
		{"one character short", "Cookie: " + good[:len(good)-1], 401},
		{"one character more", "Cookie: " + good + "A", 401},
		{"upper case", "Cookie: sessionid=" + swapCase(s.token), 401},
		{"quoted", `Cookie: sessionid="` + s.token + `"`, 401},
		{"percent-encoded", "Cookie: sessionid=%" + s.token, 401},
		{"name in upper case", "Cookie: SESSIONID=" + s.token, 401},
		{"own and another", "Cookie: " + good + "; " + other, 401},
		{"another and own", "Cookie: " + other + "; " + good, 401},
		{"in two headers", "Cookie: " + other + "\r\nCookie: " + good, 401},
		{"own and an empty one", "Cookie: " + good + "; sessionid=", 401},
		{"binary", "Cookie: sessionid=\xff\xfe\x80", 401},
		{"not UTF-8 beside it", "Cookie: x=\xff; sessionid=\xc3\x28", 401},
		{"a path", "Cookie: sessionid=../../etc/passwd", 401},
		{"long", "Cookie: sessionid=" + strings.Repeat("A", 16000), 401},
		{"many", "Cookie: " + strings.Repeat("sessionid=x; ", 1000), 401},
		{"only semicolons", "Cookie: ;;;=;=;;", 401},
		{"malformed csrftoken beside the session", "Cookie: " + good + "; csrftoken=\xff!", 200},
		{"NUL, which no server takes", "Cookie: sessionid=\x00", 400},
		{"over a megabyte, which no server takes", "Cookie: sessionid=" + strings.Repeat("A", 1100<<10), 431},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			r := raw(t, site.caddy, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"+test.headers+"\r\n\r\n")
			if r.status != test.status {
				t.Errorf("got %d %s, want %d", r.status, r.body, test.status)
			}
			if test.status >= 400 && test.status != 401 {
				return
			}
			for path, want := range map[string]int{"/api/session/": test.status, "/publico": 200, "/accounts/login/": 200, "/api/logout/": 200} {
				// A sign-out may well end each session that it names.
				if path == "/api/logout/" && strings.Contains(test.headers, s.token) {
					continue
				}
				r := raw(t, site.caddy, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"+test.headers+"\r\n\r\n")
				if r.status != want {
					t.Errorf("%s: got %d %s, want %d", path, r.status, r.body, want)
				}
			}
		})
	}
	// None of that ended the session.
	s.echo(t, "/")
}

func swapCase(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 32
		case 'A' <= c && c <= 'Z':
			return c + 32
		}
		return c
	}, s)
}
