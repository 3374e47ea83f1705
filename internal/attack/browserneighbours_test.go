package attack

import (
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
)

// Without a prefix neighbours can plant a session cookie beside the site's own.
// That costs the user the use of the session while it is there, and no more: the
// site takes neither of two, and takes neither away, because the browser would
// be left with the planted one and its user with somebody else's session.
func TestBrowserNeighboursSessionIsNotTakenForTheUsers(t *testing.T) {
	s := startBrowserTest(t, browserSetup{tls: true})
	own := s.openTab(t, juan)
	attackers := s.attackersSession(t, "sessionid")
	other := own.Another()
	for _, page := range s.neighbours(t) {
		other.Visit(page)
		for _, cookie := range []string{
			"sessionid=" + attackers + "; domain=corp.test; path=/",
			"sessionid=" + attackers + "; domain=corp.test; path=/inside",
			"sessionid=" + attackers + "; path=/inside",
			"sessionid=" + attackers + "; path=/api/session",
			"=sessionid=" + attackers + "; domain=corp.test; path=/",
			"sessionid; domain=corp.test; path=/inside",
			"sessionid=a; domain=corp.test; path=/",
			"SESSIONID=" + attackers + "; domain=corp.test; path=/",
		} {
			plantInBrowser(other, []string{cookie}, false)
			for range 2 {
				if got := browserUser(own); got != juan && got != "" {
					t.Errorf("%s: with %q the user is %q", page, strings.ReplaceAll(cookie, attackers, "…"), got)
				}
				browser.Eval[int](own, `fetch("/inside").then(r => r.status)`)
			}
			plantInBrowser(other, []string{cookie}, true)
			if got := browserUser(own); got != juan {
				t.Errorf("%s: after %q the user is %q", page, strings.ReplaceAll(cookie, attackers, "…"), got)
			}
		}
	}
	s.wantNobodyElse(t, juan)
}
