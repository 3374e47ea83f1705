package caddyauth

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// sentURL is the URL as net/http reads a request target.
func sentURL(t testing.TB, target string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatalf("parsing %q: %v", target, err)
	}
	return u
}

func TestCanonicalPath(t *testing.T) {
	for target, want := range map[string]bool{
		"/":                       true,
		"/docs":                   true,
		"/docs/":                  true,
		"/docs/a.b/c":             true,
		"/.well-known/x":          true, // begins with a dot, ends in none
		"/...a":                   true,
		"/a b":                    true,
		"/a%20b":                  true,
		"/caf%C3%A9":              true,
		"/café":                   true,
		"/%61dmin":                true, // decoded once it is /admin, for everybody
		"/a,b=c&d":                true,
		"/a:b@c":                  true,
		"/docs?next=//evil/../;x": true,

		"/docs//a":                          false,
		"//":                                false,
		"//docs":                            false,
		"/docs/.":                           false,
		"/docs/..":                          false,
		"/docs/../admin":                    false,
		"/docs/./admin":                     false,
		"/docs/%2e%2e/admin":                false,
		"/docs/%2E./admin":                  false,
		"/docs/.%2e/admin":                  false,
		"/docs/...":                         false,
		"/docs/.../admin":                   false,
		"/docs/a.":                          false,
		"/docs/a./b":                        false,
		"/docs/a%20":                        false,
		"/docs/a%20/b":                      false,
		"/docs/%20":                         false,
		"/docs%2fadmin":                     false,
		"/docs%2Fadmin":                     false,
		"/docs/%2e%2e%2fadmin":              false,
		"/docs%5cadmin":                     false,
		`/docs\admin`:                       false,
		`/docs/..%5cadmin`:                  false,
		"/docs/..;/admin":                   false,
		"/docs;x=1/admin":                   false,
		"/docs%3bx/admin":                   false,
		"/docs%25":                          false,
		"/docs%252e%252e":                   false,
		"/docs%252fadmin":                   false,
		"/docs%3fx":                         false, // a rewrite to what path_regexp captured cuts there
		"/docs%23x":                         false,
		"/docs#x":                           false, // sent raw: net/http takes it for a part of the path
		"/docs#/../x":                       false,
		"/docs/%ef%bc%8e%ef%bc%8e/admin":    false, // ．．
		"/docs/..%ef%bc%8fadmin":            false, // ／
		"/docs/%e2%80%a5/admin":             false, // ‥
		"/docs/..%c2%a5admin":               false, // ¥ is a backslash in Japan
		"/docs/..%e2%88%95admin":            false, // ∕
		"/docs/.%e2%80%8b./admin":           false, // with a zero-width space
		"/docs/..::$INDEX_ALLOCATION/admin": false,
		"/docs/..:x/admin":                  false,
		"/docs/%e8%b3%87%e6%96%99%ef%bc%9f": true, // 資料？
		"/docs/%e2%80%a6":                   false,
		"/docs/a%e2%80%a6":                  true, // a title that goes on…
		"/docs/%c2%a51000":                  true,
		"/docs/a:b":                         true,
		"/docs/:id":                         true,
		"/docs%00":                          false,
		"/docs%00.html":                     false,
		"/docs%0a":                          false,
		"/docs%0d":                          false,
		"/docs%09":                          false,
		"/docs%1f":                          false,
		"/docs%7f":                          false,
		"/docs%c2%80":                       false, // a C1 control character
		"/docs%c2%9f":                       false,
		"/docs%c2%a0":                       true, // no-break space is no control character
		"/docs%ff":                          false,
		"/docs%c0%af":                       false, // an over-long slash
		"/docs%c0%ae":                       false,
		"/docs%ed%a0%80":                    false, // a lone surrogate
	} {
		if got := canonicalPath(sentURL(t, target)); got != want {
			t.Errorf("canonicalPath(%q) = %v, want %v", target, got, want)
		}
	}
	for _, path := range []string{"", "*", "docs", "http:"} {
		if canonicalPath(&url.URL{Path: path}) {
			t.Errorf("canonicalPath(%q), want it not to be", path)
		}
	}
}

func TestPathPatterns(t *testing.T) {
	for _, test := range []struct {
		pattern, path    string
		public, required bool
	}{
		{"/admin/*", "/admin", true, true},
		{"/admin/*", "/admin/", true, true},
		{"/admin/*", "/admin/a/b", true, true},
		{"/admin/*", "/administrator", false, false},
		{"/admin/*", "/Admin/a", false, true},
		{"/admin/*", "/x/admin/a", false, false},
		{"/Admin/*", "/admin/a", false, true},
		{"/admin", "/admin", true, true},
		{"/admin", "/admin/", false, true},
		{"/admin", "/ADMIN", false, true},
		{"/admin", "/admin/a", false, false},
		{"/admin/", "/admin/", true, true},
		{"/admin/", "/admin", false, true},
		{"/*", "/", true, true},
		{"/*", "/a/b", true, true},
		{"/", "/", true, true},
		{"/", "/a", false, false},
		{"/straße", "/STRASSE", false, false}, // no file system folds these
		{"/kelvin", "/\u212Aelvin", false, true},
		{"/secret", "/\u017Fecret", false, true},
		{"/café/*", "/CAFÉ/a", false, true},
		{"/a b/*", "/a b/c", true, true},
		{"/café/*", "/cafe\u0301/a", false, true}, // the same name on a Mac
		{"/admin/*", "/ａdmin/a", false, true},
		{"/admin/*", "/admin／a", false, true},
		{"/admin/*", "/ad\u200Bmin", false, true},
	} {
		pattern, err := parsePathPattern(test.pattern)
		if err != nil {
			t.Errorf("parsePathPattern(%q): %v", test.pattern, err)
			continue
		}
		if got := pattern.isPublic(test.path); got != test.public {
			t.Errorf("public %s covers %q: %v, want %v", test.pattern, test.path, got, test.public)
		}
		if got := pattern.folded().isRequired(foldPath(test.path)); got != test.required {
			t.Errorf("require %s covers %q: %v, want %v", test.pattern, test.path, got, test.required)
		}
	}
}

func TestPathPatternsThatAreRefused(t *testing.T) {
	for _, pattern := range []string{
		"", "docs", "*", "docs/*", "/docs*", "/do*cs", "/*/docs", "/docs/*/x", "/docs/**", "/docs/*.css", "/docs//*", "/docs//a",
		"/docs/../a", "/docs/./a", "/docs/.", "/docs;x", `/docs\a`, "/docs%20a", "/docs%2fa", "/docs?x", "/docs#x", "/docs. ", "/docs/a.", "/docs/\x00", "/docs/\xff", "//",
	} {
		if got, err := parsePathPattern(pattern); err == nil {
			t.Errorf("parsePathPattern(%q) = %+v, want an error", pattern, got)
		}
	}
}

func TestRequireNeedsAGroup(t *testing.T) {
	for _, require := range []PathRequirement{{Path: "/a"}, {Path: "/a", Groups: []string{}}, {Path: "/a", Groups: []string{""}}, {Path: "/a", Groups: []string{"x", " "}}, {Path: "a", Groups: []string{"x"}}} {
		if _, err := compilePathRules(nil, []PathRequirement{require}); err == nil {
			t.Errorf("require %+v is accepted", require)
		}
	}
}

func TestJudge(t *testing.T) {
	rules, err := compilePathRules(
		[]string{"/", "/static/*", "/admin/logo.png", "/exact"},
		[]PathRequirement{
			{Path: "/admin/*", Groups: []string{"admins"}},
			{Path: "/admin/root", Groups: []string{"roots"}},
			{Path: "/static/private/*", Groups: []string{"staff"}},
		})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		target            string
		public, ambiguous bool
		required          string
	}{
		{target: "/", public: true},
		{target: "/exact", public: true},
		{target: "/exact/"},
		{target: "/EXACT"},
		{target: "/static", public: true},
		{target: "/static/a.css", public: true},
		{target: "/%73tatic/a.css", public: true},
		{target: "/Static/a.css"},
		{target: "/other"},
		{target: "/admin", required: "admins"},
		{target: "/ADMIN/x", required: "admins"},
		{target: "/admin/logo.png", required: "admins"}, // require beats public
		{target: "/admin/root", required: "admins roots"},
		{target: "/admin/root/", required: "admins roots"},
		{target: "/admin/Root", required: "admins roots"},
		{target: "/admin/root/x", required: "admins"},
		{target: "/static/private/x", required: "staff"},
		{target: "/static/..;/x", ambiguous: true, required: "admins roots staff"},
		{target: "/static/%2e%2e/admin", ambiguous: true, required: "admins roots staff"},
		{target: "/admin::$INDEX_ALLOCATION/x", required: "admins"},
		{target: "/admin:x", required: "admins"},
		{target: "/admin%e2%80%a6", required: "admins"}, // Windows drops the dots
		{target: "/x:y/admin"},
		{target: "/admin%3fx", ambiguous: true, required: "admins roots staff"},
		{target: "/static/%23x", ambiguous: true, required: "admins roots staff"},
		{target: "/static//a.css", ambiguous: true, required: "admins roots staff"},
		{target: "/static/a.css%00", ambiguous: true, required: "admins roots staff"},
		{target: "/static%2fa.css", ambiguous: true, required: "admins roots staff"},
		{target: "/static%5c..%5cadmin", ambiguous: true, required: "admins roots staff"},
		{target: "//static/a.css", ambiguous: true, required: "admins roots staff"},
	} {
		public, ambiguous, lines := rules.judge(sentURL(t, test.target))
		var groups []string
		for _, line := range lines {
			groups = append(groups, line.groups...)
		}
		if public != test.public || ambiguous != test.ambiguous || strings.Join(groups, " ") != test.required {
			t.Errorf("judge(%q) = %v, %v, %q, want %+v", test.target, public, ambiguous, groups, test)
		}
	}
	if public, ambiguous, lines := new(pathRules).judge(sentURL(t, "/a//b")); public || ambiguous || lines != nil {
		t.Error("without lines a path is ambiguous, or anything else")
	}
}

func TestRoute(t *testing.T) {
	paths := defaultSignInPaths()
	for target, want := range map[string]route{
		"/accounts/login/":       pageRoute,
		"/accounts/login":        pageRoute,
		"/accounts/login/?x":     pageRoute,
		"/api/login-ldap/":       apiRoute,
		"/api/login-ldap":        apiRoute,
		"/api/logout/":           logoutRoute,
		"/api/logout":            logoutRoute,
		"/api/session":           sessionRoute,
		"/api/session/":          sessionRoute,
		"/accounts/sessions":     sessionsRoute,
		"/accounts/sessions/":    sessionsRoute,
		"/accounts/sessions/x":   noRoute,
		"/accounts/%73essions/":  noRoute,
		"/":                      noRoute,
		"/accounts/login//":      noRoute,
		"//accounts/login/":      noRoute,
		"/accounts/logi":         noRoute,
		"/accounts/loginx":       noRoute,
		"/Accounts/login/":       noRoute,
		"/accounts%2flogin/":     noRoute,
		"/api/logout/x":          noRoute,
		"/api/sessions/":         noRoute,
		"/x/../api/logout/":      noRoute,
		"/accounts/login/?/next": pageRoute,
	} {
		if got := paths.route(sentURL(t, target)); got != want {
			t.Errorf("route(%q) = %d, want %d", target, got, want)
		}
	}
}

func TestSignInPathsThatAreRefused(t *testing.T) {
	ok := func() signInPaths { return defaultSignInPaths() }
	for name, spoil := range map[string]func(*signInPaths){
		"relative page":           func(p *signInPaths) { p.page = "login/" },
		"page is the root":        func(p *signInPaths) { p.page = "/" },
		"wildcard":                func(p *signInPaths) { p.api = "/api/*" },
		"dot segment":             func(p *signInPaths) { p.logout = "/api/../logout" },
		"encoded":                 func(p *signInPaths) { p.logout = "/api%2flogout" },
		"two the same":            func(p *signInPaths) { p.logout = p.session },
		"two the same but slash":  func(p *signInPaths) { p.logout = "/api/session" },
		"home elsewhere":          func(p *signInPaths) { p.home = "https://evil.test/" },
		"home of another host":    func(p *signInPaths) { p.home = "//evil.test/" },
		"home with a backslash":   func(p *signInPaths) { p.home = `/\evil.test/` },
		"home that is no path":    func(p *signInPaths) { p.home = "home" },
		"sessions where session":  func(p *signInPaths) { p.sessions = "/api/session" },
		"home signs out":          func(p *signInPaths) { p.home = "/api/logout/?x" },
		"home is the page":        func(p *signInPaths) { p.home = "/accounts/login" },
		"session with parameters": func(p *signInPaths) { p.session = "/api;x/session" },
		"session with a query":    func(p *signInPaths) { p.session = "/api/session?x" },
		"page with a fragment":    func(p *signInPaths) { p.page = "/accounts/login#x" },
	} {
		p := ok()
		spoil(&p)
		if p.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p := ok()
	if err := p.check(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	p.home = p.sessions
	if err := p.check(); err != nil {
		t.Errorf("the list of sessions as home: %v", err)
	}
}

func TestOriginalURLSurvivesARewrite(t *testing.T) {
	r, err := http.NewRequest("GET", "http://site.test/rewritten", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := originalURL(r).Path; got != "/rewritten" {
		t.Errorf("without an original: %q", got)
	}
}
