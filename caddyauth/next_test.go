package caddyauth

import (
	"net/url"
	"strings"
	"testing"
)

func policyTrusting(t testing.TB, origins ...string) *policy {
	t.Helper()
	p := new(policy)
	if len(origins) > 0 {
		var err error
		if p.origins, err = parseTrustedOrigins(origins); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestNext(t *testing.T) {
	p := policyTrusting(t, "https://app.trusted.test", "http://localhost:3000", "https://*.wild.test")
	for _, next := range []string{
		"/", "/a", "/a/b?c=d#e", "/a?u=https://evil.test/", "/a?u=//evil.test", "/a#//evil.test", "/caf%C3%A9", "/café", "/a%2f%2fb", "/%2fevil.test", "/a/..b/...", "/a?b=/../c", "/a:b", "/@evil.test", "/a;b",
		"https://app.trusted.test", "https://app.trusted.test/", "https://app.trusted.test/a?b#c", "https://app.trusted.test?x", "http://localhost:3000/a",
	} {
		if got := p.nextTarget(next); got != next {
			t.Errorf("nextTarget(%q) = %q, want it", next, got)
		}
	}
	for name, next := range map[string]string{
		"nothing":                              "",
		"no slash":                             "a",
		"two slashes":                          "//evil.test",
		"three slashes":                        "///evil.test",
		"slash and backslash":                  `/\evil.test`,
		"backslashes":                          `\\evil.test`,
		"backslash later":                      `/a\..\..\evil.test`,
		"dot segments before two slashes":      "/..//evil.test",
		"a dot segment before two slashes":     "/.//evil.test",
		"two slashes later":                    "/a//evil.test",
		"dot segments back to a sign-in route": "/x/../api/logout/",
		"a dot segment at the end":             "/api/logout/.",
		"encoded dot segments":                 "/x/%2E%2e/api/logout/",
		"half encoded dot segments":            "/x/.%2e/api/logout/",
		"tab":                                  "/\t/evil.test",
		"leading tab":                          "\t//evil.test",
		"leading space":                        " //evil.test",
		"line feed":                            "/\n/evil.test",
		"carriage return":                      "/\r/evil.test",
		"header splitting":                     "/a\r\nSet-Cookie: x=y",
		"NUL":                                  "/\x00/evil.test",
		"delete":                               "/\x7f",
		"C1 control":                           "/\u0085/evil.test",
		"no-break space":                       "/\u00a0/evil.test",
		"line separator":                       "/\u2028/evil.test",
		"byte order mark":                      "\ufeff//evil.test",
		"invalid UTF-8":                        "/\xff",
		"javascript":                           "javascript:alert(1)",
		"javascript with slashes":              "javascript://app.trusted.test/%0aalert(1)",
		"data":                                 "data:text/html,x",
		"mixed case scheme":                    "HtTpS://app.trusted.test/",
		"scheme without slashes":               "https:app.trusted.test",
		"scheme with one slash":                "https:/app.trusted.test",
		"scheme with three slashes":            "https:///app.trusted.test",
		"another scheme":                       "http://app.trusted.test/",
		"another port":                         "https://app.trusted.test:8443/",
		"the default port":                     "https://app.trusted.test:443/",
		"upper-case host":                      "https://APP.trusted.test/",
		"longer host":                          "https://app.trusted.test.evil.test/",
		"trusted.evil":                         "https://app.trusted.evil/",
		"trailing dot":                         "https://app.trusted.test./",
		"user name":                            "https://app.trusted.test@evil.test/",
		"user name on the trusted":             "https://evil.test@app.trusted.test/",
		"user name with a password":            "https://app.trusted.test:x@evil.test/",
		"backslash after the host":             `https://app.trusted.test\@evil.test/`,
		"backslash before the path":            `https://app.trusted.test\evil.test`,
		"question mark in the host":            "https://evil.test?https://app.trusted.test/",
		"fragment in the host":                 "https://evil.test#app.trusted.test/",
		"wildcard origin":                      "https://a.wild.test/",
		"bare domain of a wildcard":            "https://wild.test/",
		"encoded slashes of a host":            "%2f%2fevil.test",
		"encoded slash after a scheme":         "https:%2f%2fapp.trusted.test",
		"untrusted origin":                     "https://evil.test/",
		"full-width solidus in the host":       "https://evil.test／app.trusted.test/",
		"ideographic full stop":                "https://app。trusted.test/",
		"over-long":                            "/" + strings.Repeat("a", maxNext),
		"over-long on a trusted origin":        "https://app.trusted.test/" + strings.Repeat("a", maxNext),
		"broken escape":                        "/%zz",
		"space inside a trusted origin's path": "https://app.trusted.test/a b",
	} {
		if got := p.nextTarget(next); got != "" {
			t.Errorf("%s: nextTarget(%q) = %q, want none", name, next, got)
		}
	}
	if got := p.nextTarget("/" + strings.Repeat("a", maxNext-1)); got == "" {
		t.Error("a target of exactly the limit is refused")
	}
}

func FuzzLocalTargetNeverLeavesTheSite(f *testing.F) {
	for _, seed := range []string{"/", "/a", "//evil", `/\evil`, "/..//evil", "/\t/evil", "/%2f/evil", "/a?//", "https://evil", "javascript:x", "/%2e%2e//x", "/./%2e/"} {
		f.Add(seed)
	}
	base, _ := url.Parse("https://site.test/accounts/login/")
	f.Fuzz(func(t *testing.T, next string) {
		if !isLocalTarget(next) {
			return
		}
		switch there := modelLeadsTo(base.String(), next); {
		case there.Origin != "https://site.test":
			t.Errorf("%q leads a browser to %q", next, there)
		case strings.HasPrefix(there.Path, "//"):
			// That goes elsewhere where a page or proxy uses it as a reference again.
			t.Errorf("%q is %q once its dots are resolved", next, there.Path)
		}
		u, err := base.Parse(next)
		if err != nil || u.Host != "site.test" || u.Scheme != "https" || u.User != nil {
			t.Errorf("%q is %v (%v) to net/url", next, u, err)
		}
		if strings.ContainsAny(next, "\r\n\x00") {
			t.Errorf("%q can split a header", next)
		}
	})
}

func FuzzNextStaysOnTrustedHosts(f *testing.F) {
	p := policyTrusting(f, "https://app.trusted.test", "http://localhost:3000", "https://*.wild.test")
	for _, seed := range []string{"/", "https://app.trusted.test/a", "https://app.trusted.test@evil", `https://app.trusted.test\@evil`, "https://a.wild.test", "http://localhost:3000#x", "https://app.trusted.test:443"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, next string) {
		if p.nextTarget(next) == "" {
			return
		}
		switch there := modelLeadsTo("https://site.test/accounts/login/", next); there.Origin {
		case "https://site.test", "https://app.trusted.test", "http://localhost:3000":
		default:
			t.Errorf("%q leads a browser to %q", next, there)
		}
	})
}

func TestLocationIsASCII(t *testing.T) {
	for in, want := range map[string]string{"/a": "/a", "/café": "/caf%C3%A9", "/a%20b": "/a%20b", "/\U0001F600?x=é": "/%F0%9F%98%80?x=%C3%A9"} {
		if got := escapeNonASCII(in); got != want {
			t.Errorf("escapeNonASCII(%q) = %q, want %q", in, got, want)
		}
	}
}
