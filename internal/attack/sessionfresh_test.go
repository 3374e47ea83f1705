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

// sessionStale uses a session until it is not fresh any more.
func sessionStale(t *testing.T, c session) {
	t.Helper()
	c.eventually(t, "the end of a recent sign-in", func() bool {
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
