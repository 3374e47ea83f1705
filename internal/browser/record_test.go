package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// serve serves a site for one test: pages that behave and others.
func serve(t *testing.T) string {
	t.Helper()
	pages := map[string]string{
		"/form":   `<form action="/refused"><input name="name"><button>x</button></form>`,
		"/quiet":  `<p>quiet<img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">`,
		"/loud":   `<script>console.error("said", {a: 1}); console.log("fine"); Promise.reject(new Error("rejected")); nothing()</script>`,
		"/strict": `<p style="color:red">styled</p><img alt="" src="/picture"><script>document.title = "ran"</script>`,
		"/slow":   `<p>slow</p><img alt="" src="/late">`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/quiet", http.StatusSeeOther)
			return
		case "/refused":
			w.WriteHeader(http.StatusUnauthorized)
		case "/strict":
			w.Header().Set("Content-Security-Policy", "default-src 'none'")

		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!doctype html><title>x</title>"+pages[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestRecordOfRequests(t *testing.T) {
	tab := newTab(t)
	site := serve(t)
	record := tab.Record()
	for _, c := range []struct {
		path string
		want []string
	}{
		{"/quiet", []string{"Document /quiet 200"}},
		{"/redirect", []string{"Document /redirect 303", "Document /quiet 200"}},
		{"/refused", []string{"Document /refused 401"}},
		{"/slow", []string{"Document /slow 200", "Image /late 200"}},
		{"/strict", []string{"Document /strict 200", "Image /picture 0 csp"}},
	} {
		t.Run(c.path, func(t *testing.T) {
			record.Clear()
			tab.Visit(site + c.path)
			var got []string
			for _, q := range record.Requests() {
				got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %d %s", q.Type, strings.TrimPrefix(q.URL, site), q.Status, q.Failure)))
				if q.Failure == "" && (q.Bytes < 1 || q.Bytes > 1000) {
					t.Errorf("%s: %d bytes", q.URL, q.Bytes)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("requests %q, want %q", got, c.want)
			}
		})
	}
}

func TestRecordOfProblems(t *testing.T) {
	tab := newTab(t)
	site := serve(t)
	record := tab.Record()
	for _, c := range []struct {
		path string
		want []string // what each contains
	}{
		{"/quiet", nil},
		{"/refused", nil},
		{"/loud", []string{`error: "said"`, "ReferenceError: nothing", "Error: rejected"}},
		{"/strict", []string{"security: ", "security: ", "security: "}},
	} {
		t.Run(c.path, func(t *testing.T) {
			record.Clear()
			tab.Visit(site + c.path)
			got := record.Problems()
			if !slices.EqualFunc(got, c.want, strings.Contains) {
				t.Errorf("problems %q, want %q", got, c.want)
			}
		})
	}
}

func TestBack(t *testing.T) {
	tab := newTab(t)
	site := serve(t)
	tab.Visit(site + "/refused")
	tab.Visit(site + "/form")
	tab.Type("input", "kept")
	tab.Visit(site + "/quiet")
	if status := tab.Back(); tab.URL() != site+"/form" || status != 0 && status != 200 {
		t.Errorf("status %d at %s", status, tab.URL())
	}
	// Browsers keep no page with such a status.
	if status := tab.Back(); tab.URL() != site+"/refused" || status != 401 {
		t.Errorf("status %d at %s", status, tab.URL())
	}
	tab.Visit(site + "/form")
	Eval[string](tab, `location.hash = "part"`)
	if status := tab.Back(); tab.URL() != site+"/form" || status != 0 {
		t.Errorf("status %d at %s", status, tab.URL())
	}
}
