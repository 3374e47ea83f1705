package attack

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
)

// corsGrant is what an answer lets a page of another origin do.
func corsGrant(r reply) string {
	return strings.Join(r.header["Access-Control-Allow-Origin"], ",") + "|" + strings.Join(r.header["Access-Control-Allow-Credentials"], ",")
}

// corsVaries tells whether caches keep answers to different origins apart.
func corsVaries(r reply) bool {
	for _, value := range r.header["Vary"] {
		for name := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(name), "Origin") {
				return true
			}
		}
	}
	return false
}

// corsGenerous makes the upstream an application that lets every page read
// everything, as rs/cors and others did with a wildcard and credentials.
func corsGenerous(s *site) {
	s.echo.Answer(func(r rawecho.Request) string {
		body := "upstream " + r.Target()
		origin := "*"
		if sent := r.Values("Origin"); len(sent) == 1 && strings.HasPrefix(r.Target(), "/reflecting") {
			origin = sent[0]
		}
		if r.Method() == "HEAD" {
			body = ""
		}
		return "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: " + origin + "\r\naccess-control-allow-credentials: true\r\nContent-Type: text/plain\r\nContent-Length: " +
			strconv.Itoa(len(body)) + "\r\n\r\n" + body
	})
}

// rs/cors, jub0bs/cors, gin-contrib and fiber took a suffix or a prefix of a
// listed name for that name, let a wildcard go with credentials, or ran out of
// memory over a preflight of commas.
func TestP87OnlyListedOriginsReadAnswersAndPreflightsCostNothing(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: originList})
	corsGenerous(s)
	juan := s.signIn(t, juan)
	for origin, listed := range originsOf(s.base()) {
		if origin == s.base() {
			listed = false // the own origin needs no permission
		}
		for name, r := range map[string]reply{
			"protected":               juan.get(t, "/x", "Origin", origin),
			"protected, reflecting":   juan.get(t, "/reflecting", "Origin", origin),
			"refused":                 s.do(t, "GET", "/x", "", "Origin", origin),
			"who is signed in":        juan.get(t, "/api/session/", "Origin", origin),
			"own sessions":            juan.get(t, "/accounts/sessions/", "Origin", origin),
			"preflight":               s.do(t, "OPTIONS", "/x", "", "Origin", origin, "Access-Control-Request-Method", "PUT"),
			"preflight with a cookie": juan.do(t, "OPTIONS", "/x", "", "Origin", origin, "Access-Control-Request-Method", "PUT", "Cookie", juan.cookie()),
			"preflight of a sign-in":  s.do(t, "OPTIONS", "/api/login-ldap/", "", "Origin", origin, "Access-Control-Request-Method", "POST"),
		} {
			granted := corsGrant(r)
			if listed && granted != origin+"|true" || !listed && strings.HasSuffix(granted, "|true") {
				t.Errorf("%s from %q: %d with the permission %s", name, origin, r.status, granted)
			}
			if !listed && !strings.HasPrefix(r.body, "upstream") && granted != "|" {
				t.Errorf("%s from %q: our own answer %d has the permission %s", name, origin, r.status, granted)
			}
			if !corsVaries(r) {
				t.Errorf("%s from %q: a cache may give the answer to other origins", name, origin)
			}
		}
	}

	ask := func(headers ...string) reply {
		fields := []string{"Origin", originTrusted, "Access-Control-Request-Method", "PUT"}
		for _, header := range headers {
			fields = append(fields, "Access-Control-Request-Headers", header)
		}
		return s.do(t, "OPTIONS", "/x", "", fields...)
	}
	s.echo.Forget()
	for name, headers := range map[string][]string{
		"8 KiB of names":        {strings.Repeat("x-a,", 2<<10) + "x-b"},
		"64 KiB of names":       {strings.Repeat("x-a,", 16<<10) + "x-b"},
		"a long name":           {strings.Repeat("x", 64<<10)},
		"a hundred lines":       slices.Repeat([]string{strings.Repeat("x", 100)}, 100),
		"commas":                {",,,,"},
		"900 kB of commas":      {strings.Repeat(",", 900_000)},
		"12 kB of commas":       {strings.Repeat(",", 12_000)},
		"a thousand commas":     slices.Repeat([]string{","}, 1000),
		"no names":              {"a b"},
		"markup":                {"<script>"},
		"an empty list":         {""},
		"none":                  nil,
		"an empty name between": {"x-a,,x-b"},
	} {
		r := ask(headers...)
		if r.status == 431 && corsGrant(r) == "|" && (len(headers) > 100 || len(headers) == 1 && len(headers[0]) > 16<<10) {
			continue // the server's own limit for a header
		}
		if r.status != 200 || corsGrant(r) != originTrusted+"|true" {
			t.Errorf("%s: %d with the permission %s", name, r.status, corsGrant(r))
		}
		// The answer is no longer for a long question.
		if got := r.header["Access-Control-Allow-Headers"]; len(got) != 1 || got[0] != "Content-Type, X-CSRFToken" {
			t.Errorf("%s: allowed are %.100q", name, got)
		}
	}
	if got := ask("content-type,x-csrftoken, X-Mine").header["Access-Control-Allow-Headers"]; len(got) != 1 || got[0] != "content-type,x-csrftoken, X-Mine" {
		t.Errorf("what was asked for is allowed as %q", got)
	}
	s.wantNothingUpstream(t)
}

// The list of origins decides who reads what, on every answer of ours, and a
// preflight of a listed one is answered here, without a session.
func TestS16CORSFollowsTheListOfOrigins(t *testing.T) {
	t.Parallel()
	originSchemes(t, func(t *testing.T, s *site) {
		corsGenerous(s)
		juan := s.signIn(t, juan)
		for _, path := range []string{"/x", "/", "/a/b?c", "/api/login-ldap/", "/api/session/", "/api/logout/", "/accounts/login/", "/accounts/sessions/"} {
			for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "PROPFIND"} {
				s.echo.Forget()
				r := s.do(t, "OPTIONS", path, "", "Origin", originTrusted, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", "content-type,x-csrftoken")
				if r.status != 200 || r.body != `{"status":"ok"}` || corsGrant(r) != originTrusted+"|true" || !corsVaries(r) || len(r.header["Set-Cookie"]) > 0 {
					t.Errorf("%s for %s: %d %q %v", path, method, r.status, r.body, r.header)
				}
				if allowed := strings.Split(r.header.Get("Access-Control-Allow-Methods"), ", "); !slices.Contains(allowed, method) || slices.Contains(allowed, "*") {
					t.Errorf("%s for %s: the methods %q", path, method, allowed)
				}
				if got := r.header.Get("Access-Control-Allow-Headers"); got != "content-type,x-csrftoken" {
					t.Errorf("%s for %s: the headers %q", path, method, got)
				}
				s.wantNothingUpstream(t)
			}
			// A method that no header can have is not repeated.
			for _, method := range []string{"PU T", "<x>", strings.Repeat("A", 1000), "TRACE", "CONNECT"} {
				r := s.do(t, "OPTIONS", path, "", "Origin", originTrusted, "Access-Control-Request-Method", method)
				if strings.Contains(strings.Join(r.header["Access-Control-Allow-Methods"], ","), method) {
					t.Errorf("%s: the method %.20q is allowed", path, method)
				}
			}
			// Of others nothing is answered but on the sign-in paths, where it says
			// nothing.
			s.echo.Forget()
			for _, origin := range []string{originEvil, "null", "https://eviltrusted.test", "https://wild.test"} {
				r := s.do(t, "OPTIONS", path, "", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
				for name := range r.header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s, preflight of %s: %d with %s: %q", path, origin, r.status, name, r.header[name])
					}
				}
			}
			// Half a preflight is none.
			for _, fields := range [][]string{nil, {"Origin", originTrusted}, {"Access-Control-Request-Method", "POST"}, {"Origin", originTrusted, "Origin", originTrusted, "Access-Control-Request-Method", "POST"}} {
				s.do(t, "OPTIONS", path, "", fields...)
			}
			s.wantNothingUpstream(t)
		}
		for _, method := range []string{"GET", "HEAD", "POST"} {
			r := s.do(t, method, "/x", "", "Origin", originTrusted, "Cookie", juan.cookie(), "X-CSRFToken", juan.csrf)
			if r.status != 200 || corsGrant(r) != originTrusted+"|true" || !corsVaries(r) {
				t.Errorf("%s of a listed origin: %d %v", method, r.status, r.header)
			}
		}
		// Nothing of this needs an Origin, and answers without one are kept apart.
		if r := juan.get(t, "/x"); r.status != 200 || corsGrant(r) != "*|" || !corsVaries(r) {
			t.Errorf("without an Origin: %d %v", r.status, r.header)
		}
	})
}
