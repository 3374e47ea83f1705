package caddyauth

import (
	"fmt"
	"html"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

const (
	signInButton  = `form[action="/accounts/login/"] [type=submit]`
	signOutButton = `form[action="/api/logout/"] button`
)

// visitor is a person at a browser, in a profile of their own.
type visitor struct {
	*browser.Tab
	t *testing.T
	s *server
}

// visitor opens a browser for one more person.
func (s *server) visitor(t *testing.T) *visitor {
	t.Helper()
	return &visitor{chromium.Tab(t), t, s}
}

// signIn fills in the form that the tab shows, and returns what it ends at.
func (v *visitor) signIn(user, password string) int64 {
	v.t.Helper()
	v.Type("#username", user)
	v.Type("#password", password)
	return v.Click(signInButton)
}

// at checks where the tab is and what it says.
func (v *visitor) at(what, url string, texts ...string) {
	v.t.Helper()
	if got := v.URL(); got != v.s.base+url {
		v.t.Errorf("%s: the address is %s, want %s", what, got, v.s.base+url)
	}
	said := v.Text()
	for _, text := range texts {
		if !strings.Contains(said, text) {
			v.t.Errorf("%s: the page says %q, want %q", what, said, text)
		}
	}
}

// application is what stands behind the gate: a page with a link, the user's
// name, and a form to sign out of the application's own.
func application(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	token := ""
	if cookie, err := r.Cookie("csrftoken"); err == nil {
		token = cookie.Value
	}
	fmt.Fprintf(w, `<!doctype html><title>Application</title><link rel="icon" href="data:,">
		<p>Confidential, for %s: %s <a id="on" href="/on">On</a>
		<form method="post" action="/api/logout/"><input type="hidden" name="csrfmiddlewaretoken" value="%s"><button>Leave</button></form>
		<form method="post" action="/save"><input type="hidden" name="csrfmiddlewaretoken" value="%[3]s"><textarea name="text"></textarea><button id="save">Save</button></form>`,
		html.EscapeString(r.Header.Get("Remote-User")), html.EscapeString(r.Method), token)
}

// startForBrowsers starts a server with the application behind it, in English
// for whoever says nothing else.
func startForBrowsers(t *testing.T, setup setup) *server {
	t.Helper()
	chromium.Join(t)
	setup.auth += "\ndefault_language en"
	s := start(t, setup)
	s.upstream.answers(application)
	return s
}

func scripts(on bool) string {
	if on {
		return "with scripts"
	}
	return "without scripts"
}

// What stands after # is in no request: the page's script carries it, and it is
// all that is lost without.
func TestBrowserSignsInWhereItWanted(t *testing.T) {
	s := startForBrowsers(t, setup{})
	const deep = "/deep/page?x=1&y=ñ"
	const asSent = "/deep/page?x=1&y=%C3%B1"
	for _, on := range []bool{true, false} {
		t.Run(scripts(on), func(t *testing.T) {
			v := s.visitor(t)
			v.Scripts(on)
			record := v.Record()
			lands := asSent
			if on {
				lands += "#frag-2"
			}
			before := s.upstream.count()
			if status := v.Visit(s.base + deep + "#frag-2"); status != http.StatusOK {
				t.Errorf("the sign-in page's status is %d", status)
			}
			requests := record.Requests()
			if len(requests) != 2 || requests[0].Status != http.StatusSeeOther {
				t.Errorf("the first visit made the requests %+v", requests)
			}
			v.at("asked to sign in", "/accounts/login/?next=%2Fdeep%2Fpage%3Fx%3D1%26y%3D%25C3%25B1#frag-2", "Sign in")
			if status := v.signIn("ac12345", "not the password"); status != http.StatusUnauthorized {
				t.Errorf("a wrong password: %d", status)
			}
			v.at("refused", "/accounts/login/", "Error:")
			if n := s.upstream.count(); n != before {
				t.Errorf("%d requests came through without a session", n-before)
			}
			v.Type("#password", ldaptest.DemoPassword)
			if status := v.Click(signInButton); status != http.StatusOK {
				t.Errorf("after the sign-in: %d", status)
			}
			v.at("signed in", lands, "Confidential, for ac12345")
			if got := s.upstream.last(t).uri; got != asSent {
				t.Errorf("the application was asked for %s", got)
			}
			if problems := record.Problems(); len(problems) > 0 {
				t.Errorf("the browser complains: %q", problems)
			}
		})
	}
	t.Run("at the first try", func(t *testing.T) {
		v := s.visitor(t)
		v.Visit(s.base + deep + "#frag-2")
		v.signIn("ac12345", ldaptest.DemoPassword)
		v.at("signed in", asSent+"#frag-2", "Confidential, for ac12345")
	})
}

// The sign-in page never redirects whoever is signed in: it says so.
func TestBrowserComesToTheSignInPageSignedIn(t *testing.T) {
	s := startForBrowsers(t, setup{})
	v := s.visitor(t)
	v.Visit(s.base + "/accounts/login/?next=%2Fone")
	v.signIn("ac12345", ldaptest.DemoPassword)
	v.at("signed in", "/one", "for ac12345")

	v.Visit(s.base + "/accounts/login/?next=%2Ftwo%3Fa%3Db#part")
	v.at("already signed in", "/accounts/login/?next=%2Ftwo%3Fa%3Db#part", "You are already signed in", "Juan Pérez (ac12345)")
	if focus := browser.Eval[string](v.Tab, "document.activeElement.tagName"); focus != "BODY" {
		t.Errorf("the focus is on %s, before the way on", focus)
	}
	v.Click("#continue")
	v.at("going on", "/two?a=b#part", "for ac12345")

	v.Visit(s.base + "/accounts/login/?next=%2Fthree")
	v.signIn("mgarcia", ldaptest.DemoPassword)
	v.at("another user", "/three", "for mgarcia")
}

func TestBrowserIsToldWhichGroupIsNeeded(t *testing.T) {
	s := startForBrowsers(t, setup{site: "require_session {\nrequire /admin/* \"IT Admins\"\n}\nreverse_proxy UPSTREAM"})
	for _, on := range []bool{true, false} {
		t.Run(scripts(on), func(t *testing.T) {
			v := s.visitor(t)
			v.Scripts(on)
			v.Visit(s.base + "/admin/page?x=1")
			before := s.upstream.count()
			if status := v.signIn("ac12345", ldaptest.DemoPassword); status != http.StatusForbidden {
				t.Errorf("without the group: %d", status)
			}
			v.at("without the group", "/admin/page?x=1", "Access denied", "signed in as Juan Pérez (ac12345)", "You need to be in the group IT Admins.")
			if n := s.upstream.count(); n != before {
				t.Error("the request reached the application")
			}
			v.Click(`a[href^="/accounts/login/"]`)
			v.at("switching the user", "/accounts/login/?next=%2Fadmin%2Fpage%3Fx%3D1", "You are already signed in", "Switch user")
			v.signIn("mgarcia", ldaptest.DemoPassword)
			v.at("with the group", "/admin/page?x=1", "for mgarcia")
		})
	}
}

func TestBrowserEndsOtherSessions(t *testing.T) {
	s := startForBrowsers(t, setup{})
	for _, on := range []bool{true, false} {
		t.Run(scripts(on), func(t *testing.T) {
			open := func() *visitor {
				v := s.visitor(t)
				v.Scripts(on)
				v.Visit(s.base + "/")
				v.signIn("mgarcia", ldaptest.DemoPassword)
				v.at("signed in", "/", "for mgarcia")
				return v
			}
			listed := func(v *visitor, want int) {
				t.Helper()
				v.at("the list", "/accounts/sessions/", "Your sessions", "María García (mgarcia)", "This session")
				if n := browser.Eval[int](v.Tab, `document.querySelectorAll("li").length`); n != want {
					t.Errorf("%d sessions are listed, want %d: %s", n, want, v.Text())
				}
				if n := browser.Eval[int](v.Tab, `document.querySelectorAll("li button[name=end]").length`); n != want-1 {
					t.Errorf("%d sessions have a button, want %d", n, want-1)
				}
			}
			first, second := open(), open()
			first.Visit(s.base + listPath)
			listed(first, 2)
			if status := first.Click("li button[name=end]"); status != http.StatusOK {
				t.Errorf("ending the other session: %d", status)
			}
			listed(first, 1)
			second.Click("#on")
			second.at("the other's next click", "/accounts/login/?next=%2Fon", "Sign in")

			second.signIn("mgarcia", ldaptest.DemoPassword)
			second.at("signed in again", "/on", "for mgarcia")
			third := open()
			first.Visit(s.base + listPath)
			listed(first, 3)
			if status := first.Click("button[value=others]"); status != http.StatusOK {
				t.Errorf("ending the others: %d", status)
			}
			listed(first, 1)
			for _, v := range []*visitor{second, third} {
				v.Click("#on")
				v.at("another's next click", "/accounts/login/?next=%2Fon", "Sign in")
			}
			if status := first.Click(signOutButton); status != http.StatusOK {
				t.Errorf("signing out: %d", status)
			}
			first.at("signed out", "/api/logout/", "Signed out")
			first.Visit(s.base + "/on")
			first.at("after the sign-out", "/accounts/login/?next=%2Fon", "Sign in")
		})
	}
}
