package caddyauth

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	whatwg "github.com/nlnwa/whatwg-url/url"

	"github.com/caddyauth/caddy-ldap/internal/browser"
	"github.com/caddyauth/caddy-ldap/internal/hostileurl"
)

// chromium is the browser of this package's tests.
var chromium browser.Shared

// destination is where a target leads a browser.
type destination struct {
	Origin string // "" for none of the web's, and for what is no address
	Path   string // percent-encoded
}

// modelLeadsTo is where a target on a page leads by the WHATWG URL standard.
func modelLeadsTo(page, target string) destination {
	u, err := whatwg.ParseRef(page, target)
	if err != nil || u.Protocol() != "http:" && u.Protocol() != "https:" {
		return destination{}
	}
	return destination{u.Protocol() + "//" + u.Host(), u.Pathname()}
}

// leadsBrowserTo is where the browser says that the targets lead.
func leadsBrowserTo(t *testing.T, tab *browser.Tab, page string, targets []string) []destination {
	t.Helper()
	list, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	return browser.Eval[[]destination](tab, fmt.Sprintf(`%s.map(target => {
		try {
			const url = new URL(target, %q);
			if (url.protocol === "http:" || url.protocol === "https:") return {origin: url.origin, path: url.pathname};
		} catch {}
		return {origin: "", path: ""};
	})`, list, page))
}

// Whatever the rule lets pass, the browser itself finds on the site or on an
// exactly listed origin, and on no sign-in route. The model that the fuzzers use
// in the browser's place agrees with it about every target.
func TestBrowserFollowsNoTargetElsewhere(t *testing.T) {
	chromium.Join(t)
	tab := chromium.Tab(t)
	const listed = "https://app.trusted.test"
	s := &site{policy: *policyTrusting(t, listed, "http://localhost:3000", "https://*.wild.test"), paths: defaultSignInPaths()}
	random := rand.New(rand.NewPCG(15, 5))
	for _, own := range []string{"https://site.test", "http://site.test:8080"} {
		page := own + "/accounts/login/"
		stays := map[string]bool{own: true, listed: true, "http://localhost:3000": true}
		var targets []string
		add := func(target string) {
			// As in the page's link, and as in the Location header.
			target = strings.ToValidUTF8(target, "\ufffd")
			targets = append(targets, target)
			if escaped := escapeNonASCII(target); escaped != target {
				targets = append(targets, escaped)
			}
		}
		for _, trusted := range []string{listed, "http://localhost:3000", "https://a.wild.test"} {
			for _, target := range hostileurl.Known(own, trusted) {
				add(target)
			}
			for range 5000 {
				add(hostileurl.Random(random, own, trusted))
			}
		}
		passed := 0
		for i, got := range leadsBrowserTo(t, tab, page, targets) {
			target := targets[i]
			if !stays[got.Origin] {
				got = destination{}
			}
			model := modelLeadsTo(page, target)
			if !stays[model.Origin] {
				model = destination{}
			}
			// Newer browsers encode two more characters of a path.
			if plain := strings.NewReplacer("%7C", "|", "%5E", "^"); got.Origin != model.Origin || plain.Replace(got.Path) != plain.Replace(model.Path) {
				t.Errorf("on %s %q leads the browser to %q, the model to %q", page, target, got, model)
			}
			if s.nextOf(target) == "" {
				continue
			}
			passed++
			if got.Origin == "" {
				t.Errorf("on %s %q leads elsewhere", page, target)
				continue
			}
			path, err := url.PathUnescape(got.Path)
			if err != nil || got.Origin == own && strings.HasPrefix(got.Path, "//") || !s.paths.leadsOn(&url.URL{Path: path}) {
				t.Errorf("on %s %q leads to the path %q", page, target, got.Path)
			}
		}
		if passed < 100 || passed == len(targets) {
			t.Errorf("of %d targets %d pass: they show nothing", len(targets), passed)
		}
	}
}
