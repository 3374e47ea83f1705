package caddyauth

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestKeepPrivate(t *testing.T) {
	for _, test := range []struct {
		name string
		sent []string
		want string
	}{
		{name: "nothing", want: "private"},
		{name: "public", sent: []string{"public, max-age=60"}, want: "max-age=60, private"},
		{name: "Public in capitals", sent: []string{"PUBLIC"}, want: "private"},
		{name: "for shared caches", sent: []string{"s-maxage=60, max-age=5"}, want: "max-age=5, private"},
		{name: "for shared caches with a space", sent: []string{"s-maxage =60"}, want: "private"},
		{name: "private already", sent: []string{"private, max-age=60"}, want: "private, max-age=60"},
		{name: "private for one field only", sent: []string{`private="Set-Cookie", max-age=60`}, want: "max-age=60, private"},
		{name: "no-store for one field only", sent: []string{`no-store="X-A", max-age=60`}, want: "max-age=60, private"},
		{name: "looks like no-store in quotes", sent: []string{`note="a, no-store, b", max-age=60`}, want: `note="a, no-store, b", max-age=60, private`},
		{name: "an escaped quote", sent: []string{`note="a\", private, ", max-age=60`}, want: `note="a\", private, ", max-age=60, private`},
		{name: "a quote that nobody closes", sent: []string{`max-age=60, note="a, private`}, want: "max-age=60, private"},
		{name: "such a quote before another line", sent: []string{`note="a`, "no-store"}, want: "no-store"},
		{name: "no-store", sent: []string{"no-store"}, want: "no-store"},
		{name: "no-cache", sent: []string{"no-cache"}, want: "no-cache, private"},
		{name: "two lines", sent: []string{"public", "max-age=60"}, want: "max-age=60, private"},
		{name: "empty", sent: []string{""}, want: "private"},
		{name: "public and no-store", sent: []string{"public, no-store"}, want: "no-store"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{"Surrogate-Control": {"max-age=60"}, "Cdn-Cache-Control": {"max-age=60"}, "X-Accel-Expires": {"60"}, "Akamai-Cache-Control": {"max-age=60"}, "Edge-Control": {"max-age=60"}}
			if test.sent != nil {
				h["Cache-Control"] = test.sent
			}
			page := http.Header{"Cache-Control": slices.Clone(test.sent)}
			keepPrivate(h, false)
			dropCacheOverrides(h)
			if got := h["Cache-Control"]; !slices.Equal(got, []string{test.want}) || len(h) != 1 {
				t.Errorf("%v, want Cache-Control: %s alone", h, test.want)
			}
			want := test.want
			if want != "no-store" {
				want += ", no-store"
			}
			if keepPrivate(page, true); page["Cache-Control"][0] != want {
				t.Errorf("of a page: %q, want %q", page["Cache-Control"], want)
			}
		})
	}
}

func TestAddVary(t *testing.T) {
	for _, test := range []struct{ sent, want []string }{
		{nil, []string{"Cookie"}},
		{[]string{"Origin"}, []string{"Origin", "Cookie"}},
		{[]string{"Origin, cookie"}, []string{"Origin, cookie"}},
		{[]string{"*"}, []string{"*"}},
		{[]string{"Cookies"}, []string{"Cookies", "Cookie"}},
	} {
		h := http.Header{}
		if test.sent != nil {
			h["Vary"] = test.sent
		}
		addVary(h, "Cookie")
		if got := h["Vary"]; !slices.Equal(got, test.want) {
			t.Errorf("addVary to %q = %q, want %q", test.sent, got, test.want)
		}
	}
}

// TestAnswersHoweverTheyAreWritten: our headers are there however a handler writes.
func TestAnswersHoweverTheyAreWritten(t *testing.T) {
	for name, write := range map[string]func(http.ResponseWriter){
		"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
		"Write":       func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) },
		"Flush":       func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"controller":  func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"ReadFrom":    func(w http.ResponseWriter) { _, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			app := &App{cookies: *cookiesOf(t, "")}
			q := &request{app: app}
			recorder := httptest.NewRecorder()
			w := q.wrap(recorder)
			q.answer.gated = true
			q.setCookie("sessionid=new")
			w.Header().Set("Set-Cookie", "sessionid=evil")
			if q.wrap(w) != w {
				t.Error("a second handler wraps again")
			}
			defer func() {
				result := recorder.Result()
				if cookies := result.Header["Set-Cookie"]; len(cookies) != 1 || cookies[0] != "sessionid=new" || result.Header.Get("Cache-Control") != "private" || result.Header.Get("Vary") != "Cookie" {
					t.Errorf("the headers are %v", result.Header)
				}
			}()
			write(w)
		})
	}
}

// TestPagesAreNotStored: what a browser shows as a page is asked for again when
// somebody goes back to it, and what the page is made of is not.
func TestPagesAreNotStored(t *testing.T) {
	s := start(t, setup{site: "route {\nrequire_session {\npublic /open/*\n}\nreverse_proxy UPSTREAM\n}"})
	c := s.signIn("ac12345")
	as := func(mode, destination string) change {
		return func(r *http.Request) {
			r.Header["Sec-Fetch-Mode"], r.Header["Sec-Fetch-Dest"] = []string{mode}, []string{destination}
		}
	}
	browser := header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for _, row := range []struct {
		name string
		sent string // by the application
		as   change
		want string
	}{
		{name: "a page", as: as("navigate", "document"), want: "private, no-store"},
		{name: "a page that may be kept for a while", sent: "max-age=600", as: as("navigate", "document"), want: "max-age=600, private, no-store"},
		{name: "a page with private", sent: "private", as: as("navigate", "document"), want: "private, no-store"},
		{name: "a page with no-store", sent: "no-store", as: as("navigate", "document"), want: "no-store"},
		{name: "a frame", as: as("navigate", "iframe"), want: "private, no-store"},
		{name: "a browser over plain HTTP", as: browser, want: "private, no-store"},
		{name: "a style sheet", as: as("no-cors", "style"), want: "private"},
		{name: "a script that may be kept", sent: "max-age=600", as: as("no-cors", "script"), want: "max-age=600, private"},
		{name: "a fetch", as: as("cors", "empty"), want: "private"},
		{name: "a program", as: header("Accept", "*/*"), want: "private"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.upstream.answers(func(w http.ResponseWriter, r *http.Request) {
				if row.sent != "" {
					w.Header().Set("Cache-Control", row.sent)
				}
				_, _ = io.WriteString(w, "<p>upstream")
			})
			if got := s.do("GET", "/x", c.cookies, row.as); got.StatusCode != 200 || got.Header.Get("Cache-Control") != row.want {
				t.Errorf("%d, Cache-Control %q, want %q", got.StatusCode, got.Header["Cache-Control"], row.want)
			}
			if got := s.do("GET", "/open/x", c.cookies, row.as); got.StatusCode != 200 || got.Header.Get("Cache-Control") != row.sent {
				t.Errorf("public: %d, Cache-Control %q, want %q", got.StatusCode, got.Header["Cache-Control"], row.sent)
			}
		})
	}
}

// TestPagesOfAMatcherAreNotStored: what session_group shows to some only is
// theirs as well, with no gate around it.
func TestPagesOfAMatcherAreNotStored(t *testing.T) {
	s := start(t, setup{site: "ldap_login\n@in session_group \"Empleados\"\nhandle @in {\nrespond inside\n}\nhandle {\nrespond outside\n}"})
	c := s.signIn("ac12345")
	for what, as := range map[string]change{"private, no-store": navigation, "private": header("Accept", "*/*")} {
		if got := s.do("GET", "/x", c.cookies, as); got.body != "inside" || got.Header.Get("Cache-Control") != what {
			t.Errorf("%q, Cache-Control %q, want %q", got.body, got.Header["Cache-Control"], what)
		}
	}
}
