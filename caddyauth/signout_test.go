package caddyauth

import (
	"strings"
	"testing"
)

const goneCookie = "sessionid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"

func TestSignOut(t *testing.T) {
	s := start(t, setup{})
	const path = "/api/logout/"
	const csrfFailed = `{"status":"error","message":"Verificación CSRF fallida","code":"csrf_failed"}`
	const originFailed = `{"status":"error","message":"Origen no autorizado","code":"origin_not_trusted"}`

	for _, test := range []struct {
		name, method, path string
		changes            []change
		token              bool // shows the CSRF token
	}{
		{name: "GET", method: "GET", path: path},
		{name: "GET without the last slash", method: "GET", path: "/api/logout"},
		{name: "GET from a typed address", method: "GET", path: path, changes: []change{header("Sec-Fetch-Site", "none")}},
		{name: "GET from an own page", method: "GET", path: path, changes: []change{header("Referer", s.base+"/a")}},
		{name: "POST with the token", method: "POST", path: path, token: true},
		{name: "POST with the token in a form", method: "POST", path: path},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, mark := s.signIn("ac12345"), logged.mark()
			changes := append([]change{c.cookies}, test.changes...)
			if test.token {
				changes = append(changes, header("X-CSRFToken", c.csrf))
			} else if test.method == "POST" {
				changes = append(changes, form("csrfmiddlewaretoken="+maskCSRF(c.csrf, strings.Repeat("x", 32))))
			}
			got := s.do(test.method, test.path, changes...)
			want(t, got, 200, bodySignedOut)
			ownAnswer(t, got)
			if cookies := got.Header["Set-Cookie"]; len(cookies) != 1 || cookies[0] != goneCookie {
				t.Errorf("it set %q", cookies)
			}
			wantAudit(t, mark, auditLine{"event": "sign_out", "result": "ok", "user": "ac12345", "path": test.path})
			answer := s.do("GET", "/", c.cookies)
			want(t, answer, 401, bodyAuthenticationRequired)
			if cookies := answer.Header["Set-Cookie"]; len(cookies) != 1 || cookies[0] != goneCookie {
				t.Errorf("the replayed token's answer set %q", cookies)
			}
		})
	}
	t.Run("again, and without a session", func(t *testing.T) {
		for _, method := range []string{"GET", "POST"} {
			got := s.do(method, path)
			want(t, got, 200, bodySignedOut)
			if len(got.Header["Set-Cookie"]) != 0 {
				t.Errorf("without a cookie it set %q", got.Header["Set-Cookie"])
			}
			got = s.do(method, path, header("Cookie", "sessionid=bogus"))
			want(t, got, 200, bodySignedOut)
			if cookies := got.Header["Set-Cookie"]; len(cookies) != 1 || cookies[0] != goneCookie {
				t.Errorf("with a bogus cookie it set %q", cookies)
			}
		}
	})
	t.Run("a navigation gets the page", func(t *testing.T) {
		c := s.signIn("ac12345")
		got := s.do("GET", path, navigation, c.cookies)
		if got.StatusCode != 200 || !strings.Contains(got.Header.Get("Content-Type"), "text/html") || strings.Contains(got.body, "Juan") {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
		want(t, s.do("GET", "/", c.cookies), 401, bodyAuthenticationRequired)
	})
	t.Run("what is refused deletes nothing", func(t *testing.T) {
		c := s.signIn("ac12345")
		for _, test := range []struct {
			name, method string
			changes      []change
			status       int
			body         string
		}{
			{"POST without a token", "POST", nil, 403, csrfFailed},
			{"POST with a wrong token", "POST", []change{header("X-CSRFToken", strings.Repeat("a", 32))}, 403, csrfFailed},
			{"POST with an attacker's pair", "POST", []change{header("Cookie", "csrftoken="+strings.Repeat("a", 32)), header("X-CSRFToken", strings.Repeat("a", 32))}, 403, csrfFailed},
			{"image on a foreign page", "GET", []change{header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "no-cors")}, 403, originFailed},
			{"image on a foreign page over plain HTTP", "GET", []change{header("Referer", "http://evil.test/")}, 403, originFailed},
			{"foreign origin", "POST", []change{header("Origin", "https://evil.test"), header("X-CSRFToken", c.csrf)}, 403, originFailed},
			{"null origin", "GET", []change{header("Origin", "null")}, 403, originFailed},
			{"HEAD", "HEAD", nil, 405, ""},
			{"PUT", "PUT", nil, 405, `{"status":"error","message":"Método no permitido","code":"method_not_allowed"}`},
			{"DELETE", "DELETE", []change{header("X-CSRFToken", c.csrf)}, 405, `{"status":"error","message":"Método no permitido","code":"method_not_allowed"}`},
		} {
			t.Run(test.name, func(t *testing.T) {
				got := s.do(test.method, path, append([]change{c.cookies}, test.changes...)...)
				want(t, got, test.status, test.body)
				if cookies := got.setCookies("sessionid"); len(cookies) != 0 {
					t.Errorf("it set %q", cookies)
				}
				want(t, s.do("GET", "/", c.cookies), 200, "upstream")
			})
		}
		got := s.do("GET", path, navigation, c.cookies, header("Sec-Fetch-Site", "cross-site"))
		if got.StatusCode != 403 || len(got.setCookies("sessionid")) != 0 {
			t.Errorf("a link on a foreign page: %d %q", got.StatusCode, got.Header["Set-Cookie"])
		}
		// A cookie that is of no use stays too: deleting it is a sign-out.
		for _, cookie := range []string{"sessionid=" + strings.Repeat("A", 43), "sessionid=malformed"} {
			got = s.do("GET", path, header("Cookie", cookie), header("Origin", "https://evil.test"))
			if got.StatusCode != 403 || len(got.Header["Set-Cookie"]) != 0 {
				t.Errorf("a refused sign-out: %d, it set %q", got.StatusCode, got.Header["Set-Cookie"])
			}
		}
	})
	t.Run("OPTIONS does nothing", func(t *testing.T) {
		c := s.signIn("ac12345")
		want(t, s.do("OPTIONS", path, c.cookies), 200, `{"status":"ok"}`)
		want(t, s.do("GET", "/", c.cookies), 200, "upstream")
	})
	t.Run("one browser's sign-out leaves the other's session", func(t *testing.T) {
		one, other := s.signIn("ac12345"), s.signIn("ac12345")
		want(t, s.do("GET", path, one.cookies), 200, bodySignedOut)
		want(t, s.do("GET", "/", other.cookies), 200, "upstream")
	})
}

func TestSignOutWithoutTokensUnderCSRFOrigin(t *testing.T) {
	s := start(t, setup{auth: "csrf origin"})
	c := s.signIn("ac12345")
	want(t, s.do("POST", "/api/logout/", c.cookies), 200, bodySignedOut)
	want(t, s.do("GET", "/", c.cookies), 401, bodyAuthenticationRequired)
}

// TestSeveralSessionCookies: which one the client means, nobody can tell, so
// none lets it in, and a sign-out or sign-in ends them all.
func TestSeveralSessionCookies(t *testing.T) {
	s := start(t, setup{})
	for name, end := range map[string]func(both change) reply{
		"GET logout": func(both change) reply { return s.do("GET", "/api/logout/", both) },
		"sign-in":    func(both change) reply { return s.do("POST", "/api/login-ldap/", jsonBody(goodJSON), both) },
	} {
		t.Run(name, func(t *testing.T) {
			one, two := s.signIn("ac12345"), s.signIn("mgarcia")
			both := header("Cookie", "sessionid="+one.token+"; sessionid="+two.token)
			want(t, s.do("GET", "/x", both), 401, bodyAuthenticationRequired)
			// A POST that shows the token of one of them ends neither.
			got := s.do("POST", "/api/logout/", both, header("X-CSRFToken", one.csrf))
			want(t, got, 403, `{"status":"error","message":"Verificación CSRF fallida","code":"csrf_failed"}`)
			want(t, s.do("GET", "/x", one.cookies), 200, "upstream")
			want(t, s.do("GET", "/x", two.cookies), 200, "upstream")
			if got := end(both); got.StatusCode != 200 {
				t.Fatalf("%d %s", got.StatusCode, got.body)
			}
			want(t, s.do("GET", "/x", one.cookies), 401, bodyAuthenticationRequired)
			want(t, s.do("GET", "/x", two.cookies), 401, bodyAuthenticationRequired)
		})
	}
}
