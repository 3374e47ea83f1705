package caddyauth

import (
	"net/http"
	"strings"
	"testing"
)

func TestPreflightAnswers(t *testing.T) {
	long := strings.Repeat("x-a,", 2000) + "x-b"
	for _, test := range []struct {
		name, want string
		asked      []string
	}{
		{"none asked", corsHeaders, nil},
		{"some asked", "content-type,x-csrftoken", []string{"content-type,x-csrftoken"}},
		{"two lines", "content-type,x-a", []string{"content-type", "x-a"}},
		{"header splitting", corsHeaders, []string{"x-a\r\nSet-Cookie: b"}},
		{"no token", corsHeaders, []string{"x a"}},
		{"wildcard is a name", "*", []string{"*"}},
		{"absurdly many", corsHeaders, []string{long}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{}
			r := &http.Request{Method: "OPTIONS", Header: http.Header{}}
			if test.asked != nil {
				r.Header["Access-Control-Request-Headers"] = test.asked
			}
			allowPreflight(h, r)
			if got := h.Get("Access-Control-Allow-Headers"); got != test.want {
				t.Errorf("Allow-Headers: %q, want %q", got, test.want)
			}
			if h.Get("Access-Control-Allow-Methods") != corsMethods || h.Get("Access-Control-Max-Age") != corsMaxAge {
				t.Errorf("headers %v", h)
			}
		})
	}
}

func TestIsPreflight(t *testing.T) {
	for _, test := range []struct {
		method, origin, asked string
		want                  bool
	}{
		{"OPTIONS", "https://a.test", "POST", true},
		{"GET", "https://a.test", "POST", false},
		{"OPTIONS", "", "POST", false},
		{"OPTIONS", "https://a.test", "", false},
	} {
		r := &http.Request{Method: test.method, Header: http.Header{}}
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		if test.asked != "" {
			r.Header.Set("Access-Control-Request-Method", test.asked)
		}
		if got := isPreflight(r); got != test.want {
			t.Errorf("isPreflight(%+v) = %v", test, got)
		}
	}
}

func TestCORSOnTheWire(t *testing.T) {
	const app, evil = "https://app.trusted.test", "https://evil.test"
	s := start(t, setup{auth: "trusted_origins " + app + " https://*.wild.test", site: "require_session {\npublic /public/*\n}\nreverse_proxy UPSTREAM"})
	s.upstream.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		_, _ = w.Write([]byte("upstream"))
	})
	c := s.signIn("ac12345")
	cors := func(r reply) string {
		return r.Header.Get("Access-Control-Allow-Origin") + "|" + r.Header.Get("Access-Control-Allow-Credentials")
	}
	// Where there are trusted origins every gated answer depends on the Origin.
	varies := func(r reply) bool { return strings.Contains(strings.Join(r.Header["Vary"], ", "), "Origin") }
	preflight := header("Access-Control-Request-Method", "POST")

	for _, test := range []struct {
		name, method, path, origin string
		changes                    []change
		status                     int
		cors                       string
	}{
		{"trusted", "GET", "/x", app, []change{c.cookies}, 200, app + "|true"},
		{"trusted by a wildcard", "GET", "/x", "https://a.wild.test", []change{c.cookies}, 200, "https://a.wild.test|true"},
		{"trusted, refused for want of a session", "GET", "/x", app, nil, 401, app + "|true"},
		{"trusted, refused for want of a token", "POST", "/x", app, []change{c.cookies}, 403, app + "|true"},
		{"trusted, with the token", "POST", "/x", app, []change{c.shown}, 200, app + "|true"},
		{"foreign", "GET", "/x", evil, []change{c.cookies}, 200, "*|"},
		{"foreign, refused", "GET", "/x", evil, nil, 401, "|"},
		{"null", "GET", "/x", "null", []change{c.cookies}, 200, "*|"},
		{"own", "GET", "/x", s.base, []change{c.cookies}, 200, "*|"},
		{"no origin", "GET", "/x", "", []change{c.cookies}, 200, "*|"},
		{"public path, trusted", "GET", "/public/x", app, nil, 200, "*|true"},
		{"public path, foreign", "GET", "/public/x", evil, nil, 200, "*|true"},
		{"public path, preflight", "OPTIONS", "/public/x", app, []change{preflight}, 200, "*|true"},
		{"preflight of a trusted", "OPTIONS", "/x", app, []change{preflight}, 200, app + "|true"},
		{"preflight of a foreign", "OPTIONS", "/x", evil, []change{preflight}, 401, "|"},
		{"preflight of a foreign with a session", "OPTIONS", "/x", evil, []change{preflight, c.cookies}, 200, "*|"},
		{"OPTIONS of a trusted that is no preflight", "OPTIONS", "/x", app, nil, 401, app + "|true"},
		{"sign-in of a trusted", "POST", "/api/login-ldap/", app, []change{jsonBody(goodJSON)}, 200, app + "|true"},
		{"sign-in of a foreign", "POST", "/api/login-ldap/", evil, []change{jsonBody(goodJSON)}, 403, "|"},
		{"preflight of a sign-in", "OPTIONS", "/api/login-ldap/", app, []change{preflight}, 200, app + "|true"},
		{"preflight of a foreign sign-in", "OPTIONS", "/api/login-ldap/", evil, []change{preflight}, 200, "|"},
		{"session of a trusted", "GET", "/api/session/", app, []change{c.cookies}, 200, app + "|true"},
		{"own sessions of a trusted", "GET", "/accounts/sessions/", app, []change{c.cookies}, 200, app + "|true"},
		{"own sessions of a foreign", "GET", "/accounts/sessions/", evil, []change{c.cookies}, 200, "|"},
		{"ending sessions of a trusted", "POST", "/accounts/sessions/", app, []change{c.shown, jsonBody(`{"end":"others"}`)}, 200, app + "|true"},
		{"ending sessions of a foreign", "POST", "/accounts/sessions/", evil, []change{c.shown, jsonBody(`{"end":"others"}`)}, 403, "|"},
		{"preflight of own sessions", "OPTIONS", "/accounts/sessions/", app, []change{preflight}, 200, app + "|true"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := s.upstream.count()
			changes := test.changes
			if test.origin != "" {
				changes = append(changes[:len(changes):len(changes)], header("Origin", test.origin))
			}
			got := s.do(test.method, test.path, changes...)
			if got.StatusCode != test.status || cors(got) != test.cors || varies(got) == strings.HasPrefix(test.path, "/public/") {
				t.Errorf("%d, %q, Vary %q, want %d, %q", got.StatusCode, cors(got), got.Header["Vary"], test.status, test.cors)
			}
			if strings.HasPrefix(test.name, "preflight of a trusted") {
				if got.body != `{"status":"ok"}` || s.upstream.count() != before || got.Header.Get("Access-Control-Allow-Methods") != corsMethods || len(got.Header["Set-Cookie"]) != 0 {
					t.Errorf("the preflight is answered with %q, %v", got.body, got.Header)
				}
			}
		})
	}
}
