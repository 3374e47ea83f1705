package attack

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
)

// headerSite is a gate with a public part in front of the raw upstream.
const headerSite = `
	require_session {
		public /open/*
	}
	reverse_proxy UPSTREAM`

// headerForged is in every value that must not get through.
const headerForged = "forged"

// headerWant fails unless the identity headers that reached the upstream, in
// whatever spelling, are exactly these; names as CGI servers have them. An empty
// value stands for none.
func headerWant(t testing.TB, what string, r rawecho.Request, want map[string]string) {
	t.Helper()
	got := r.CGI()
	names := []string{"REMOTE_USER", "REMOTE_NAME", "REMOTE_EMAIL", "REMOTE_GROUPS"}
	for name := range want {
		names = append(names, name)
	}
	for _, name := range names {
		values, value := got[name], want[name]
		if value == "" && len(values) != 0 || value != "" && (len(values) != 1 || values[0] != value) {
			t.Errorf("%s: the upstream got %s %q, want %q", what, name, values, want[name])
		}
	}
	if strings.Contains(fmt.Sprint(r.Header, r.Trailer, r.Raw), headerForged) {
		t.Errorf("%s: a forged value reached the upstream: %v %v", what, r.Header, r.Trailer)
	}
}

// headerJuan is what the upstream is told of Juan, of whose groups the
// configuration names none.
func headerJuan() map[string]string {
	return map[string]string{"REMOTE_USER": "ac12345", "REMOTE_NAME": "Juan Pérez", "REMOTE_EMAIL": "ac12345@empresa.local"}
}

// headerLines are header lines with forged values under these names.
func headerLines(names ...string) string {
	var lines strings.Builder
	for _, name := range names {
		lines.WriteString(name + ": " + headerForged + "\n")
	}
	return lines.String()
}

// headerTry sends forged headers over both protocols, on a public path and, with
// a session, on a gated one. What reaches the upstream must be what the gate
// says.
func headerTry(t testing.TB, s *site, juan session, names []string) {
	t.Helper()
	for path, want := range map[string]map[string]string{"/open/x": nil, "/inside": headerJuan()} {
		s.echo.Forget()
		wantServed(t, s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nX-Kept: yes\nCookie: "+juan.cookie()+"\n"+headerLines(names...)+"\n"))
		r := s.echo.Last(t)
		headerWant(t, fmt.Sprintf("HTTP/1.1 %s with %q", path, names), r, want)
		if got := r.Values("X-Kept"); len(got) != 1 {
			t.Errorf("%s: an innocent header arrived as %q", path, got)
		}

		fields := [][2]string{{":path", path}, {"x-kept", "yes"}, {"cookie", juan.cookie()}}
		for _, name := range names {
			fields = append(fields, [2]string{strings.ToLower(name), headerForged})
		}
		s.echo.Forget()
		answer, err := s.h2(t, h2Request{fields: fields})
		if err != nil {
			t.Fatalf("HTTP/2 %s with %q: %v", path, names, err)
		}
		wantServed(t, answer)
		headerWant(t, fmt.Sprintf("HTTP/2 %s with %q", path, names), s.echo.Last(t), want)
	}
}

// A client's identity headers go before anything else happens, on every path a
// request can take to an upstream: also where something fails later and an error
// route takes over.
func TestR02HeadersAreStrippedBeforeAnythingElse(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: `
	require_session {
		public /open/*
	}
	@broken path */broken
	handle @broken {
		error 500
	}
	@dead path */dead
	handle @dead {
		reverse_proxy 127.0.0.1:1
	}
	@missing path */missing
	handle @missing {
		root * DIR
		try_files {path} =404
		file_server
	}
	@large path */large
	handle @large {
		request_body {
			max_size 4
		}
		reverse_proxy UPSTREAM
	}
	handle {
		reverse_proxy UPSTREAM
	}
	handle_errors {
		reverse_proxy UPSTREAM
	}`})
	forged := headerLines("Remote-User", "Remote-User", "Remote-Groups", "Remote-Email", "remote_user", "remote.user", "Remote--User", "Remote-User-", "-Remote-User", "Remote~User") +
		"Connection: close, Remote-User, Remote-Name\n"
	juan := s.signIn(t, juan)
	for _, place := range []string{"page", "broken", "dead", "missing", "large"} {
		for path, want := range map[string]map[string]string{"/open/" + place: nil, "/inside/" + place: headerJuan()} {
			s.echo.Forget()
			body := ""
			if place == "large" {
				body = "0123456789"
			}
			r := s.raw(t, fmt.Sprintf("POST %s HTTP/1.1\nHost: HOST\nCookie: %s\nX-CSRFToken: %s\nContent-Length: %d\n%s\n%s", path, juan.cookie(), juan.csrf, len(body), forged, body))
			requests := s.echo.Requests()
			if len(requests) == 0 && place != "large" { // whose body cannot be sent again
				t.Errorf("%s: %d, and nothing reached the upstream", path, r.status)
			}
			for _, request := range requests {
				headerWant(t, path, request, want)
			}

			s.echo.Forget()
			wantRefused(t, s.raw(t, "POST /inside/"+place+" HTTP/1.1\nHost: HOST\nContent-Length: 0\n"+forged+"\n"))
			s.wantNothingUpstream(t)
		}
	}
}

// An error route is a chain without the gate, and what it proxies has the
// headers of the client. So no refusal may become an error.
func TestB01RefusalsNeverStartTheErrorRoutes(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: `
	@far host far.test
	require_session @far {
		trusted_ips 192.0.2.0/24
	}
	@near not host far.test
	require_session @near {
		require /admin/* "IT Admins"
		public /open/*
	}
	reverse_proxy UPSTREAM
	handle_errors {
		reverse_proxy UPSTREAM
	}`})
	juan := s.signIn(t, juan)
	s.echo.Forget()
	forged := headerLines("Remote-User", "remote_user")
	cookie := "Cookie: " + juan.cookie() + "\n"
	for _, test := range []struct {
		name, text string
		status     int
	}{
		{"no session", "GET /inside HTTP/1.1\nHost: HOST\n", 401},
		{"a dead session", "GET /inside HTTP/1.1\nHost: HOST\nCookie: sessionid=" + strings.Repeat("A", 43) + "\n", 401},
		{"an address", "GET /inside HTTP/1.1\nHost: far.test\n" + cookie, 403},
		{"an address on a public path", "GET /open/x HTTP/1.1\nHost: far.test\n", 403},
		{"a group", "GET /admin/x HTTP/1.1\nHost: HOST\n" + cookie, 403},
		{"an ambiguous path", "GET /admin/..;/x HTTP/1.1\nHost: HOST\n" + cookie, 403},
		{"no token", "POST /inside HTTP/1.1\nHost: HOST\nContent-Length: 0\n" + cookie, 403},
		{"a method", "TRACE /open/x HTTP/1.1\nHost: HOST\n", 405},
		{"a wrong password", "POST /api/login-ldap/ HTTP/1.1\nHost: HOST\nContent-Type: application/json\nContent-Length: 36\n", 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := ""
			if strings.Contains(test.text, "Content-Length: 36") {
				body = `{"username":"nobody","password":"x"}`
			}
			if r := s.raw(t, test.text+forged+"Connection: close\n\n"+body); r.status != test.status {
				t.Errorf("got %d %s, want %d", r.status, r.body, test.status)
			}
			s.wantNothingUpstream(t)
		})
	}
}
