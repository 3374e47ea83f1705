package pages

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// hashOf is the policy's source for the one element of that name, hashed from
// what was sent, as a browser does it.
func hashOf(t *testing.T, source, element string) string {
	t.Helper()
	_, content, found := strings.Cut(source, "<"+element+">")
	content, _, closed := strings.Cut(content, "</"+element+">")
	if !found || !closed || strings.Count(source, "<"+element) != 1 || strings.Contains(content, "\r") {
		t.Fatalf("not one <%s>", element)
	}
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func TestHeadersOfEveryPage(t *testing.T) {
	p := newPages(t)
	for _, kind := range kinds() {
		for _, lang := range everyLanguage() {
			t.Run(string(kind)+" "+lang, func(t *testing.T) {
				d := write(t, p, lang, http.StatusServiceUnavailable, full(kind, ""))
				if d.status != http.StatusServiceUnavailable {
					t.Errorf("status %d", d.status)
				}
				want := http.Header{
					"Content-Type":     {"text/html; charset=utf-8"},
					"Content-Length":   {strconv.Itoa(len(d.source))},
					"Content-Language": {lang},
					"Cache-Control":    {"no-store"},
					"Content-Security-Policy": {"default-src 'none'; style-src " + hashOf(t, d.source, "style") + "; script-src " + hashOf(t, d.source, "script") +
						"; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"},
					"X-Content-Type-Options":     {"nosniff"},
					"X-Frame-Options":            {"DENY"},
					"Referrer-Policy":            {"same-origin"},
					"Cross-Origin-Opener-Policy": {"same-origin"},
					"Vary":                       {"Accept-Language", "Cookie"},
				}
				for name, values := range want {
					if got := d.header[name]; !slices.Equal(got, values) {
						t.Errorf("%s: %q, want %q", name, got, values)
					}
				}
				if len(d.header) != len(want) {
					t.Errorf("headers %v", d.header)
				}
			})
		}
	}
}

func TestFormActionNamesOnlyTheOriginOfNext(t *testing.T) {
	for _, c := range []struct{ name, next, want string }{
		{"none", "", "'self'"},
		{"a path", "/equipos/?a=https://evil.example", "'self'"},
		{"another origin", "https://next.empresa.local/x?y#z", "'self' https://next.empresa.local"},
		{"with a port", "http://host:8080/", "'self' http://host:8080"},
		{"no path", "https://next.empresa.local", "'self' https://next.empresa.local"},
		{"adds a directive", "https://a.example;script-src *", "'self'"},
		{"adds a source", "https://a.example *", "'self'"},
		{"line break", "https://a.example\r\nSet-Cookie: a=b", "'self'"},
		{"quote", "https://a'unsafe-inline'.example/", "'self'"},
		{"comma begins a second policy", "https://a.example,b/", "'self'"},
		{"wildcard", "https://*.example/", "'self'"},
		{"user name", "https://trusted@evil.example/", "'self'"},
		{"other scheme", "ftp://a.example/", "'self'"},
		{"scheme only", "https:", "'self'"},
		{"port only", "https://:443/", "'self'"},
		{"no scheme", "//a.example/", "'self'"},
		{"IPv6 literal has no source form", "https://[::1]/", "'self'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, kind := range []Kind{SignIn, SignedIn} {
				d := write(t, newPages(t), "es", http.StatusOK, Page{Kind: kind, SignInPath: signInPath, Next: c.next})
				_, got, _ := strings.Cut(d.header.Get("Content-Security-Policy"), "form-action ")
				got, _, _ = strings.Cut(got, ";")
				if got != c.want {
					t.Errorf("%s: form-action %s, want %s", kind, got, c.want)
				}
			}
		})
	}
}

func TestPagesWhoseFormsStayHereNameNoOrigin(t *testing.T) {
	for _, kind := range []Kind{SignedOut, Forbidden, HTTPSRequired, Unavailable, PasswordWarning, Reauthenticate, Sessions, Refused} {
		page := full(kind, "")
		page.Next = "https://next.empresa.local/"
		d := write(t, newPages(t), "es", http.StatusOK, page)
		if csp := d.header.Get("Content-Security-Policy"); strings.Contains(csp, "empresa") {
			t.Errorf("%s: %s", kind, csp)
		}
	}
}

func TestVaryOfOthersIsKept(t *testing.T) {
	for _, c := range []struct {
		name        string
		given, want []string
	}{
		{"none", nil, []string{"Accept-Language", "Cookie"}},
		{"another", []string{"Origin"}, []string{"Origin", "Accept-Language", "Cookie"}},
		{"named before, other spelling", []string{"Origin, cookie"}, []string{"Origin, cookie", "Accept-Language"}},
		{"everything", []string{"*"}, []string{"*"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			for _, v := range c.given {
				w.Header().Add("Vary", v)
			}
			if err := newPages(t).Write(w, Reader{}, http.StatusOK, full(SignIn, "")); err != nil {
				t.Fatal(err)
			}
			if got := w.Header().Values("Vary"); !slices.Equal(got, c.want) {
				t.Errorf("Vary %q, want %q", got, c.want)
			}
		})
	}
}
