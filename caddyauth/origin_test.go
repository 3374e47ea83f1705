package caddyauth

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// requestFrom is a request as Caddy's server hands it over, with what it
// knows of the peer.
func requestFrom(t testing.TB, method, target string, vars map[string]any, changes ...change) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.TLS = nil
	if vars == nil {
		vars = map[string]any{}
	}
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
	for _, change := range changes {
		change(r)
	}
	return r
}

// TestTrustedOrigins is the table measured against Django, with its list.
func TestTrustedOrigins(t *testing.T) {
	p := policyTrusting(t, "http://localhost", "https://app.trusted.test", "https://*.wild.test", "https://*.port.test:8443")
	for origin, want := range map[string]bool{
		"http://localhost":                                   true,
		"https://app.trusted.test":                           true,
		"https://a.wild.test":                                true,
		"https://a.b.wild.test":                              true,
		"https://a-b.wild.test":                              true,
		"https://a.port.test:8443":                           true,
		"null":                                               false,
		"":                                                   false,
		"http://localhost:3000":                              false,
		"https://localhost":                                  false,
		"http://localhost/":                                  false,
		"HTTP://LOCALHOST":                                   false,
		"http://localhost.evil.test":                         false,
		"http://evillocalhost":                               false,
		"http://localhost@evil.test":                         false,
		"http://evil.test@localhost":                         false,
		"https://x.app.trusted.test":                         false,
		"https://app.trusted.test:8443":                      false,
		"https://app.trusted.test:443":                       false,
		"https://app.trusted.test.":                          false,
		"https://app.trusted.test.evil":                      false,
		"http://app.trusted.test":                            false,
		"http://a.wild.test":                                 false,
		"https://a.wild.test:8443":                           false,
		"https://xwild.test":                                 false,
		"https://wild.test":                                  false, // Django takes the bare domain too; a wildcard here means names below it
		"https://.wild.test":                                 false,
		"https://A.WILD.TEST":                                false,
		"https://a.wild.test.evil.test":                      false,
		"https://evil.test/.wild.test":                       false,
		"https://evil.test#.wild.test":                       false,
		"https://evil.test?.wild.test":                       false,
		"https://u@.wild.test":                               false,
		"https://u:p@a.wild.test":                            false,
		"https://evil.test\\.wild.test":                      false,
		"https://é.wild.test":                                false,
		"https://-a.wild.test":                               false,
		"https://a..wild.test":                               false,
		"https://*.wild.test":                                false,
		"https://a.port.test":                                false,
		"https://" + strings.Repeat("a", 64) + ".wild.test":  false,
		"https://" + strings.Repeat("a.", 130) + "wild.test": false,
		"https://a.wild.test ":                               false,
		"https://a.wild.test, https://app.trusted.test":      false,
		"https://app.trusted.test https://app.trusted.test":  false,
		"ftp://app.trusted.test":                             false,
		"https://a.wild.test\x00":                            false,
		"chrome-extension://app.trusted.test":                false,
		"https://" + strings.Repeat("a", 63) + ".wild.test":  true,
		"https://" + strings.Repeat("a", 63) + "." + "b" + ".wild.test":           true,
		"https://" + strings.Repeat(strings.Repeat("a", 63)+".", 4) + "wild.test": false,
	} {
		if got := p.origins.trusts(origin); got != want {
			t.Errorf("trusts(%q) = %v, want %v", origin, got, want)
		}
	}
	if p.origins.trustsExactly("https://a.wild.test") {
		t.Error("a wildcard counts as an exact entry")
	}
}

func TestConfiguredOrigins(t *testing.T) {
	for configured, sent := range map[string]string{
		"https://APP.test":       "https://app.test",
		"https://app.test:443":   "https://app.test",
		"http://app.test:80":     "http://app.test",
		"http://app.test:443":    "http://app.test:443",
		"https://*.APP.test:443": "https://a.app.test",
		"http://127.0.0.1:3000":  "http://127.0.0.1:3000",
		"http://[::1]:3000":      "http://[::1]:3000",
		"https://[::1]:443":      "https://[::1]",
		"https://xn--caf-dma.es": "https://xn--caf-dma.es",
		"http://localhost":       "http://localhost",
		"http://my_host.test":    "http://my_host.test",
	} {
		origins, err := parseTrustedOrigins([]string{configured})
		if err != nil {
			t.Errorf("%q: %v", configured, err)
			continue
		}
		if !origins.trusts(sent) {
			t.Errorf("%q does not stand for %q", configured, sent)
		}
	}
	for _, configured := range []string{
		"", "app.test", "localhost", "*", "null", "ftp://app.test", "HTTPS://app.test", "https:app.test", "https://", "https:///",
		"https://app.test/", "https://app.test/x", "https://app.test?x", "https://app.test?", "https://app.test#", "https://app.test#x", "https://u@app.test", "https://u:p@app.test",
		"https://app.test:", "https://app.test:x", "https://*", "https://*.test", "https://*.127.0.0.1", "https://a.*.test.x", "https://a*.test.x", "https://*.*.test.x", "https://*.",
		"https://café.es", "https://app test", "https://app.test https://b.test",
	} {
		if _, err := parseTrustedOrigins([]string{configured}); err == nil {
			t.Errorf("trusted_origins %q is accepted", configured)
		} else if !strings.Contains(err.Error(), "trusted_origins") {
			t.Errorf("the error for %q does not name the option: %v", configured, err)
		}
	}
	if _, err := parseTrustedOrigins([]string{}); err == nil {
		t.Error("an empty list is accepted")
	}
}

func TestOverTLS(t *testing.T) {
	for _, test := range []struct {
		name  string
		tls   bool
		proxy bool
		proto []string
		want  bool
	}{
		{name: "plain"},
		{name: "its own TLS", tls: true, want: true},
		{name: "its own TLS, whatever a header says", tls: true, proto: []string{"http"}, want: true},
		{name: "anybody's header", proto: []string{"https"}},
		{name: "a trusted proxy's header", proxy: true, proto: []string{"https"}, want: true},
		{name: "a trusted proxy's header in capitals", proxy: true, proto: []string{"HTTPS"}, want: true},
		{name: "a trusted proxy without a header", proxy: true},
		{name: "a trusted proxy that says http", proxy: true, proto: []string{"http"}},
		{name: "a client's value before the proxy's", proxy: true, proto: []string{"https, http"}},
		{name: "the proxy's value after a client's", proxy: true, proto: []string{"http, https"}, want: true},
		{name: "a client's line before the proxy's", proxy: true, proto: []string{"https", "http"}},
		{name: "evil protocol", proxy: true, proto: []string{"evil"}},
		{name: "empty", proxy: true, proto: []string{""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			vars := map[string]any{caddyhttp.TrustedProxyVarKey: test.proxy}
			r := requestFrom(t, "GET", "http://site.test/", vars)
			if test.tls {
				r.TLS = new(tls.ConnectionState)
			}
			if test.proto != nil {
				r.Header["X-Forwarded-Proto"] = test.proto
			}
			if got := overTLS(r); got != test.want {
				t.Errorf("overTLS = %v, want %v", got, test.want)
			}
		})
	}
}

func TestOwnOrigin(t *testing.T) {
	https, inner := header("X-Forwarded-Proto", "https"), header("Host", "inner:8080")
	for _, test := range []struct {
		name    string
		origin  string
		proxy   bool
		changes []change
		want    bool
	}{
		{name: "the host", origin: "http://site.test", want: true},
		{name: "the host with its default port", origin: "http://site.test", changes: []change{header("Host", "SITE.test:80")}, want: true},
		{name: "the host with a port", origin: "http://site.test:8080", changes: []change{header("Host", "site.test:8080")}, want: true},
		{name: "another port", origin: "http://site.test:8080"},
		{name: "another scheme", origin: "https://site.test"},
		{name: "capitals, which no browser sends", origin: "http://SITE.test"},
		{name: "user name", origin: "http://u@site.test"},
		{name: "path", origin: "http://site.test/"},
		{name: "no host", origin: "http://", changes: []change{header("Host", "")}},
		{name: "anybody's X-Forwarded-Proto", origin: "https://site.test", changes: []change{https}},
		{name: "anybody's X-Forwarded-Host", origin: "http://evil.test", changes: []change{header("X-Forwarded-Host", "evil.test")}},
		{name: "TLS at a trusted proxy", origin: "https://site.test", proxy: true, changes: []change{https}, want: true},
		{name: "plain origin where the proxy had TLS", origin: "http://site.test", proxy: true, changes: []change{https}},
		{name: "a trusted proxy that rewrote Host", origin: "https://site.test", proxy: true, changes: []change{https, inner, header("X-Forwarded-Host", "site.test")}, want: true},
		{name: "that with the default port", origin: "https://site.test", proxy: true, changes: []change{https, inner, header("X-Forwarded-Host", " Site.test:443 ")}, want: true},
		{name: "several forwarded hosts", origin: "https://site.test", proxy: true, changes: []change{https, inner, header("X-Forwarded-Host", "site.test, other.test")}},
		{name: "several forwarded host lines", origin: "https://site.test", proxy: true, changes: []change{https, inner, header("X-Forwarded-Host", "site.test", "other.test")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := requestFrom(t, "POST", "http://site.test/", map[string]any{caddyhttp.TrustedProxyVarKey: test.proxy}, test.changes...)
			if got := isOwnOrigin(r, test.origin); got != test.want {
				t.Errorf("isOwnOrigin(%q) = %v, want %v", test.origin, got, test.want)
			}
		})
	}
}

// TestOriginGate is the gate of sign-in, sign-out and unsafe methods.
func TestOriginGate(t *testing.T) {
	p := policyTrusting(t, "https://app.trusted.test", "https://*.wild.test")
	fetchSite := func(values ...string) change { return header("Sec-Fetch-Site", values...) }
	for _, test := range []struct {
		name    string
		changes []change
		want    bool
	}{
		{name: "none of the three (curl)", want: true},
		{name: "own origin", changes: []change{header("Origin", "http://site.test")}, want: true},
		{name: "trusted origin", changes: []change{header("Origin", "https://app.trusted.test")}, want: true},
		{name: "wildcard origin", changes: []change{header("Origin", "https://a.wild.test")}, want: true},
		{name: "trusted origin, cross-site", changes: []change{header("Origin", "https://app.trusted.test"), fetchSite("cross-site")}, want: true},
		{name: "foreign origin", changes: []change{header("Origin", "https://evil.test")}},
		{name: "foreign origin that claims same-origin", changes: []change{header("Origin", "https://evil.test"), fetchSite("same-origin")}},
		{name: "foreign origin with an own referer", changes: []change{header("Origin", "https://evil.test"), header("Referer", "http://site.test/")}},
		{name: "null", changes: []change{header("Origin", "null")}},
		{name: "null that claims same-origin", changes: []change{header("Origin", "null"), fetchSite("same-origin")}},
		{name: "empty origin", changes: []change{header("Origin", "")}},
		{name: "two origins", changes: []change{header("Origin", "http://site.test", "http://site.test")}},
		{name: "own host over another scheme", changes: []change{header("Origin", "https://site.test")}},
		{name: "user name", changes: []change{header("Origin", "http://evil@site.test")}},
		{name: "same-origin", changes: []change{fetchSite("same-origin")}, want: true},
		{name: "typed address", changes: []change{fetchSite("none")}, want: true},
		{name: "same-site", changes: []change{fetchSite("same-site")}},
		{name: "cross-site", changes: []change{fetchSite("cross-site")}},
		{name: "cross-site with an own referer", changes: []change{fetchSite("cross-site"), header("Referer", "http://site.test/")}},
		{name: "same-origin with a foreign referer", changes: []change{fetchSite("same-origin"), header("Referer", "https://evil.test/")}, want: true},
		{name: "unknown fetch site", changes: []change{fetchSite("Same-Origin")}},
		{name: "empty fetch site", changes: []change{fetchSite("")}},
		{name: "two fetch sites", changes: []change{fetchSite("same-origin", "cross-site")}},
		{name: "own referer", changes: []change{header("Referer", "http://site.test/a?b")}, want: true},
		{name: "own referer with the default port", changes: []change{header("Referer", "http://SITE.test:80/a")}, want: true},
		{name: "trusted referer", changes: []change{header("Referer", "https://app.trusted.test/x")}, want: true},
		{name: "foreign referer", changes: []change{header("Referer", "https://evil.test/http://site.test/")}},
		{name: "referer with a user name", changes: []change{header("Referer", "http://site.test@evil.test/")}},
		{name: "referer with a user name on the own host", changes: []change{header("Referer", "http://u@site.test/")}},
		{name: "empty referer", changes: []change{header("Referer", "")}},
		{name: "relative referer", changes: []change{header("Referer", "/a")}},
		{name: "referer that does not parse", changes: []change{header("Referer", "http://site.test/%zz\x7f")}},
		{name: "two referers", changes: []change{header("Referer", "http://site.test/", "http://site.test/")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := p.originAllowed(requestFrom(t, "POST", "http://site.test/x", nil, test.changes...)); got != test.want {
				t.Errorf("originAllowed = %v, want %v", got, test.want)
			}
		})
	}
}

func TestHostOnly(t *testing.T) {
	for in, want := range map[string]string{"site.test": "site.test", "site.test:80": "site.test", "[::1]:80": "::1", "[::1]": "[::1]", "": ""} {
		if got := hostOnly(in); got != want {
			t.Errorf("hostOnly(%q) = %q, want %q", in, got, want)
		}
	}
}
