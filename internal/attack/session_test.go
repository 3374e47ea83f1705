package attack

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

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

// People see their own sessions and end them, by names that are no tokens, and
// only their own.
func TestS09PeopleSeeAndEndTheirOwnSessions(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	here, there, other := s.signIn(t, juan), s.signIn(t, juan), s.signIn(t, maria)
	r := here.get(t, "/accounts/sessions/")
	var list struct {
		Sessions []struct {
			ID      string
			Current bool
		}
	}
	if err := json.Unmarshal([]byte(r.body), &list); err != nil || len(list.Sessions) != 2 {
		t.Fatalf("the list is %d %s", r.status, r.body)
	}
	var mine, others string
	for _, session := range list.Sessions {
		if session.Current {
			mine = session.ID
		} else {
			others = session.ID
		}
	}
	if mine == "" || others == "" || len(others) == 43 {
		t.Fatalf("the list is %s", r.body)
	}
	for _, secret := range []string{here.token, there.token, other.token, here.csrf, there.csrf} {
		if strings.Contains(r.body, secret) {
			t.Error("the list has a secret")
		}
	}
	end := func(by session, which string) reply {
		t.Helper()
		return by.post(t, "/accounts/sessions/", `{"end":"`+which+`"}`, "Content-Type", "application/json")
	}
	for _, which := range []string{s.sessionIDs(t, maria)[0], other.token, there.token, "*", ""} {
		end(here, which)
	}
	wantServed(t, other.get(t, "/"))
	wantServed(t, there.get(t, "/"))
	wantCode(t, here.do(t, "POST", "/accounts/sessions/", `{"end":"`+others+`"}`, "Content-Type", "application/json", "Cookie", here.cookie()), http.StatusForbidden, "csrf_failed")
	wantServed(t, there.get(t, "/"))
	if r := end(here, others); r.status != http.StatusOK {
		t.Errorf("ending another session: %d %s", r.status, r.body)
	}
	wantRefused(t, there.get(t, "/"))
	wantServed(t, here.get(t, "/"))
	again := s.signIn(t, juan)
	if r := end(again, "others"); r.status != http.StatusOK {
		t.Errorf("ending all others: %d %s", r.status, r.body)
	}
	wantRefused(t, here.get(t, "/"))
	wantServed(t, again.get(t, "/"))
	wantServed(t, other.get(t, "/"))
}

// The newest sessions of a person stay, also where sign-ins race, and the audit
// log says which went.
func TestS11SessionsOfAPersonAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t, setup{sessions: "per_user 3"})
	other := s.signIn(t, maria)
	var sessions []session
	for range 5 {
		sessions = append(sessions, s.signIn(t, juan))
	}
	for i, session := range sessions {
		if r := session.get(t, "/"); i < 2 {
			wantRefused(t, r)
		} else {
			wantServed(t, r)
		}
	}
	wantServed(t, other.get(t, "/"))
	ended := 0
	for _, line := range s.audit(t) {
		if line.Event == "session_end" && line.Reason == "per_user" && line.User == juan {
			ended++
		}
	}
	if ended != 2 {
		t.Errorf("%d ends were audited, want 2", ended)
	}
	errs := make(chan error, 12)
	for range cap(errs) {
		go func() {
			_, err := s.send("POST", "/api/login-ldap/", `{"username":"`+juan+`","password":"`+ldaptest.DemoPassword+`"}`, "Content-Type", "application/json")
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if ids := s.sessionIDs(t, juan); len(ids) > 3 {
		t.Errorf("after sign-ins at once there are %d sessions", len(ids))
	}
}

// sessionStale uses a session until it is not fresh any more.
func sessionStale(t *testing.T, c session) {
	t.Helper()
	sessionEventually(t, "the sign-in is too old", func() bool {
		r := c.get(t, "/x")
		if r.status != http.StatusOK {
			wantCode(t, r, http.StatusForbidden, "reauthentication_required")
			return true
		}
		return false
	})
}

// What needs a recent sign-in asks for a password, and neither does what was
// refused later nor forgets it in between.
func TestS10SensitiveThingsNeedARecentSignIn(t *testing.T) {
	t.Parallel()
	s := start(t, setup{site: "require_session {\n\t\tfresh 2s\n\t}\n\treverse_proxy UPSTREAM"})
	old := s.signIn(t, juan)
	sessionStale(t, old)
	s.echo.Forget()
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for _, r := range []reply{
		old.get(t, "/pay"), old.post(t, "/pay", "amount=7", form...), old.post(t, "/pay", `{}`, "Content-Type", "application/json"),
		old.do(t, "DELETE", "/pay", "", "Cookie", old.cookie(), "X-CSRFToken", old.csrf),
	} {
		wantCode(t, r, http.StatusForbidden, "reauthentication_required")
	}
	page := old.post(t, "/pay", "amount=7&csrfmiddlewaretoken="+old.csrf, append(sessionNavigation(), form...)...)
	if page.status != http.StatusForbidden || !strings.Contains(page.body, `name="password"`) || strings.Contains(page.body, "amount") {
		t.Errorf("a form: %d %s", page.status, page.body)
	}
	wantCode(t, s.trySignIn(t, juan, "falsa", "Cookie", old.cookie()), http.StatusUnauthorized, "invalid_credentials")
	wantCode(t, old.get(t, "/pay"), http.StatusForbidden, "reauthentication_required")
	fresh := s.signIn(t, juan, "Cookie", old.cookie())
	s.wantNothingUpstream(t)
	if r := fresh.post(t, "/pay", "amount=7", form...); r.status == http.StatusOK {
		if got := s.echo.Last(t); got.Method() != "POST" || got.Body != "amount=7" {
			t.Errorf("the upstream got %q %q", got.Line, got.Body)
		}
	} else if r.code() != "reauthentication_required" { // on a machine that took two seconds for it
		t.Errorf("after the sign-in: %d %s", r.status, r.body)
	}
	wantRefused(t, old.get(t, "/pay"))
}

// A recent sign-in is that of the session itself: neither its use, nor another
// session of the same person, nor a reload makes an old one recent, and who
// signs in as another gets another's session.
func TestP56OnlyTheSessionsOwnSignInIsRecent(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{site: "require_session {\n\t\tfresh 2s\n\t}\n\treverse_proxy UPSTREAM"})
	s.run(t, text)
	old := s.signIn(t, juan)
	sessionStale(t, old)
	stale := func(what string) {
		t.Helper()
		if r := old.get(t, "/x"); r.code() != "reauthentication_required" {
			t.Errorf("%s: %d %s", what, r.status, r.body)
		}
	}
	s.signIn(t, juan)
	stale("after the same person's sign-in elsewhere")
	for _, path := range []string{"/api/session/", "/accounts/login/", "/accounts/sessions/"} {
		old.get(t, path)
	}
	stale("after the use of routes that need no recent one")
	if err := s.tell(t, text, "reload"); err != nil {
		t.Fatal(err)
	}
	stale("after a reload")
	if err := s.child.Stop(); err != nil {
		t.Errorf("ending Caddy: %v", err)
	}
	s.restart(t, text)
	stale("after a restart")

	other := s.signIn(t, maria, "Cookie", old.cookie())
	r := other.get(t, "/api/session/")
	if !strings.Contains(r.body, maria) || strings.Contains(r.body, juan) {
		t.Errorf("after somebody else's sign-in: %s", r.body)
	}
	wantRefused(t, old.get(t, "/x"))
	var mine struct {
		Seconds int64 `json:"absolute_seconds_left"`
	}
	if err := json.Unmarshal([]byte(r.body), &mine); err != nil || mine.Seconds < int64((12*time.Hour-time.Minute)/time.Second) {
		t.Errorf("the new session does not begin anew: %s", r.body)
	}
	// Where it leads on to is of this site.
	form := url.Values{"username": {maria}, "password": {ldaptest.DemoPassword}, "next": {"javascript:alert(1)//"}}.Encode()
	r = s.do(t, "POST", "/accounts/login/", form, append(sessionNavigation(), "Content-Type", "application/x-www-form-urlencoded", "Cookie", other.cookie())...)
	if r.status != http.StatusSeeOther || r.header.Get("Location") != "/" {
		t.Errorf("%d to %q", r.status, r.header.Get("Location"))
	}
}
