package attack

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// attackersSession is a session that somebody else has signed in to.
func (s *browserSite) attackersSession(t *testing.T, cookie string) string {
	t.Helper()
	token := s.trySignIn(t, maria, ldaptest.DemoPassword, "Host", s.host).cookies[cookie]
	if token == nil {
		t.Fatal("the attacker has no session")
	}
	return token.Value
}

// plantInBrowser lets a page set cookies, and remove them.
func plantInBrowser(page *browser.Tab, cookies []string, remove bool) {
	script := ""
	for _, cookie := range cookies {
		if remove {
			cookie += "; max-age=0"
		}
		script += fmt.Sprintf("document.cookie = %q;", cookie)
	}
	browser.Eval[string](page, script+`""`)
}

// wantNobodyElse fails if anything reached the upstream in another name.
func (s *browserSite) wantNobodyElse(t *testing.T, username string) {
	t.Helper()
	for _, r := range s.echo.Requests() {
		for _, name := range r.Values("Remote-User") {
			if name != username {
				t.Errorf("this reached the upstream as %s: %s", name, r.Line)
			}
		}
	}
}

// neighbours are the pages that can set cookies which the browser sends to the
// site: those of the parent domain, and whoever speaks plain HTTP in its name.
func (s *browserSite) neighbours(t *testing.T) []string {
	t.Helper()
	plain := startBrowserPages(t, false)
	return []string{s.page("sibling.corp.test"), strings.Replace(plain, "HOST", "sibling.corp.test", 1), strings.Replace(plain, "HOST", "app.corp.test", 1)}
}

// A neighbour can give the browser a token, but none that is the session's; and
// what it gives takes nothing away from the session's own.
func TestBrowserNeighboursTokenIsWorthNothing(t *testing.T) {
	s := startBrowserTest(t, browserSetup{tls: true})
	own := s.openTab(t, juan)
	token := browser.Eval[string](own, `document.cookie.match(/csrftoken=(\w+)/)[1]`)
	write := func(token string) int {
		return browser.Eval[int](own, fmt.Sprintf(`fetch("/inside", {method: "POST", headers: {"X-CSRFToken": %q}, body: "a"}).then(r => r.status)`, token))
	}
	other := own.Another()
	for _, page := range s.neighbours(t) {
		other.Visit(page)
		forged := strings.Repeat("a", 32)
		plantInBrowser(other, []string{"csrftoken=" + forged + "; domain=corp.test; path=/", "csrftoken=" + forged + "; domain=corp.test; path=/inside"}, false)
		if got := write(forged); got != 403 {
			t.Errorf("%s: a POST with the planted token: %d, want 403", page, got)
		}
		if got := write(token); got != 200 {
			t.Errorf("%s: a POST with the own token: %d, want 200", page, got)
		}
	}
}

// With cookie_prefix __Host- the browser itself keeps neighbours out: nothing
// that they plant is a session, nor takes one away.
func TestBrowserNeighboursCannotPlantAPrefixedSession(t *testing.T) {
	s := startBrowserTest(t, browserSetup{tls: true, sessions: "cookie_prefix __Host-"})
	attackers := s.attackersSession(t, "__Host-sessionid")
	neighbours := s.neighbours(t)
	for _, user := range []string{juan, ""} {
		own := s.openTab(t, user)
		other := own.Another()
		for _, page := range neighbours {
			other.Visit(page)
			for _, name := range []string{"sessionid", "__Host-sessionid", "__host-sessionid", "__HOST-SESSIONID", "__Secure-sessionid", "=__Host-sessionid", " __Host-sessionid", "\t__Host-sessionid", `"__Host-sessionid"`} {
				for _, attributes := range []string{"; domain=corp.test; path=/", "; domain=corp.test; path=/; secure", "; domain=corp.test; path=/inside; secure", "; path=/inside", "; path=/", "; path=/; secure"} {
					if strings.Contains(page, "app.corp.test") && strings.Contains(attributes, "secure") && !strings.Contains(attributes, "domain") {
						continue
					}
					plantInBrowser(other, []string{name + "=" + attackers + attributes}, false)
				}
			}
			if got := browserUser(own); got != user {
				t.Errorf("from %s: the user is %q, want %q", page, got, user)
			}
			want := 401
			if user != "" {
				want = 200
			}
			if got := browser.Eval[int](own, `fetch("/inside").then(r => r.status)`); got != want {
				t.Errorf("from %s: %d, want %d", page, got, want)
			}
		}
	}
	s.wantNobodyElse(t, juan)
}

// Too many cookies make the browser throw away the oldest: that ends no session
// but in that browser, and makes room for none of somebody else's.
func TestBrowserNeighboursCannotReplaceAPrefixedSession(t *testing.T) {
	s := startBrowserTest(t, browserSetup{tls: true, sessions: "cookie_prefix __Host-"})
	attackers := s.attackersSession(t, "__Host-sessionid")
	own := s.openTab(t, juan)
	other := own.Another()
	other.Visit(s.page("sibling.corp.test"))
	var cookies []string
	for i := range 200 {
		cookies = append(cookies, fmt.Sprintf("c%d=a; domain=corp.test; path=/none", i))
	}
	plantInBrowser(other, append(cookies, "sessionid="+attackers+"; domain=corp.test; path=/", "__Host-sessionid="+attackers+"; domain=corp.test; path=/; secure"), false)
	if got := browserUser(own); got != juan && got != "" {
		t.Errorf("the user is %q now", got)
	}
}
