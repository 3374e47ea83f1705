package attack

import (
	"html"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// nextPolicy lists origins that may be targets, by name and by wildcard; the
// wildcard counts for requests only.
const nextPolicy = "trusted_origins https://app.trusted.test http://localhost:3000 https://*.wild.test"

// nextBrowser are the header fields of a person's browser.
var nextBrowser = []string{"Accept", "text/html,application/xhtml+xml", "Content-Type", csrfForm}

// nextSignIn signs in through the form and returns where the browser goes on.
// The last values are header fields.
func nextSignIn(t *testing.T, s *site, query, field string, fields ...string) string {
	t.Helper()
	form := url.Values{"username": {juan}, "password": {ldaptest.DemoPassword}}.Encode()
	if field != "" {
		form += "&next=" + url.QueryEscape(field)
	}
	path := "/accounts/login/"
	if query != "" {
		path += "?next=" + url.QueryEscape(query)
	}
	r := s.do(t, "POST", path, form, append(slices.Clone(nextBrowser), fields...)...)
	if r.status != 303 || len(r.header["Location"]) != 1 || r.cookies["sessionid"] == nil {
		t.Fatalf("signing in with the query %q and the field %q: %d %v %.200s", query, field, r.status, r.header, r.body)
	}
	return r.header.Get("Location")
}

// nextPage returns the sign-in page for a target, without what is escaped.
func nextPage(t *testing.T, s *site, next string) string {
	t.Helper()
	r := s.do(t, "GET", "/accounts/login/?next="+url.QueryEscape(next), "", nextBrowser[:2]...)
	if r.status != 200 || !strings.Contains(r.body, "<form") {
		t.Fatalf("the page for %q: %d %.200s", next, r.status, r.body)
	}
	return html.UnescapeString(r.body)
}

// nextEvil are targets that some browser, proxy or parser takes elsewhere, or
// that are no targets at all.
func nextEvil() []string {
	return []string{
		"//evil.example", "///evil.example", "////evil.example/", `/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`, `//\evil.example`, `/\\evil.example`,
		"//evil.example/%2f..", "//evil.example%2f@127.0.0.1/", "/%09/evil.example\t", "/\t/evil.example", "\t//evil.example", "/\n/evil.example", "/\r/evil.example", "/\r\n/evil.example",
		" //evil.example", "//evil.example ", "\u00a0//evil.example", "\ufeff//evil.example", "/\u2028/evil.example", "/\x00/evil.example", "\x00//evil.example", "\x01https://evil.example",
		"/x\r\nSet-Cookie: sessionid=evil", "/x\nLocation: https://evil.example", "/x\r\n\r\n<script>alert(1)</script>", "/%0d%0a/../..//evil.example",
		"/.//evil.example", "/..//evil.example", "/x/..//evil.example", "/%2e%2e//evil.example", "/.%2e//evil.example", "/x//evil.example", "/./\\evil.example", `/x\..\..\evil.example`,
		"https://evil.example", "http://evil.example/", "HTTPS://evil.example", "https:evil.example", "https:/evil.example", "https:///evil.example", `https:\\evil.example`, `https:/\evil.example`,
		"https:", "https://", "https:@evil.example", "http:127.0.0.1@evil.example", "//127.0.0.1@evil.example", "//127.0.0.1\\@evil.example", "//evil.example:80#@127.0.0.1/",
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "java\nscript:alert(1)", " javascript:alert(1)", "javascript://app.trusted.test/%0aalert(1)", "javascript:/x", "/javascript:alert(1)\\", "vbscript:x",
		"data:text/html,<script>alert(1)</script>", "blob:https://app.trusted.test/x", "file:///etc/passwd", "view-source:https://evil.example", "about:blank", "mailto:a@evil.example", "ws://app.trusted.test/", "intent://evil.example#Intent;end",
		"evil.example", "evil.example/x", "@evil.example", ":evil.example", "?next=//evil.example", "#//evil.example", ".", "..", "../x", "x", "%2f%2fevil.example", "%5c%5cevil.example",
		"https://badapp.trusted.test/", "https://app.trusted.test.evil.example/", "https://app.trusted.test@evil.example/", "https://evil.example@app.trusted.test/", "https://app.trusted.test:x@evil.example/",
		`https://app.trusted.test\@evil.example/`, `https://app.trusted.test\.evil.example`, "https://app.trusted.test%2eevil.example/", "https://app.trusted.test%00.evil.example/", "https://app.trusted.test\t.evil.example",
		"https://evil.example/https://app.trusted.test/", "https://evil.example?https://app.trusted.test/", "https://evil.example#https://app.trusted.test/", "https://evil.example\\https://app.trusted.test",
		"http://app.trusted.test/", "https://app.trusted.test:8443/", "https://app.trusted.test:443/", "https://app.trusted.test./", "https://APP.trusted.test/", "https://xapp.trusted.test/", "https://x.app.trusted.test/", "https://trusted.test/",
		"https://app.trusted.test：443@evil.example/", "https://app。trusted.test/", "https://app.trusted.test／evil", "https://evil.example／app.trusted.test/", "https://ap\u00adp.trusted.test/",
		"https://a.wild.test/", "https://wild.test/", "http://localhost/", "http://localhost:30000/", "http://localhost:3000@evil.example/", "http://LOCALHOST:3000/", "//localhost:3000/", "//app.trusted.test/",
		"https://app.trusted.test /x", "https://app.trusted.test//../x", "/" + strings.Repeat("a", 5000), "https://app.trusted.test/" + strings.Repeat("a", 5000), "/%zz", "/%", "/\xff\xfe", "/\u0085x",
		"/api/logout/", "/api/logout", "/API/../api/logout/", "/x/../api/logout/", "/%61pi/logout/", "/accounts/login/", "/accounts/login/?next=/x",
	}
}

// nextGood are targets of this site and of listed origins.
func nextGood() []string {
	return []string{
		"/", "/a", "/a/b?c=d&e=f#g", "/a?u=https://evil.example/", "/a?u=//evil.example", "/a#//evil.example", "/@evil.example", "/a:b", "/a;b=c", "/a,b", "/a%20b", "/%2fevil.example", "/caf%C3%A9", "/...", "/a..b",
		"/accounts/sessions/", "/api/other", "https://app.trusted.test", "https://app.trusted.test/", "https://app.trusted.test/a?b#c", "https://app.trusted.test?a", "http://localhost:3000/a",
	}
}

// caddy-security validated the target where it came in, and later not where it
// was read back from a cookie: every place that can carry one has the one rule.
func TestP05TargetsOfForeignSitesAreIgnoredWhereverTheyStand(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: nextPolicy})
	for _, next := range nextEvil() {
		for place, location := range map[string]string{
			"query":               nextSignIn(t, s, next, ""),
			"field":               nextSignIn(t, s, "", next),
			"field under a query": nextSignIn(t, s, "/a", next),
		} {
			if location != "/" {
				t.Errorf("%q in the %s leads to %q", next, place, location)
			}
		}
		if len(next) > 3 && strings.Contains(nextPage(t, s, next), next) && !slices.Contains([]string{"evil.example", "https:", "https://", "/api/logout/", "/api/logout", "/accounts/login/"}, next) {
			t.Errorf("the page has the target %q", next)
		}
	}
	for _, next := range nextGood() {
		if got := nextSignIn(t, s, next, ""); got != next {
			t.Errorf("%q in the query leads to %q", next, got)
		}
		if got := nextSignIn(t, s, "", next); got != next {
			t.Errorf("%q in the field leads to %q", next, got)
		}
		if !strings.Contains(nextPage(t, s, next), `value="`+next+`"`) {
			t.Errorf("the page's form lost the target %q", next)
		}
	}
	// No cookie or header chooses the target.
	const evil = "https://evil.example/"
	for _, fields := range [][]string{
		{"Cookie", "next=" + evil + "; redirect=" + evil + "; AUTHP_REDIRECT_URL=" + evil + "; rd=" + evil},
		{"Referer", s.base() + "/accounts/login/?next=" + evil},
		{"X-Forwarded-Uri", evil}, {"X-Original-Url", evil}, {"X-Rewrite-Url", evil}, {"X-Forwarded-Prefix", evil}, {"X-Auth-Request-Redirect", evil}, {"X-Next", evil}, {"Location", evil},
	} {
		if got := nextSignIn(t, s, "", "", fields...); got != "/" {
			t.Errorf("%q lead to %q", fields, got)
		}
	}
}

// oauth2-proxy took badexample.com for .example.com, and a backslash for a
// letter of a path.
func TestP38TargetsAreComparedByWholeHost(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: nextPolicy})
	for _, next := range []string{
		"https://badapp.trusted.test", "https://bad.app.trusted.test/", "https://app.trusted.testing/", "https://app.trusted.test.evil.example", "https://trusted.test", "https://app.trusted.tes",
		"https://badwild.test/", "https://a.wild.test/", "https://wild.test/", `/\evil.example`, `/\/evil.example`, `https://evil.example\.app.trusted.test`, `https://app.trusted.test\evil`,
		"http://localhost:30001/", "http://localhost:3000.evil.example/", "http://localhost:3000:80/",
	} {
		if got := nextSignIn(t, s, next, ""); got != "/" {
			t.Errorf("%q leads to %q", next, got)
		}
	}
}

// Whatever is made of the pieces that browsers read in their own way: the
// target is home, a path of this site, or a URL of a listed origin.
func TestS18TargetsStayOnThisSiteOrListedOrigins(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: nextPolicy, sessions: "per_user 5"})
	random := rand.New(rand.NewPCG(20, 24))
	pieces := []string{
		"/", "/", "/", `\`, ":", "@", ".", "..", "%2e", "%2f", "%5c", "?", "#", "\t", "\n", "\r", " ", "\x00", "\u00a0", "\ufeff", "／", "。", "https:", "http:", "javascript:", "//",
		"evil.example", "app.trusted.test", "https://app.trusted.test", "http://localhost:3000", "localhost", "a", "x=y", "[::1]", ":443", "%", "é",
	}
	led := 0
	for i := range 200 {
		var next strings.Builder
		next.WriteString([]string{"", "", "/a", "https://app.trusted.test"}[i%4])
		for range 1 + random.IntN(6) {
			next.WriteString(pieces[random.IntN(len(pieces))])
		}
		location := nextSignIn(t, s, "", next.String())
		if !nextHarmless(location) {
			t.Errorf("%q leads to %q", next.String(), location)
		}
		if location != "/" {
			led++
		}
	}
	if led < 20 {
		t.Errorf("only %d targets led anywhere: the pieces are no test", led)
	}
	// The way to the sign-in page and back is made of the request's own path.
	for _, target := range []string{"//evil.example/x", "/\\evil.example", "/%5cevil.example", "/.//evil.example", "/x//evil.example", "/a?next=//evil.example", "http://evil.example/x", "/a%0d%0aX:%20y", "/%2fevil.example"} {
		r := s.raw(t, "GET "+target+" HTTP/1.1\nHost: HOST\nAccept: text/html\nConnection: close\n\n")
		location := r.header.Get("Location")
		path, query, _ := strings.Cut(location, "?")
		values, err := url.ParseQuery(query)
		if r.status != 303 || path != "/accounts/login/" || err != nil || values.Has("next") && !nextHarmless(values.Get("next")) {
			t.Errorf("GET %s: %d to %q", target, r.status, location)
		}
	}
}

// nextHarmless tells whether a browser on this site stays on it, or goes to a
// listed origin: without a parser's help, by what no parser reads in two ways.
func nextHarmless(location string) bool {
	if strings.ContainsFunc(location, func(c rune) bool { return c <= 0x20 || c >= 0x7f || c == '\\' }) {
		return false
	}
	for _, origin := range []string{"https://app.trusted.test", "http://localhost:3000"} {
		if rest, ok := strings.CutPrefix(location, origin); ok {
			return rest == "" || strings.ContainsAny(rest[:1], "/?#")
		}
	}
	path := location
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	return strings.HasPrefix(path, "/") && !strings.Contains(path, "//")
}
