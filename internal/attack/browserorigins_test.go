package attack

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// browserReads try to see what is behind the gate.
var browserReads = []browserAttack{
	{name: "fetch", script: `ask("SITE/inside")`},
	{name: "fetch of the session", script: `ask("SITE/api/session/")`},
	{name: "fetch of the sign-in page", script: `ask("SITE/accounts/login/")`},
	{name: "fetch of a refusal", script: `ask("SITE/inside", {method: "POST"})`},
	{name: "XMLHttpRequest", script: `xhr("GET", "SITE/inside")`},
	{name: "a frame", script: `add("iframe", {src: "SITE/inside"})`},
	{name: "a socket", script: `socket("SITE/socket")`},
}

// trustedInBrowser are two origins beside which every other is to look alike.
const trustedInBrowser = "https://trusted.test:PAGES https://*.wild.test:PAGES"

// The session goes with every request here: what a page gets to read, and
// whether it gets a socket, is for the answer's headers and the gate to say.
func TestBrowserOnlyTrustedOriginsRead(t *testing.T) {
	s := startBrowserTest(t, browserSetup{tls: true, trusted: trustedInBrowser, sessions: "same_site none"})
	own := s.openTab(t, juan)
	other := own.Another()
	script := func(attack browserAttack) string { return strings.ReplaceAll(attack.script, "SITE", s.origin) }
	for _, host := range []string{"trusted.test", "a.wild.test", "a.b.wild.test"} {
		other.Visit(s.page(host))
		for _, attack := range browserReads {
			read := browser.Eval[string](other, script(attack))
			if (read != "") == (attack.name == "a frame") {
				t.Errorf("%s of %s read %q", attack.name, host, read)
			}
		}
	}
	plain := startBrowserPages(t, false)
	elsewhere := startBrowserPages(t, true)
	for _, page := range []string{
		s.page("evil.test"), s.page("sibling.corp.test"), s.page("eviltrusted.test"), s.page("trusted.test.evil.test"), s.page("evil.trusted.test"),
		s.page("wild.test"), s.page("evilwild.test"), strings.Replace(plain, "HOST", "trusted.test", 1), strings.Replace(elsewhere, "HOST", "trusted.test", 1),
	} {
		other.Visit(page)
		s.echo.Forget()
		for _, attack := range browserReads {
			if read := browser.Eval[string](other, script(attack)); read != "" {
				t.Errorf("%s of %s read %q", attack.name, page, read)
			}
		}
		for _, r := range s.echo.Requests() {
			if r.Method() != "GET" || len(r.Values("Upgrade")) > 0 {
				t.Errorf("from %s this reached the upstream: %s %v", page, r.Line, r.Header)
			}
		}
	}
	if got := browserUser(own); got != juan {
		t.Errorf("the user is %q now", got)
	}
}

// A page of a trusted origin does what the site's own may do: with the token.
func TestBrowserTrustedOriginsWriteWithTheToken(t *testing.T) {
	chromium.Join(t)
	t.Parallel()
	for _, world := range []struct {
		name, host string
		setup      browserSetup
		token      string // how the page comes by the token
	}{
		{"another site", "trusted.test", browserSetup{tls: true, trusted: "https://trusted.test:PAGES", sessions: "same_site none"}, `"TOKEN"`},
		// Cookies know no ports: here the page reads the token itself, as the
		// applications that this is made for do.
		{"another port", "localhost", browserSetup{host: "localhost", trusted: "http://localhost:PAGES"}, `document.cookie.match(/csrftoken=(\w+)/)[1]`},
	} {
		t.Run(world.name, func(t *testing.T) {
			s := startBrowserSite(t, world.setup)
			own := s.openTab(t, juan)
			token := strings.Replace(world.token, "TOKEN", browser.Eval[string](own, `document.cookie.match(/csrftoken=(\w+)/)[1]`), 1)
			other := own.Another()
			other.Visit(s.page(world.host))
			fill := strings.NewReplacer("SITE", s.origin, "TOKEN", token, "USER", maria, "PASSWORD", ldaptest.DemoPassword)
			for _, c := range []struct{ name, script, read, upstream string }{
				{"without the token", `ask("SITE/inside", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"})`, "403 ", ""},
				{"with another token", `ask("SITE/inside", {method: "POST", headers: {"X-CSRFToken": "a".repeat(32)}, body: "{}"})`, "403 ", ""},
				{"JSON", `ask("SITE/inside", {method: "POST", headers: {"Content-Type": "application/json", "X-CSRFToken": TOKEN}, body: "{}"})`, "200 upstream", "POST /inside HTTP/1.1 {}"},
				{"PUT", `ask("SITE/inside", {method: "PUT", headers: {"X-CSRFToken": TOKEN}, body: "a"})`, "200 upstream", "PUT /inside HTTP/1.1 a"},
				{"DELETE", `ask("SITE/inside", {method: "DELETE", headers: {"X-CSRFToken": TOKEN}})`, "200 upstream", "DELETE /inside HTTP/1.1 "},
				{"a form", `ask("SITE/inside", {method: "POST", body: new URLSearchParams({a: "b", csrfmiddlewaretoken: TOKEN})})`, "200 upstream", "POST /inside HTTP/1.1 a=b&csrfmiddlewaretoken="},
				{"a socket", `socket("SITE/socket")`, "open", "GET /socket HTTP/1.1 "},
				{"sign-out without the token", `ask("SITE/api/logout/", {method: "POST"})`, "403 ", ""},
				{"sign-out", `ask("SITE/api/logout/", {method: "POST", headers: {"X-CSRFToken": TOKEN}})`, "200 " + signedOut, ""},
				{"nothing after it", `ask("SITE/inside")`, "401 ", ""},
				{"sign-in", `ask("SITE/api/login-ldap/", {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"username":"USER","password":"PASSWORD"}'})`, "200 ", ""},
				{"the new session", `ask("SITE/inside")`, "200 upstream", "GET /inside HTTP/1.1 "},
				{"sign-out by GET", `ask("SITE/api/logout/")`, "200 " + signedOut, ""},
			} {
				s.echo.Forget()
				if read := browser.Eval[string](other, fill.Replace(c.script)); !strings.HasPrefix(read, c.read) {
					t.Errorf("%s: the page read %q, want %q", c.name, read, c.read)
				}
				reached := ""
				for _, r := range s.echo.Requests() {
					reached += fmt.Sprintf("%s %s", r.Line, r.Body)
				}
				if (reached == "") != (c.upstream == "") || !strings.HasPrefix(reached, c.upstream) {
					t.Errorf("%s: %q reached the upstream, want %q", c.name, reached, c.upstream)
				}
			}
		})
	}
}

// The site's own pages get their socket.
func TestBrowserOwnPageGetsASocket(t *testing.T) {
	chromium.Join(t)
	t.Parallel()
	for _, setup := range []browserSetup{{tls: true}, {}, {tls: true, sessions: "cookie_prefix __Host-"}} {
		s := startBrowserSite(t, setup)
		own := s.openTab(t, juan)
		if got := browser.Eval[string](own, browserTools+`socket(location.origin + "/socket")`); got != "open" {
			t.Errorf("%+v: the socket is %q", setup, got)
		}
		if got := s.echo.Last(t); got.Target() != "/socket" || len(got.Values("Remote-User")) != 1 {
			t.Errorf("the upstream got %s %v", got.Line, got.Header)
		}
	}
}

// What a page of ours shows can be clicked only where its user sees that it is
// ours.
func TestBrowserNobodyFramesOurPages(t *testing.T) {
	s := startBrowserTest(t, browserSetup{tls: true, trusted: trustedInBrowser, sessions: "same_site none"})
	for _, user := range []string{juan, ""} {
		own := s.openTab(t, user)
		other := own.Another()
		pages := map[string]bool{"/accounts/login/": false, "/accounts/sessions/": false, "/open/page": true}
		for _, host := range []string{"evil.test", "trusted.test"} {
			for path, framed := range pages {
				other.Visit(s.page(host))
				browser.Eval[string](other, `add("iframe", {src: "`+s.origin+path+`"})`)
				frames := other.Frames()
				if len(frames) != 1 || strings.HasPrefix(frames[0], s.origin) != framed {
					t.Errorf("a page of %s frames %q of %s, want it to be shown: %v", host, frames, path, framed)
				}
			}
		}
		// Not even the site itself does.
		browser.Eval[string](own, browserTools+`add("iframe", {src: "/accounts/login/"})`)
		if frames := own.Frames(); len(frames) != 1 || strings.HasPrefix(frames[0], s.origin) {
			t.Errorf("an own page frames %q", frames)
		}
	}
}
