package pages

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// gallery serves every page there is: /<kind>?code=<code>&lang=<language>, with
// &next=<address> for another next address. It keeps what forms post, and leaves
// the browser on their page.
type gallery struct {
	url string

	mu    sync.Mutex
	asked []string
	posts chan url.Values
}

// serveGallery serves the pages until the test ends. What the pages show is that
// of full, with a little more where a code asks for it.
func serveGallery(t *testing.T, p *Pages) *gallery {
	t.Helper()
	g := &gallery{posts: make(chan url.Values, 8)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.asked = append(g.asked, r.URL.RequestURI())
		g.mu.Unlock()
		if r.Method == http.MethodPost {
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
			g.posts <- r.PostForm
			w.WriteHeader(http.StatusNoContent)
			return
		}
		query := r.URL.Query()
		page := shownPage(Kind(strings.TrimPrefix(r.URL.Path, "/")), query.Get("code"))
		if query.Has("next") {
			page.Next = query.Get("next")
		}
		if err := p.Write(w, Reader{Chosen: query.Get("lang")}, http.StatusOK, page); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

// address is where the page is.
func (g *gallery) address(kind Kind, code, language string) string {
	return g.url + "/" + string(kind) + "?code=" + code + "&lang=" + language
}

// requests are all that came, of the browser's own accord too, since it was
// asked last.
func (g *gallery) requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	asked := g.asked
	g.asked = nil
	return asked
}

func shownPage(kind Kind, code string) Page {
	page := full(kind, code)
	page.GraceSignIns, page.Detail = 2, "logon_hours"
	if code == "too_many_attempts" {
		page.RetryMinutes = 15
	}
	return page
}

// wholeBranding is all that a site can show of itself, with a logo.
func wholeBranding() Branding {
	branding := fullBranding()
	branding.Logo = []byte(plainSVG)
	return branding
}

// codesOf are the codes that a page of that kind can be written with.
func codesOf(kind Kind) []string {
	switch kind {
	case SignIn:
		return []string{"", "invalid_credentials", "password_expired", "password_must_change", "account_restricted",
			"too_many_attempts", "directory_unavailable", "store_unavailable"}
	case SignedIn:
		return []string{"", "invalid_credentials"}
	case SignedOut, PasswordWarning, Sessions:
		return []string{""}
	case Forbidden:
		return []string{"csrf_failed", "origin_not_trusted", "ip_not_allowed", "group_required", "path_ambiguous"}
	case HTTPSRequired:
		return []string{"https_required"}
	case Unavailable:
		return []string{"directory_unavailable", "store_unavailable"}
	case Reauthenticate:
		return []string{"reauthentication_required"}
	case SessionEnded:
		return []string{"authentication_required"}
	case Refused:
		return []string{"method_not_allowed", "body_too_large", "unsupported_media_type", "invalid_json", "other"}
	}
	return nil
}

// A page or a text that is new has to be among those that the browser looks at.
func TestGalleryHasEveryPageAndEveryCode(t *testing.T) {
	listed := make(map[string]bool)
	for _, kind := range kinds() {
		codes := codesOf(kind)
		if len(codes) == 0 {
			t.Errorf("no codes are named for the page %q", kind)
		}
		for _, code := range codes {
			listed["code."+code] = true
		}
	}
	for key := range english() {
		if strings.HasPrefix(key, "code.") && !listed[key] {
			t.Errorf("no page of the gallery has the text %q", key)
		}
	}
}

// Acceptance check L2: what a configuration and a person's sessions add is not
// counted.
func TestEveryPageIsSmall(t *testing.T) {
	const limit = 8000
	branding := fullBranding()
	branding.Notice = nil
	p := newPagesWith(t, Options{Branding: branding})
	for _, kind := range kinds() {
		for _, code := range codesOf(kind) {
			for _, language := range everyLanguage() {
				page := shownPage(kind, code)
				page.Sessions = nil
				w := httptest.NewRecorder()
				if err := p.Write(w, Reader{Chosen: language}, http.StatusOK, page); err != nil {
					t.Fatal(err)
				}
				if size := w.Body.Len(); size > limit {
					t.Errorf("%s %s in %s has %d bytes, more than %d", kind, code, language, size, limit)
				}
			}
		}
	}
}
