package attack

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A redirect to the sign-in page helps a person and nobody else: a program's
// client follows it and takes the page for its data, a post loses its body on
// the way, and a frame or picture shows it.
func TestB35OnlyNavigationsAreLedToTheSignInPage(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	html := []string{"Accept", browser}
	with := func(fields ...string) []string { return append(fields, html...) }
	for _, row := range []struct {
		name, method string
		fields       []string
		led          bool
	}{
		{"a browser without fetch metadata", "GET", html, true},
		{"its HEAD", "HEAD", html, true},
		{"a navigation", "GET", with("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"), true},
		{"a frame's navigation", "GET", with("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"), true},
		{"a fetch", "GET", with("Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"), false},
		{"a fetch of the own origin", "GET", with("Sec-Fetch-Mode", "same-origin"), false},
		{"a picture", "GET", with("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"), false},
		{"a script of a page that accepts all", "GET", with("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"), false},
		{"a service worker's navigation", "GET", with("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "serviceworker"), false},
		{"two modes", "GET", with("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Mode", "cors"), false},
		{"a WebSocket", "GET", with("Connection", "Upgrade", "Upgrade", "websocket", "Sec-Fetch-Mode", "websocket"), false},
		{"a WebSocket without fetch metadata", "GET", with("Connection", "Upgrade", "Upgrade", "websocket"), false},
		{"a form", "POST", with("Content-Type", csrfForm), false},
		{"a form's navigation", "POST", with("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"), false},
		{"PUT", "PUT", html, false},
		{"DELETE", "DELETE", html, false},
		{"OPTIONS", "OPTIONS", html, false},
		{"an unknown method", "get", html, false},
		{"an API client", "GET", []string{"Accept", "application/json"}, false},
		{"curl", "GET", []string{"Accept", "*/*"}, false},
		{"curl that poses as a browser", "GET", []string{"Accept", "*/*", "User-Agent", "Mozilla/5.0"}, false},
		{"a client that accepts nothing", "GET", nil, false},
		{"a client that refuses pages", "GET", []string{"Accept", "text/html;q=0, application/json"}, false},
		{"an event stream", "GET", []string{"Accept", "text/event-stream"}, false},
		{"text in general", "GET", []string{"Accept", "text/*"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := s.do(t, row.method, "/a/b?c=d&e=%20f", "", row.fields...)
			if row.led {
				want := "/accounts/login/?next=" + url.QueryEscape("/a/b?c=d&e=%20f")
				if r.status != http.StatusSeeOther || r.header.Get("Location") != want || r.body != "" {
					t.Errorf("got %d to %q, want 303 to %q", r.status, r.header.Get("Location"), want)
				}
				return
			}
			if r.status != http.StatusUnauthorized || r.header.Get("Location") != "" || r.header.Get("Www-Authenticate") != "" {
				t.Errorf("got %d %v, want 401", r.status, r.header)
			}
			// A post by navigation gets a page that says so; programs get JSON.
			if !strings.Contains(r.header.Get("Content-Type"), "text/html") && r.body != unauthenticated {
				t.Errorf("got %q", r.body)
			}
			if strings.HasPrefix(row.name, "a fetch") || strings.HasPrefix(row.name, "curl") || strings.Contains(row.name, "client") || strings.Contains(row.name, "WebSocket") {
				wantRefused(t, r)
			}
		})
	}
	s.wantNothingUpstream(t)
}
