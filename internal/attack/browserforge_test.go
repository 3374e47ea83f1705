package attack

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// browserAttack is what a page of somebody else does.
type browserAttack struct {
	name   string
	script string // SITE is the site's origin; what it comes to is what it got to read
	sent   string // the request that the site gets of it
	leaves bool   // the script makes the page go elsewhere
	common bool   // tried in every world, not only where cookies go everywhere
}

const (
	browserForm   = `"application/x-www-form-urlencoded"`
	browserUpload = `"multipart/form-data"`
	browserText   = `"text/plain"`
)

// browserPosts try to change something behind the gate.
var browserPosts = []browserAttack{
	{name: "a form", script: `post("SITE/inside", ` + browserForm + `, {a: "b"})`, sent: "POST /inside", common: true},
	{name: "a form in the whole window", script: `form("POST", "SITE/inside", ` + browserForm + `, {a: "b"}).submit()`, sent: "POST /inside", leaves: true},
	{name: "a form with a token", script: `post("SITE/inside", ` + browserForm + `, {csrfmiddlewaretoken: "a".repeat(32)})`, sent: "POST /inside"},
	{name: "a form of plain text that reads like JSON", script: `post("SITE/inside", ` + browserText + `, {'{"a":"': '"}'})`, sent: "POST /inside"},
	{name: "an upload", script: `post("SITE/inside", ` + browserUpload + `, {a: "b"})`, sent: "POST /inside"},
	{name: "an upload in the whole window", script: `form("POST", "SITE/inside", ` + browserUpload + `, {a: "b"}).submit()`, sent: "POST /inside", leaves: true},
	{name: "a form in a sandbox", script: `add("iframe", {sandbox: "allow-forms allow-scripts", srcdoc: '<form method=post action="SITE/inside"></form><script>document.forms[0].submit()</script>'})`, sent: "POST /inside", common: true},
	{name: "a form that is sent on", script: `post("/307?to=" + encodeURIComponent("SITE/inside"), ` + browserForm + `, {a: "b"})`, sent: "POST /inside"},
	{name: "fetch without CORS", script: `ask("SITE/inside", {method: "POST", mode: "no-cors", body: "a=b"})`, sent: "POST /inside", common: true},
	{name: "fetch without a referrer", script: `ask("SITE/inside", {method: "POST", mode: "no-cors", body: "a=b", referrerPolicy: "no-referrer"})`, sent: "POST /inside", common: true},
	{name: "fetch that is sent on", script: `ask("/307?to=" + encodeURIComponent("SITE/inside"), {method: "POST", mode: "no-cors", body: "a=b"})`, sent: "POST /inside"},
	{name: "fetch with CORS", script: `ask("SITE/inside", {method: "POST", body: new URLSearchParams({a: "b"})})`, sent: "POST /inside", common: true},
	{name: "fetch that outlives the page", script: `ask("SITE/inside", {method: "POST", mode: "no-cors", keepalive: true, body: "a=b"})`, sent: "POST /inside"},
	{name: "XMLHttpRequest", script: `xhr("POST", "SITE/inside", "a=b")`, sent: "POST /inside"},
	{name: "a beacon", script: `navigator.sendBeacon("SITE/inside", "a=b"), ""`, sent: "POST /inside"},
	{name: "JSON", script: `ask("SITE/inside", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"})`, sent: "OPTIONS /inside", common: true},
	{name: "a token in the header", script: `ask("SITE/inside", {method: "POST", headers: {"X-CSRFToken": "a".repeat(32)}})`, sent: "OPTIONS /inside"},
	{name: "an overridden method", script: `ask("SITE/inside", {headers: {"X-HTTP-Method-Override": "DELETE"}})`, sent: "OPTIONS /inside"},
	{name: "PUT", script: `ask("SITE/inside", {method: "PUT", body: "a"})`, sent: "OPTIONS /inside"},
	{name: "DELETE", script: `ask("SITE/inside", {method: "DELETE"})`, sent: "OPTIONS /inside"},
}

// browserSignIns try to make the browser work as somebody else.
var browserSignIns = []browserAttack{
	{name: "a form", script: `post("SITE/accounts/login/", ` + browserForm + `, {username: "MARIA", password: "PASSWORD"})`, sent: "POST /accounts/login/", common: true},
	{name: "a form in the whole window", script: `form("POST", "SITE/accounts/login/", ` + browserForm + `, {username: "MARIA", password: "PASSWORD"}).submit()`, sent: "POST /accounts/login/", leaves: true},
	{name: "a form in a sandbox", script: `add("iframe", {sandbox: "allow-forms allow-scripts", srcdoc: '<form method=post action="SITE/accounts/login/"><input name=username value="MARIA"><input name=password value="PASSWORD"></form><script>document.forms[0].submit()</script>'})`, sent: "POST /accounts/login/", common: true},
	{name: "JSON as plain text to the page", script: `form("POST", "SITE/accounts/login/", ` + browserText + `, {'{"username":"MARIA","password":"PASSWORD","a":"': '"}'}).submit()`, sent: "POST /accounts/login/", leaves: true},
	{name: "JSON as plain text to the API", script: `form("POST", "SITE/api/login-ldap/", ` + browserText + `, {'{"username":"MARIA","password":"PASSWORD","a":"': '"}'}).submit()`, sent: "POST /api/login-ldap/", leaves: true},
	{name: "a form to the API", script: `form("POST", "SITE/api/login-ldap/", ` + browserForm + `, {username: "MARIA", password: "PASSWORD"}).submit()`, sent: "POST /api/login-ldap/", leaves: true},
	{name: "fetch without CORS", script: `ask("SITE/api/login-ldap/", {method: "POST", mode: "no-cors", body: '{"username":"MARIA","password":"PASSWORD"}'})`, sent: "POST /api/login-ldap/", common: true},
	{name: "fetch without CORS to the page", script: `ask("SITE/accounts/login/", {method: "POST", mode: "no-cors", body: new URLSearchParams({username: "MARIA", password: "PASSWORD"})})`, sent: "POST /accounts/login/"},
	{name: "fetch of JSON", script: `ask("SITE/api/login-ldap/", {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"username":"MARIA","password":"PASSWORD"}'})`, sent: "OPTIONS /api/login-ldap/", common: true},
	{name: "a link with the password", script: `location = "SITE/accounts/login/?username=MARIA&password=x"`, sent: "GET /accounts/login/?username=MARIA&password=x", leaves: true},
}

// browserSignOuts try to end the session. A GET is all that some of them need.
var browserSignOuts = []browserAttack{
	{name: "an image", script: `add("img", {src: "SITE/api/logout/"})`, sent: "GET /api/logout/", common: true},
	{name: "an image that is sent on", script: `add("img", {src: "/302?to=" + encodeURIComponent("SITE/api/logout/")})`, sent: "GET /api/logout/", common: true},
	{name: "a frame", script: `add("iframe", {src: "SITE/api/logout/"})`, sent: "GET /api/logout/"},
	{name: "a script", script: `add("script", {src: "SITE/api/logout/"})`, sent: "GET /api/logout/"},
	{name: "a style sheet", script: `add("link", {rel: "stylesheet", href: "SITE/api/logout/"})`, sent: "GET /api/logout/"},
	{name: "a prefetch", script: `add("link", {rel: "prefetch", href: "SITE/api/logout"})`, sent: "GET /api/logout"},
	{name: "an object", script: `add("object", {data: "SITE/api/logout/"})`, sent: "GET /api/logout/"},
	{name: "a film", script: `add("video", {src: "SITE/api/logout/"})`, sent: "GET /api/logout/"},
	{name: "fetch without CORS", script: `ask("SITE/api/logout/", {mode: "no-cors"})`, sent: "GET /api/logout/"},
	{name: "fetch", script: `ask("SITE/api/logout/")`, sent: "GET /api/logout/"},
	{name: "a link", script: `location = "SITE/api/logout/"`, sent: "GET /api/logout/", leaves: true, common: true},
	{name: "a link that is sent on", script: `location = "/302?to=" + encodeURIComponent("SITE/api/logout/")`, sent: "GET /api/logout/", leaves: true},
	{name: "a form that gets", script: `post("SITE/api/logout/", ` + browserForm + `, {}, "GET")`, sent: "GET /api/logout/?"},
	{name: "a form", script: `post("SITE/api/logout/", ` + browserForm + `, {a: "b"})`, sent: "POST /api/logout/", common: true},
	{name: "a form in the whole window", script: `form("POST", "SITE/api/logout/", ` + browserForm + `, {a: "b"}).submit()`, sent: "POST /api/logout/", leaves: true},
	{name: "a beacon", script: `navigator.sendBeacon("SITE/api/logout/"), ""`, sent: "POST /api/logout/"},
	{name: "a socket", script: `socket("SITE/api/logout/")`, sent: "GET /api/logout/", common: true},
}

// browserSecretSignOuts tell nothing of where they come from where the browser
// sends no Sec-Fetch headers, which is over plain HTTP.
var browserSecretSignOuts = []browserAttack{
	{name: "an image without a referrer", script: `add("img", {src: "SITE/api/logout/", referrerpolicy: "no-referrer"})`, sent: "GET /api/logout/"},
	{name: "a link without a referrer", script: `Object.assign(document.createElement("a"), {href: "SITE/api/logout/", referrerPolicy: "no-referrer"}).click()`, sent: "GET /api/logout/", leaves: true},
}

// browserWorld is a site and the hosts of those who attack it.
type browserWorld struct {
	name  string
	setup browserSetup
	hosts map[string]bool // whether the browser sends cookies along to the site with what their pages do
}

// browserWorlds differ in what keeps an attack from succeeding: only over TLS
// and on this machine does the browser say with each request whose page made it,
// and a neighbour's requests have the cookies that other sites' have not.
func browserWorlds() []browserWorld {
	return []browserWorld{
		{"cookies go everywhere", browserSetup{tls: true, sessions: "same_site none"}, map[string]bool{"evil.test": true}},
		{"from plain HTTP", browserSetup{tls: true, plainPages: true, sessions: "same_site none"}, map[string]bool{"app.corp.test": true}},
		{"TLS", browserSetup{tls: true}, map[string]bool{"sibling.corp.test": true}},
		{"plain HTTP", browserSetup{}, map[string]bool{"sibling.corp.test": true}},
		{"one machine", browserSetup{host: "localhost"}, map[string]bool{"127.0.0.1": false, "localhost": true}},
	}
}

// attackFrom lets the page do its worst to a browser in whose tab somebody may
// be signed in. cookies tells whether the browser sends its cookies along.
func (s *browserSite) attackFrom(t *testing.T, own *browser.Tab, page string, cookies bool, attacks []browserAttack) {
	t.Helper()
	user := browserUser(own)
	other := own.Another()
	other.Visit(page)
	fill := strings.NewReplacer("SITE", s.origin, "MARIA", maria, "PASSWORD", ldaptest.DemoPassword)
	for _, attack := range attacks {
		logged := len(s.read("access.json"))
		s.echo.Forget()
		script := fill.Replace(attack.script)
		if attack.leaves {
			other.Leave(script)
			other.Visit(page)
		} else if read := browser.Eval[string](other, script); read != "" {
			t.Errorf("%s: the page read %q", attack.name, read)
		}
		got := s.arrived(t, logged, fill.Replace(attack.sent))
		for _, r := range s.echo.Requests() {
			if r.Target() == "/favicon.ico" {
				continue // of an answer that is a page
			}
			t.Errorf("%s: this reached the upstream: %s %q", attack.name, r.Line, r.Body)
		}
		if now := browserUser(own); now != user {
			t.Errorf("%s: the user is %q now, was %q", attack.name, now, user)
		}
		// An attack that the browser itself has taken the cookies from shows nothing
		// of the gate.
		if _, sent := got.Request.Headers["Cookie"]; cookies && !sent && user != "" && got.Request.Method == "POST" && got.Request.Headers["Origin"][0] != "null" {
			t.Errorf("%s: the browser sent no cookies", attack.name)
		}
	}
}

// attackInBrowser runs attacks in worlds: all where cookies go everywhere,
// which leaves it to the gate alone, elsewhere those of which one of each kind is
// enough.
func attackInBrowser(t *testing.T, worlds []browserWorld, user string, attacks []browserAttack, more func(*testing.T, *browserSite, *browser.Tab, browserWorld)) {
	chromium.Join(t)
	t.Parallel()
	for i, world := range worlds {
		t.Run(world.name, func(t *testing.T) {
			attacks := attacks
			if i > 0 {
				attacks = commonBrowserAttacks(attacks)
			}
			s := startBrowserSite(t, world.setup)
			own := s.openTab(t, user)
			if got := browserUser(own); got != user {
				t.Fatalf("signed in as %q, want %q", got, user)
			}
			for host, cookies := range world.hosts {
				s.attackFrom(t, own, s.page(host), cookies, attacks)
			}
			if more != nil {
				more(t, s, own, world)
			}
		})
	}
}

func commonBrowserAttacks(attacks []browserAttack) (common []browserAttack) {
	for _, attack := range attacks {
		if attack.common {
			common = append(common, attack)
		}
	}
	return common
}

func TestBrowserOtherSitesCannotPost(t *testing.T) {
	attackInBrowser(t, browserWorlds(), juan, browserPosts, nil)
}

func TestBrowserOtherSitesCannotSignIn(t *testing.T) {
	worlds := browserWorlds()
	attackInBrowser(t, append(worlds[:1], worlds[3:]...), "", browserSignIns, nil)
}

func TestBrowserOtherSitesCannotReplaceTheSession(t *testing.T) {
	attackInBrowser(t, browserWorlds()[:1], juan, commonBrowserAttacks(browserSignIns), nil)
}

// Over plain HTTP a request without Origin, Sec-Fetch-Site and Referer looks
// like a program's: there a neighbour's image can sign out, and with SameSite
// below strict everybody's link can.
func TestBrowserOtherSitesCannotSignOut(t *testing.T) {
	attackInBrowser(t, browserWorlds(), juan, browserSignOuts, func(t *testing.T, s *browserSite, own *browser.Tab, world browserWorld) {
		if !world.setup.tls && world.setup.host != "localhost" {
			return
		}
		for host, cookies := range world.hosts {
			s.attackFrom(t, own, s.page(host), cookies, browserSecretSignOuts)
		}
	})
	t.Run("plain HTTP with strict cookies", func(t *testing.T) {
		s := startBrowserSite(t, browserSetup{sessions: "same_site strict"})
		s.attackFrom(t, s.openTab(t, juan), s.page("evil.test"), false, browserSecretSignOuts)
	})
}

// An own page may show what somebody else wrote, an image's address above all:
// the browser tells that the request went through another site.
func TestBrowserImageOnAnOwnPageCannotSignOut(t *testing.T) {
	s := startBrowserTest(t, browserSetup{tls: true})
	own := s.openTab(t, juan)
	for _, host := range []string{"evil.test", "sibling.corp.test"} {
		logged := len(s.read("access.json"))
		browser.Eval[string](own, `new Promise(resolve => {
			const image = document.createElement("img");
			image.onerror = () => resolve("");
			image.src = "`+s.page(host)+`302?to=`+url.QueryEscape(s.origin+"/api/logout/")+`";
		})`)
		if got := s.arrived(t, logged, "GET /api/logout/"); got.Status != http.StatusForbidden {
			t.Errorf("by %s: %d, want 403", host, got.Status)
		}
		if got := browserUser(own); got != juan {
			t.Fatalf("by %s: the user is %q now", host, got)
		}
	}
}
