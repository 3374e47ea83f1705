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
			keepPrivate(h)
			dropCacheOverrides(h)
			if got := h["Cache-Control"]; !slices.Equal(got, []string{test.want}) || len(h) != 1 {
				t.Errorf("%v, want Cache-Control: %s alone", h, test.want)
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
