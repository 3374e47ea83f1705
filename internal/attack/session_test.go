package attack

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// sessionNavigation are the headers of a browser that opens a page.
func sessionNavigation() []string {
	return []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin", "Accept-Language", "en"}
}

// sessionUser is who the upstream was told of.
func (s session) sessionUser(t testing.TB) string {
	t.Helper()
	wantServed(t, s.get(t, "/"))
	return strings.Join(s.echo.Last(t).CGI()["REMOTE_USER"], ",")
}

// Whatever token a browser holds before a sign-in is worth nothing after it:
// one that nobody has given out, another person's, its own old one, and one
// that a neighbour planted beside it.
func TestS03TokensAreNewAfterASignIn(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	invented := strings.Repeat("A", 43)
	attacker := s.signIn(t, maria)
	old := s.signIn(t, juan)
	for _, test := range []struct{ name, cookie string }{
		{"one that nobody has given out", "sessionid=" + invented},
		{"an attacker's", "sessionid=" + attacker.token + "; csrftoken=" + attacker.csrf},
		{"its own", old.cookie()},
	} {
		t.Run(test.name, func(t *testing.T) {
			victim := s.signIn(t, juan, "Cookie", test.cookie)
			if strings.Contains(test.cookie, victim.token) || strings.Contains(test.cookie, victim.csrf) {
				t.Error("a value from before the sign-in is still in use")
			}
			wantRefused(t, s.do(t, "GET", "/", "", "Cookie", test.cookie))
			if user := victim.sessionUser(t); user != juan {
				t.Errorf("the new session is of %q", user)
			}
		})
	}
	t.Run("one that was planted beside it", func(t *testing.T) {
		planted, own := s.signIn(t, maria), s.signIn(t, juan)
		victim := s.signIn(t, juan, "Cookie", "sessionid="+planted.token+"; sessionid="+own.token)
		wantRefused(t, planted.get(t, "/"))
		wantRefused(t, own.get(t, "/"))
		if user := victim.sessionUser(t); user != juan {
			t.Errorf("the new session is of %q", user)
		}
	})
	t.Run("a form in a browser", func(t *testing.T) {
		own := s.signIn(t, juan)
		form := url.Values{"username": {juan}, "password": {ldaptest.DemoPassword}}.Encode()
		r := s.do(t, "POST", "/accounts/login/", form, append(sessionNavigation(), "Content-Type", "application/x-www-form-urlencoded", "Cookie", own.cookie())...)
		if r.status != http.StatusSeeOther || r.cookies["sessionid"] == nil || r.cookies["sessionid"].Value == own.token {
			t.Fatalf("%d %v", r.status, r.header["Set-Cookie"])
		}
		wantRefused(t, own.get(t, "/"))
	})
}

// A neighbour on another host of the domain can set a cookie without the prefix
// only, which is not looked at over TLS.
func TestS03PlantedTwinOfAPrefixedCookie(t *testing.T) {
	t.Parallel()
	s := start(t, setup{tls: true, sessions: "cookie_prefix __Host-"})
	tokenOf := func(username string, fields ...string) string {
		r := s.trySignIn(t, username, ldaptest.DemoPassword, fields...)
		if r.cookies["__Host-sessionid"] == nil {
			t.Fatalf("signing in: %d %v", r.status, r.header["Set-Cookie"])
		}
		return r.cookies["__Host-sessionid"].Value
	}
	planted := tokenOf(maria)
	victim := tokenOf(juan, "Cookie", "sessionid="+planted)
	wantRefused(t, s.do(t, "GET", "/", "", "Cookie", "sessionid="+planted))
	wantRefused(t, s.do(t, "GET", "/", "", "Cookie", "sessionid="+victim))
	wantServed(t, s.do(t, "GET", "/", "", "Cookie", "sessionid="+planted+"; __Host-sessionid="+victim))
	if user := s.echo.Last(t).CGI()["REMOTE_USER"]; len(user) != 1 || user[0] != juan {
		t.Errorf("the upstream was told of %q", user)
	}
}

// Who signs in as somebody else leaves nothing of the first behind: not the
// session, not the name at the upstream, not what is still held open.
func TestP82SigningInAsAnotherEndsTheFirst(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	first := s.signIn(t, juan)
	if user := first.sessionUser(t); user != juan {
		t.Fatalf("the upstream was told of %q", user)
	}
	second := s.signIn(t, maria, "Cookie", first.cookie())
	if user := second.sessionUser(t); user != maria {
		t.Errorf("the upstream was told of %q", user)
	}
	wantRefused(t, first.get(t, "/"))
	wantCode(t, second.do(t, "POST", "/", "", "Cookie", second.cookie(), "X-CSRFToken", first.csrf), http.StatusForbidden, "csrf_failed")
	if ids := s.sessionIDs(t, juan); len(ids) != 0 {
		t.Errorf("the first still has the sessions %v", ids)
	}
	// A refused sign-in as another changes nothing.
	r := s.trySignIn(t, juan, "falsa", "Cookie", second.cookie())
	wantCode(t, r, http.StatusUnauthorized, "invalid_credentials")
	if user := second.sessionUser(t); user != maria {
		t.Errorf("after a refused sign-in the upstream was told of %q", user)
	}
}

// The sign-in page of somebody who is signed in says so: it neither pretends
// that nobody is, nor makes a second session, nor leads on by itself.
func TestP37SignInPageNamesALiveSession(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	juan := s.signIn(t, juan)
	before := s.sessionCounts(t)
	for _, target := range []string{"/accounts/login/", "/accounts/login", "/accounts/login/?next=/x"} {
		r := juan.get(t, target, sessionNavigation()...)
		if r.status != http.StatusOK || !strings.Contains(r.body, "Juan Pérez") || !strings.Contains(r.body, `action="/api/logout/"`) {
			t.Errorf("%s: %d, the page does not say who is signed in and let them out: %s", target, r.status, r.body)
		}
		if strings.Contains(r.body, `name="password"`) && !strings.Contains(r.body, "Juan Pérez") {
			t.Errorf("%s: the page asks for a password as if nobody were signed in", target)
		}
		if set := r.cookies["sessionid"]; set != nil && set.Value != juan.token {
			t.Errorf("%s: it set another session", target)
		}
	}
	if after := s.sessionCounts(t); after != before {
		t.Errorf("there are %v, before there were %v", after, before)
	}
	// Once the session is over the page says that nobody is signed in.
	juan.signOut(t)
	r := juan.get(t, "/accounts/login/", sessionNavigation()...)
	if r.status != http.StatusOK || strings.Contains(r.body, "Juan") || !strings.Contains(r.body, `name="password"`) {
		t.Errorf("after the sign-out: %d %s", r.status, r.body)
	}
}

// Nothing but a POST signs in, whatever it carries, and what it carries is not
// tried as a password.
func TestS12NoSessionWithoutAPost(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	binds := s.directory.Binds()
	query := "?username=" + juan + "&password=" + ldaptest.DemoPassword
	body := `{"username":"` + juan + `","password":"` + ldaptest.DemoPassword + `"}`
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "post"} {
		for _, path := range []string{"/api/login-ldap/", "/accounts/login/", "/", "/api/session/"} {
			for _, fields := range [][]string{
				nil, sessionNavigation(), {"Authorization", "Basic YWMxMjM0NTpzZWNyZXRv"}, {"X-HTTP-Method-Override", "POST"}, {"Remote-User", juan},
			} {
				sent := body
				if method == "GET" || method == "HEAD" {
					sent = ""
				}
				r := s.do(t, method, path+query, sent, append([]string{"Content-Type", "application/json"}, fields...)...)
				if r.cookies["sessionid"] != nil || strings.Contains(r.body, "Juan") {
					t.Errorf("%s %s with %q: %d %v", method, path, fields, r.status, r.header["Set-Cookie"])
				}
			}
		}
	}
	wantCode(t, s.do(t, "GET", "/api/login-ldap/"+query, ""), http.StatusMethodNotAllowed, "method_not_allowed")
	if n := s.directory.Binds() - binds; n != 0 {
		t.Errorf("%d passwords were tried at the directory", n)
	}
	if counts := s.sessionCounts(t); counts.Sessions != 0 || counts.Users != 0 {
		t.Errorf("the store has %v", counts)
	}
	s.wantNothingUpstream(t)
	for _, line := range s.audit(t) {
		if line.Event == "sign_in" || strings.Contains(line.Path+line.User, ldaptest.DemoPassword) {
			t.Errorf("the audit log has %+v", line)
		}
	}
}
