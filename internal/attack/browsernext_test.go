package attack

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
	"github.com/caddyauth/caddy-ldap/internal/hostileurl"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// Wherever a sign-in sends people, the browser itself says that it is the site
// or an exactly listed origin, and no sign-in route.
func TestBrowserSignInLeadsNowhereElse(t *testing.T) {
	s := startBrowserTest(t, browserSetup{tls: true, trusted: "https://trusted.test:PAGES https://*.wild.test:PAGES"})
	trusted := strings.TrimSuffix(s.page("trusted.test"), "/")
	targets := hostileurl.Known(s.origin, trusted)
	random := rand.New(rand.NewPCG(4, 5))
	for range 150 {
		targets = append(targets, hostileurl.Random(random, s.origin, trusted))
	}
	locations := s.locationsOf(t, targets)
	list, err := json.Marshal(locations)
	if err != nil {
		t.Fatal(err)
	}
	tab := chromium.Tab(t)
	places := browser.Eval[[]struct{ Protocol, Origin, Path string }](tab, fmt.Sprintf(
		`%s.map(location => {
			try {
				const url = new URL(location, %q);
				return {protocol: url.protocol, origin: url.origin, path: url.pathname};
			} catch { return {protocol: "", origin: "", path: ""} }
		})`,
		list, s.origin+"/accounts/login/"))
	followed, abroad := 0, 0
	for i, place := range places {
		if locations[i] != "/" {
			followed++
		}
		switch {
		case place.Origin == trusted:
			abroad++
		case place.Origin != s.origin:
			t.Errorf("next=%.200q leads to %.200q, which is on %s", targets[i], locations[i], place.Origin)
		}
		path, err := url.PathUnescape(place.Path)
		if place.Protocol != "https:" || err != nil || place.Origin == s.origin && strings.HasPrefix(place.Path, "//") {
			t.Errorf("next=%.200q leads to %.200q: %v", targets[i], locations[i], place)
		}
		switch strings.TrimSuffix(path, "/") {
		case "/accounts/login", "/api/login-ldap", "/api/logout", "/api/session":
			t.Errorf("next=%.200q leads to %.200q, a sign-in route", targets[i], locations[i])
		}
	}
	if followed < 20 || abroad < 3 {
		t.Errorf("of %d targets %d were followed, %d to the trusted origin: that shows nothing", len(targets), followed, abroad)
	}
}

// locationsOf signs in by form with each target, and returns where that leads.
func (s *browserSite) locationsOf(t *testing.T, targets []string) []string {
	t.Helper()
	locations := make([]string, len(targets))
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; i < len(targets); i += 4 {
				form := url.Values{"username": {juan}, "password": {ldaptest.DemoPassword}, "next": {targets[i]}}
				answer, err := s.send("POST", "/accounts/login/", form.Encode(), "Host", s.host, "Origin", s.origin,
					"Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
				if err != nil || answer.status != http.StatusSeeOther || len(answer.header["Location"]) != 1 || answer.cookies["sessionid"] == nil {
					t.Errorf("next=%.200q: %d %v %v", targets[i], answer.status, answer.header, err)
					continue
				}
				locations[i] = answer.header["Location"][0]
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return locations
}
