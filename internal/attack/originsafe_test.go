package attack

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// A link or a picture makes a browser GET anything with its cookies: nothing
// that lets is changed by it. DESIGN keeps the sign-out by GET, behind the
// origin gate; a WebSocket, which begins with a GET, has its own; and whoever
// asks ahead is answered here.
func TestR13SafeRequestsChangeNothing(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: originList})
	websocketUpstream(s)
	juan := s.signIn(t, juan)
	other := s.signIn(t, "ac12345")
	alive := func(what string) {
		t.Helper()
		for _, session := range []session{juan, other} {
			if r := session.get(t, "/api/session/"); r.status != http.StatusOK {
				t.Fatalf("%s ended a session: %d", what, r.status)
			}
		}
	}

	credentials := url.Values{"username": {"ac12345"}, "password": {ldaptest.DemoPassword}, "end": {"others"}, "id": {"x"}, "csrfmiddlewaretoken": {juan.csrf}, "_method": {"POST"}}.Encode()
	before := len(s.audit(t))
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		for _, path := range []string{"/accounts/login/", "/api/login-ldap/", "/api/session/", "/accounts/sessions/"} {
			for _, fields := range [][]string{
				nil,
				{"Cookie", juan.cookie()},
				{"X-HTTP-Method-Override", "POST", "Cookie", juan.cookie(), "X-CSRFToken", juan.csrf},
				{"Authorization", "Basic YWMxMjM0NTp4", "Accept", "text/html"},
			} {
				r := s.do(t, method, path+"?"+credentials, `{"end":"others"}`, append(fields, "Content-Type", "application/json")...)
				if cookie := r.cookies["sessionid"]; cookie != nil && (cookie.Value != juan.token || cookie.MaxAge < 0) {
					t.Errorf("%s %s with %q: the cookie %v", method, path, fields, cookie)
				}
			}
		}
	}
	alive("a safe request")
	for _, line := range s.audit(t)[before:] {
		if line.Event == "sign_in" || line.Event == "sign_out" || line.Event == "session_end" {
			t.Errorf("a safe request left %+v in the audit log", line)
		}
	}

	// The sign-out: HEAD is none, and a GET of another site's page is none.
	for _, method := range []string{"HEAD", "PUT", "DELETE", "get"} {
		r := s.do(t, method, "/api/logout/", "", "Cookie", juan.cookie(), "X-CSRFToken", juan.csrf)
		if r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != "GET, POST, OPTIONS" {
			t.Errorf("%s of the sign-out: %d %v", method, r.status, r.header)
		}
	}
	for _, fields := range [][]string{
		{"Origin", originEvil}, {"Origin", "null"}, {"Origin", ""}, {"Origin", originEvil, "Sec-Fetch-Site", "same-origin"},
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, {"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"},
		{"Referer", originEvil + "/"}, {"Referer", ""},
	} {
		for _, path := range []string{"/api/logout/", "/api/logout", "/api/logout/?next=/"} {
			r := s.do(t, "GET", path, "", append(fields, "Cookie", juan.cookie())...)
			if r.status != http.StatusForbidden || r.header["Set-Cookie"] != nil {
				t.Errorf("GET %s with %q: %d with the cookies %q", path, fields, r.status, r.header["Set-Cookie"])
			}
		}
	}
	alive("a refused sign-out")
	s.wantNothingUpstream(t)

	// Every upgrade has its Origin looked at, and no preflight goes on.
	wantCode(t, s.raw(t, juan.websocketRequest("/socket", "Origin: "+originEvil)), 403, "origin_not_trusted")
	for _, origin := range []string{originTrusted, originEvil, "null"} {
		s.do(t, "OPTIONS", "/x", "", "Origin", origin, "Access-Control-Request-Method", "DELETE")
	}
	s.wantNothingUpstream(t)

	// And the sign-out by GET that existing clients need.
	for _, fields := range [][]string{nil, {"Origin", originTrusted}, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Referer", s.base() + "/x"}} {
		in := s.signIn(t, "ac12345")
		r := s.do(t, "GET", "/api/logout/", "", append(fields, "Cookie", in.cookie())...)
		if cookie := r.cookies["sessionid"]; r.status != http.StatusOK || r.body != signedOut || cookie == nil || cookie.MaxAge >= 0 {
			t.Errorf("GET of the sign-out with %q: %d %s %v", fields, r.status, r.body, cookie)
		}
		wantRefused(t, in.get(t, "/x"))
	}
	if cookies := strings.Join(s.do(t, "GET", "/api/logout/", "").header["Set-Cookie"], ""); cookies != "" {
		t.Errorf("a sign-out without a session sets %q", cookies)
	}
	alive("another session's sign-out")
}
