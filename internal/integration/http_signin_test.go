package integration

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
)

// Row 2: the form leads on within the site, and nowhere else.
func TestHTTPFormSignInOnAD(t *testing.T) {
	dc := servers.Samba(t)
	site := startAD(t, "require_session staff")
	browser := []string{"Content-Type", formType, "Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin"}
	tests := []struct{ what, next, location string }{
		{"local path", "/informes/2024?mes=5", "/informes/2024?mes=5"},
		{"nothing", "", "/"},
		{"another site", "https://evil.example/", "/"},
		{"another site without a scheme", "//evil.example/", "/"},
		{"another site with a backslash", `/\evil.example/`, "/"},
		{"script", "javascript:alert(1)", "/"},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			form := url.Values{"username": {"juan"}, "password": {dc.Juan.Password}, "next": {test.next}}.Encode()
			r := site.do(t, "POST", "/accounts/login/", form, browser...)
			if r.status != http.StatusSeeOther || r.header.Get("Location") != test.location {
				t.Fatalf("got %d to %q, want 303 to %q", r.status, r.header.Get("Location"), test.location)
			}
			token := r.cookies["sessionid"]
			if token == nil {
				t.Fatalf("no session: %v", r.header["Set-Cookie"])
			}
			got := decodeEcho(t, site.do(t, "GET", test.location, "", "Cookie", "sessionid="+token.Value))
			if user := got.Header.Get("Remote-User"); user != "juan" {
				t.Errorf("the application got the user %q", user)
			}
		})
	}
	form := url.Values{"username": {"juan"}, "password": {"una-clave-que-no-es"}, "next": {"/informes/"}}.Encode()
	if r := site.do(t, "POST", "/accounts/login/", form, browser...); r.status != http.StatusUnauthorized || !strings.Contains(r.body, `value="/informes/"`) {
		t.Errorf("a wrong password: %d %s", r.status, r.body)
	}
}

// Row 5: bytes, headers and time tell nobody which names exist.
func TestHTTPUnknownNameLooksLikeAWrongPassword(t *testing.T) {
	dc, slapd := servers.Samba(t), servers.Slapd(t)
	for _, test := range []struct {
		what, directory, known string
	}{
		{"AD", adDirectory(dc), "maria"},
		{"AD with a service account", adServiceDirectory(dc, dc.URL), "maria"},
		{"OpenLDAP", openldapDirectory(slapd), "pedro"},
	} {
		t.Run(test.what, func(t *testing.T) {
			site := startSite(t, test.directory, "require_session", noThrottle)
			const password = "una-clave-que-no-es"
			site.caddy.keepSecret(password, true)
			ask := func(name string) reply {
				body := fmt.Sprintf(`{"username":%q,"password":%q}`, name, password)
				r, err := site.send("POST", "/api/login-ldap/", body, "Content-Type", jsonType)
				if err != nil {
					t.Errorf("%q: %v", name, err)
				}
				r.header.Del("Date")
				return r
			}
			known, unknown := ask(test.known), ask("nadie")
			expect(t, known, http.StatusUnauthorized, bodyRefused)
			expect(t, unknown, http.StatusUnauthorized, bodyRefused)
			if a, b := fmt.Sprint(known.header), fmt.Sprint(unknown.header); a != b {
				t.Errorf("the headers are\n%s\nand\n%s", a, b)
			}
			// A busy machine may blur one measurement, not three.
			const near = 10 * time.Millisecond
			var difference time.Duration
			for range 3 {
				var times [2][]time.Duration
				var mu sync.Mutex
				var all sync.WaitGroup
				for worker := range 10 {
					all.Go(func() {
						for i := range 20 {
							which := (worker + i) % 2
							took := ask([]string{test.known, "nadie"}[which]).took
							mu.Lock()
							times[which] = append(times[which], took)
							mu.Unlock()
						}
					})
				}
				all.Wait()
				slices.Sort(times[0])
				slices.Sort(times[1])
				difference = (times[0][50] - times[1][50]).Abs()
				t.Logf("median %v for a name that exists, %v for one that does not", times[0][50], times[1][50])
				if difference < near {
					return
				}
			}
			t.Errorf("the medians differ by %v", difference)
		})
	}
}

// Row 6: names and passwords that no directory should see are not shown to it.
func TestHTTPHostileCredentialsNeverReachAD(t *testing.T) {
	dc := servers.Samba(t)
	proxy := netfault.NewProxy(t, hostOf(dc.URL))
	site := startSite(t, directoryBlock(dc.Domain, "ldaps://"+proxy.Addr(), dc.CA.File), "require_session", noThrottle)
	var answers []func() reply
	for _, test := range hostileCredentials("juan", dc.Juan.Password) {
		body := `{"username":"` + jsonEscape(test.username) + `","password":"` + jsonEscape(test.password) + `"}`
		answers = append(answers, sendRaw(t, site.caddy, post("/api/login-ldap/", jsonType, body)))
	}
	for _, answer := range answers {
		expect(t, answer(), http.StatusUnauthorized, bodyRefused)
	}
	for _, body := range []string{`{"username":"juan"}`, `{"password":"x"}`, `{}`} {
		if r := raw(t, site.caddy, post("/api/login-ldap/", jsonType, body)); r.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s, want 400", body, r.status, r.body)
		}
	}
	if n := proxy.Connections(); n != 0 {
		t.Errorf("the directory got %d connections, want none", n)
	}
	site.signInAs(t, dc.Juan)
	if proxy.Connections() == 0 {
		t.Error("nobody was asked: the test proves nothing")
	}
}

// Row 14, and row 15: two people with one mail address are two people.
func TestHTTPPeopleWithoutAndWithTheSameMailOnAD(t *testing.T) {
	dc := servers.Samba(t)
	site := startAD(t, "require_session")
	got := site.signInAs(t, dc.NoUPN).echo(t, "/").Header
	if got.Get("Remote-User") != "sinupn" || got.Get("Remote-Email") != "" || got.Get("Remote-Name") != dc.NoUPN.Name {
		t.Errorf("the application got %v", got)
	}
	a, b := site.signInAs(t, dc.TwinA).echo(t, "/").Header, site.signInAs(t, dc.TwinB).echo(t, "/").Header
	if a.Get("Remote-Email") != b.Get("Remote-Email") || a.Get("X-Test-Uid") == b.Get("X-Test-Uid") ||
		a.Get("Remote-User") != "gemelo1" || b.Get("Remote-User") != "gemelo2" {
		t.Errorf("the twins are %v and %v", a, b)
	}
}

// Rows 18, 20 and 21: a group ten levels up, the primary group, and one with
// special characters, spelled otherwise; then names with every one of them.
func TestHTTPRequiredGroupsOnAD(t *testing.T) {
	dc := servers.Samba(t)
	var special strings.Builder
	for i, dn := range dc.SpecialGroups {
		fmt.Fprintf(&special, "\n\t\trequire /especial/%d/* `%s`", i, dn)
	}
	gate := `require_session "Domain Users" {
		require /nivel/* "` + dc.Levels[9] + `"
		require /compras/* "cn=R&D\2C compras,ou=GRUPOS,dc=Corp,dc=TEST"
		require /dominio/* "domain USERS"` + special.String() + "\n\t}"
	for _, test := range []struct{ what, directory string }{
		{"without a service account", adDirectory(dc)},
		{"with one", adServiceDirectory(dc, dc.URL)},
	} {
		t.Run(test.what, func(t *testing.T) {
			site := startSite(t, test.directory, gate)
			juan, maria := site.signInAs(t, dc.Juan), site.signInAs(t, dc.Maria)
			juan.echo(t, "/dominio/x")
			juan.echo(t, "/nivel/x")
			expect(t, juan.get(t, "/compras/x"), http.StatusForbidden, bodyGroupRequired)
			maria.echo(t, "/compras/x")
			expect(t, maria.get(t, "/nivel/x"), http.StatusForbidden, bodyGroupRequired)
			last := len(dc.SpecialGroups) - 1
			for i, account := range dc.Special {
				s := site.signInAs(t, account)
				s.echo(t, fmt.Sprintf("/especial/%d/x", i))
				s.echo(t, fmt.Sprintf("/especial/%d/x", last))
				if other := (i + 1) % last; other != i {
					expect(t, s.get(t, fmt.Sprintf("/especial/%d/x", other)), http.StatusForbidden, bodyGroupRequired)
				}
			}
		})
	}
}
