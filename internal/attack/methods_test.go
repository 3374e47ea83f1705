package attack

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// methodConnect sends a CONNECT of HTTP/2, which has neither scheme nor path.
func methodConnect(t testing.TB, s *site, cookie string) (reply, error) {
	t.Helper()
	conn := s.dial(t, "h2")
	defer conn.Close()
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = framer.WriteSettings()
	fields := [][2]string{{":method", "CONNECT"}, {":authority", "127.0.0.1:" + s.port}, {"cookie", cookie}, {"remote-user", headerForged}}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(fields), EndHeaders: true}); err != nil {
		return reply{}, err
	}
	_ = framer.WriteData(1, false, []byte("GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"))
	return readH2(framer)
}

// methodTunnels are requests that turn a connection into a tunnel, or have the
// upstream tell what it got.
func methodTunnels(cookie string) map[string]string {
	requests := map[string]string{}
	for _, method := range []string{"CONNECT", "TRACE"} {
		for _, target := range []string{"/inside", "/open/x", "HOST", "evil.test:443", "/accounts/login/", "/api/logout/", "/api/login-ldap/", "/api/session/", "/accounts/sessions/"} {
			if method == "TRACE" && !strings.HasPrefix(target, "/") {
				continue
			}
			for session, lines := range map[string]string{"with a session": cookie, "without": ""} {
				requests[fmt.Sprintf("%s %s %s", method, target, session)] = method + " " + target + " HTTP/1.1\nHost: HOST\nMax-Forwards: 1\n" + lines
			}
		}
	}
	return requests
}

// methodTry sends each of the tunnels: 405, and nothing goes on.
func methodTry(t *testing.T, s *site, juan session) {
	t.Helper()
	s.echo.Forget()
	for name, text := range methodTunnels("Cookie: " + juan.cookie() + "\nX-CSRFToken: " + juan.csrf + "\n") {
		r := s.raw(t, text+headerLines("Remote-User")+"Connection: close\n\nGET /inside HTTP/1.1\nHost: HOST\n\n")
		allow := r.header.Get("Allow")
		if r.status != 405 || r.code() != "method_not_allowed" || !strings.Contains(allow, "GET") && !strings.Contains(allow, "POST") || strings.Contains(allow, "TRACE") || strings.Contains(allow, "CONNECT") {
			t.Errorf("%s: %d %s, Allow %q", name, r.status, r.body, allow)
		}
		if strings.Contains(r.body, juan.token) || strings.Contains(r.body, headerForged) {
			t.Errorf("%s: the answer repeats the request: %s", name, r.body)
		}
	}
	if r, err := methodConnect(t, s, juan.cookie()); err == nil && r.status != 405 {
		t.Errorf("CONNECT of HTTP/2: %d %s", r.status, r.body)
	}
	r, err := s.h2(t, h2Request{fields: [][2]string{{":method", "TRACE"}, {":path", "/open/x"}, {"cookie", juan.cookie()}}})
	if err == nil && r.status != 405 {
		t.Errorf("TRACE of HTTP/2: %d %s", r.status, r.body)
	}
	s.wantNothingUpstream(t)
	wantServed(t, juan.get(t, "/inside")) // no sign-out was among them
}

func TestB22ConnectAndTraceAreNotProxied(t *testing.T) {
	t.Parallel()
	for _, lines := range []string{headerSite, "ldap_login\n" + headerSite} {
		s := start(t, setup{site: lines})
		methodTry(t, s, s.signIn(t, juan))
	}
}

// A CONNECT in the proxy's pool of connections would leave its answer to the
// next user.
func TestP65ConnectPoisonsNoConnection(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: headerSite})
	juan, maria := s.signIn(t, juan), s.signIn(t, maria)
	const body = "GET /poison HTTP/1.1\r\nHost: x\r\n\r\n"
	for i := range 5 {
		wantServed(t, maria.get(t, "/inside"))
		r := s.raw(t, fmt.Sprintf("CONNECT /inside HTTP/1.1\nHost: HOST\nCookie: %s\nX-CSRFToken: %s\nContent-Length: %d\n\n%s", juan.cookie(), juan.csrf, len(body), body))
		wantCode(t, r, 405, "method_not_allowed")
		path := fmt.Sprintf("/inside/%d", i)
		if r := maria.get(t, path); r.body != "upstream "+path {
			t.Errorf("after a CONNECT another user got %q", r.body)
		}
		if got := s.echo.Last(t).Values("Remote-User"); len(got) != 1 || got[0] != "mgarcia" {
			t.Errorf("after a CONNECT the upstream took another user for %q", got)
		}
	}
	for _, r := range s.echo.Requests() {
		if r.Method() != "GET" || strings.Contains(r.Raw, "poison") {
			t.Errorf("this reached the upstream: %q", r.Raw)
		}
	}
}

// The routes of the sign-in have their methods, and no other.
func TestS20MethodsOfTheSignInRoutes(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	juan := s.signIn(t, juan)
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PURGE", "PROPFIND", "TRACE", "get", "post", "Post"}
	for path, allowed := range map[string]string{
		"/api/login-ldap/": "POST OPTIONS", "/accounts/login/": "GET HEAD POST", "/api/logout/": "GET POST", "/api/session/": "GET HEAD", "/accounts/sessions/": "GET HEAD POST",
	} {
		for _, method := range methods {
			for _, cookie := range []string{"", juan.cookie()} {
				if strings.Contains(" "+allowed+" ", " "+method+" ") {
					continue
				}
				r := s.raw(t, method+" "+path+" HTTP/1.1\nHost: HOST\nContent-Length: 0\nX-CSRFToken: "+juan.csrf+"\nCookie: "+cookie+"\n\n")
				if r.status != 405 || method != "HEAD" && r.code() != "method_not_allowed" {
					t.Errorf("%s %s, session %v: %d %s", method, path, cookie != "", r.status, r.body)
				}
				for _, listed := range strings.Split(r.header.Get("Allow"), ", ") {
					if !strings.Contains(" "+allowed+" OPTIONS ", " "+listed+" ") {
						t.Errorf("%s %s: Allow lists %q", method, path, listed)
					}
				}
			}
		}
	}
	s.wantNothingUpstream(t)
	wantServed(t, juan.get(t, "/inside"))
}

// Go answers OPTIONS * itself; every other OPTIONS needs a session, or is the
// preflight of a trusted origin, which the gate answers.
func TestB19OptionsReachNoUpstreamUnasked(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: "trusted_origins https://app.test"})
	ask := "Access-Control-Request-Method: PUT\n"
	for name, test := range map[string]struct {
		text   string
		status int
	}{
		"the server as a whole":           {"OPTIONS * HTTP/1.1\nHost: HOST\n", 200},
		"a page":                          {"OPTIONS /inside HTTP/1.1\nHost: HOST\n", 401},
		"a preflight of a stranger":       {"OPTIONS /inside HTTP/1.1\nHost: HOST\nOrigin: https://evil.test\n" + ask, 401},
		"a preflight of no origin":        {"OPTIONS /inside HTTP/1.1\nHost: HOST\nOrigin: null\n" + ask, 401},
		"no preflight":                    {"OPTIONS /inside HTTP/1.1\nHost: HOST\nOrigin: https://app.test\n", 401},
		"a preflight of a trusted origin": {"OPTIONS /inside HTTP/1.1\nHost: HOST\nOrigin: https://app.test\n" + ask, 200},
		"in lower case":                   {"options /inside HTTP/1.1\nHost: HOST\nOrigin: https://app.test\n" + ask, 401},
		"another method of everything":    {"GET * HTTP/1.1\nHost: HOST\n", 401},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.raw(t, test.text+headerLines("Remote-User")+"Connection: close\n\n")
			if r.status != test.status {
				t.Errorf("%d %s, want %d", r.status, r.body, test.status)
			}
			if got := r.header.Get("Access-Control-Allow-Origin"); test.status == 200 && strings.Contains(test.text, "app.test") != (got == "https://app.test") {
				t.Errorf("Access-Control-Allow-Origin %q", got)
			}
			s.wantNothingUpstream(t)
		})
	}
	_, _ = s.h2(t, h2Request{fields: [][2]string{{":method", "OPTIONS"}, {":path", "*"}, {"remote-user", headerForged}}})
	s.wantNothingUpstream(t)
	juan := s.signIn(t, juan)
	wantServed(t, s.do(t, "OPTIONS", "/inside", "", "Cookie", juan.cookie()))
}

// No method and no condition of a request makes it pass without a session, and
// only three methods are safe, in capitals.
func TestB20EveryMethodHitsTheGate(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "PURGE", "PROPFIND", "REPORT", "QUERY", "get", "Get", "head", "options", "G.E.T", "!", strings.Repeat("X", 32)} {
		r := s.raw(t, method+" /inside HTTP/1.1\nHost: HOST\nContent-Length: 0\n\n")
		if r.status != 401 || method != "HEAD" && r.body != unauthenticated {
			t.Errorf("%s: %d %s", method, r.status, r.body)
		}
	}
	for _, method := range []string{"TRACE", "trace", "Connect"} {
		if r := s.raw(t, method+" /inside HTTP/1.1\nHost: HOST\nContent-Length: 0\n\n"); r.status != 405 {
			t.Errorf("%s: %d %s", method, r.status, r.body)
		}
	}
	if r := s.raw(t, strings.Repeat("X", 33)+" /inside HTTP/1.1\nHost: HOST\nContent-Length: 0\n\n"); r.status < 400 {
		t.Errorf("a long method: %d %s", r.status, r.body)
	}
	for _, lines := range []string{
		"Range: bytes=0-1\n", "If-None-Match: *\n", "If-Match: \"x\"\n", "If-Modified-Since: Fri, 01 Jan 2027 00:00:00 GMT\n", "If-Range: \"x\"\nRange: bytes=0-\n",
		"Cache-Control: only-if-cached\n", "Max-Forwards: 0\n", "Authorization: Basic YWRtaW46YWRtaW4=\n", "Purpose: prefetch\nSec-Purpose: prefetch\n",
	} {
		wantRefused(t, s.raw(t, "GET /inside HTTP/1.1\nHost: HOST\n"+lines+"\n"))
	}
	// A client that expects to be asked for the body sends it unasked after a
	// while, and is refused before.
	wantRefused(t, s.raw(t, "PUT /inside HTTP/1.1\nHost: HOST\nContent-Length: 5\nExpect: 100-continue\n\nhello"))
	s.wantNothingUpstream(t)

	juan := s.signIn(t, juan)
	s.echo.Forget()
	for _, method := range []string{"get", "Get", "gET", "head", "options", "POST", "PURGE", "PROPFIND", "!"} {
		r := s.raw(t, method+" /inside HTTP/1.1\nHost: HOST\nContent-Length: 0\nCookie: "+juan.cookie()+"\n\n")
		wantCode(t, r, 403, "csrf_failed")
	}
	s.wantNothingUpstream(t)
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PURGE", "get"} {
		token := ""
		if method != "GET" && method != "HEAD" && method != "OPTIONS" {
			token = "X-CSRFToken: " + juan.csrf + "\n"
		}
		if r := s.raw(t, method+" /inside HTTP/1.1\nHost: HOST\nContent-Length: 0\nCookie: "+juan.cookie()+"\n"+token+"\n"); r.status != 200 || s.echo.Last(t).Method() != method {
			t.Errorf("%s with a session: %d, the upstream got %s", method, r.status, s.echo.Last(t).Line)
		}
	}
}

// An application may take a GET with one of these for another method.
func TestB21MethodOverrides(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	juan := s.signIn(t, juan)
	s.echo.Forget()
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override"} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
			request := method + " /inside HTTP/1.1\nHost: HOST\nCookie: " + juan.cookie() + "\n" + name + ": DELETE\n"
			if r := s.raw(t, request+"\n"); r.status != 403 || method != "HEAD" && r.code() != "csrf_failed" {
				t.Errorf("%s with %s: %d %s", method, name, r.status, r.body)
			}
			s.wantNothingUpstream(t)
			if r := s.raw(t, request+"X-CSRFToken: "+juan.csrf+"\n\n"); r.status != 200 || s.echo.Last(t).Method() != method {
				t.Errorf("%s with %s and the token: %d %s", method, name, r.status, r.body)
			}
			s.echo.Forget()
		}
	}
}
