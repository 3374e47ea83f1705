package attack

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// What all this must not break: a person opens a page, signs in, is there, and
// signs out.
func TestBrowserSignsInAndOut(t *testing.T) {
	chromium.Join(t)
	t.Parallel()
	for _, world := range []struct {
		name  string
		setup browserSetup
	}{
		{"TLS", browserSetup{tls: true, trusted: "https://trusted.test:PAGES"}},
		{"TLS with prefixed strict cookies", browserSetup{tls: true, trusted: "https://trusted.test:PAGES", sessions: "cookie_prefix __Host-\nsame_site strict"}},
		{"plain HTTP", browserSetup{trusted: "http://trusted.test:PAGES"}},
	} {
		t.Run(world.name, func(t *testing.T) {
			s := startBrowserSite(t, world.setup)
			tab := chromium.Tab(t)
			at := func(what, url, text string) {
				t.Helper()
				if got := tab.URL(); got != url {
					t.Errorf("%s: the address is %s, want %s", what, got, url)
				}
				if got := tab.Text(); !strings.Contains(got, text) {
					t.Errorf("%s: the page says %q, want %q", what, got, text)
				}
			}
			tab.Visit(s.origin + "/report?year=2026&part=a%2Fb")
			at("asked to sign in", s.origin+"/accounts/login/?next=%2Freport%3Fyear%3D2026%26part%3Da%252Fb", "Password")
			s.wantNothingUpstream(t)

			tab.Type("#username", juan)
			tab.Type("#password", "wrong")
			if status := tab.Click("form [type=submit]"); status != http.StatusUnauthorized {
				t.Errorf("a wrong password: %d, want 401", status)
			}
			tab.Type("#password", ldaptest.DemoPassword)
			tab.Click("form [type=submit]")
			at("signed in", s.origin+"/report?year=2026&part=a%2Fb", "upstream /report?year=2026&part=a%2Fb")
			if got := browserUser(tab); got != juan {
				t.Errorf("signed in as %q", got)
			}

			// The page's own policy lets the form's answer lead to a listed origin.
			tab.Visit(s.origin + "/accounts/login/?next=" + s.page("trusted.test"))
			tab.Type("#username", maria)
			tab.Type("#password", ldaptest.DemoPassword)
			tab.Click(`form[action="/accounts/login/"] [type=submit]`)
			at("sent to a trusted origin", s.page("trusted.test"), "")

			tab.Visit(s.origin + "/accounts/login/")
			if got := tab.Text(); !strings.Contains(got, maria) {
				t.Errorf("the page says %q, want %s", got, maria)
			}
			if status := tab.Click(`form[action="/api/logout/"] button`); status != http.StatusOK {
				t.Errorf("signing out: %d, want 200", status)
			}
			at("signed out", s.origin+"/api/logout/", "Signed out")
			tab.Visit(s.origin + "/report")
			at("asked to sign in again", s.origin+"/accounts/login/?next=%2Freport", "Password")
		})
	}
}
