package caddyauth

import (
	"encoding/json"
	"math"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
	"github.com/caddyauth/caddy-ldap/ldap"
)

// TestWelcome: only a person who signed in with an expired password is stopped
// on the way, and only long enough to be told.
func TestWelcome(t *testing.T) {
	renderer, err := pages.New(pages.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const link = "https://password.test/"
	expired, expires := &ldap.PasswordWarning{GraceSignIns: 2}, &ldap.PasswordWarning{GraceSignIns: -1, ExpiresIn: time.Hour}
	for _, row := range []struct {
		name, path, next string
		browser          bool
		warning          *ldap.PasswordWarning
		status           int
		location         string
		body             []string
	}{
		{"browser, nothing to say", "/accounts/login/", "/docs?a=b", true, nil, 303, "/docs?a=b", nil},
		{"browser, will expire", "/accounts/login/", "/docs", true, expires, 303, "/docs", nil},
		{"browser, expired", "/accounts/login/", "/docs?a=b&c=d", true, expired, 200, "", []string{"2 sign-ins with it are left", `href="/docs?a=b&amp;c=d"`, `href="` + link + `"`}},
		{"browser, expired, without a target", "/accounts/login/", "", true, expired, 200, "", []string{`href="/"`}},
		{"browser, expired, to another site", "/accounts/login/", "https://evil.test/", true, expired, 200, "", []string{`href="/"`}},
		{"browser, expired, to a script", "/accounts/login/", "javascript:alert(1)", true, expired, 200, "", []string{`href="/"`}},
		{"browser, expired, to the sign-out", "/accounts/login/", "/api/logout/", true, expired, 200, "", []string{`href="/"`}},
		{"program with a form", "/accounts/login/", "/docs", false, expired, 200, "", []string{`"warning":"password_expires","grace_sign_ins":2}`}},
		{"API from a browser's page", "/api/login-ldap/", "", true, expired, 200, "", []string{`"warning":"password_expires","grace_sign_ins":2}`}},
		{"API, will expire", "/api/login-ldap/", "", false, expires, 200, "", []string{`"warning":"password_expires","expires_in":3600}`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", row.path, nil)
			r.Header.Set("Accept-Language", "en")
			if row.browser {
				navigation(r)
			}
			s := &site{app: &App{cookies: *cookiesOf(t, ""), stripper: newStripper(nil), pages: renderer}, paths: defaultSignInPaths()}
			recorder := httptest.NewRecorder()
			w, q := s.begin(recorder, r)
			q.signing = new(signingIn)
			if err := s.welcome(w, r, q, row.next, proof{
				identity: &ldap.Identity{FirstName: "Juan", Warning: row.warning}, directory: &configuredDirectory{configured: &Directory{PasswordURL: link}},
			}); err != nil {
				t.Fatal(err)
			}
			got := recorder.Result()
			if got.StatusCode != row.status || got.Header.Get("Location") != row.location || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v", got.StatusCode, got.Header)
			}
			for _, want := range row.body {
				if !strings.Contains(recorder.Body.String(), want) {
					t.Errorf("the answer does not have %s:\n%s", want, recorder.Body)
				}
			}
			if strings.Contains(recorder.Body.String(), "evil.test") || strings.Contains(recorder.Body.String(), "javascript:") {
				t.Errorf("the answer leads away:\n%s", recorder.Body)
			}
		})
	}
}

func TestWarningInTheAnswerToASignIn(t *testing.T) {
	const before = `{"status":"ok","message":"Login exitoso","first_name":"Juan","last_name":"Pérez"`
	for _, row := range []struct {
		name    string
		warning *ldap.PasswordWarning
		want    string
	}{
		{"none", nil, `}`},
		{"sign-ins left", &ldap.PasswordWarning{GraceSignIns: 3}, `,"warning":"password_expires","grace_sign_ins":3}`},
		{"none left", &ldap.PasswordWarning{GraceSignIns: 0}, `,"warning":"password_expires","grace_sign_ins":0}`},
		{"will expire", &ldap.PasswordWarning{GraceSignIns: -1, ExpiresIn: 36 * time.Hour}, `,"warning":"password_expires","expires_in":129600}`},
		{"will expire at once", &ldap.PasswordWarning{GraceSignIns: -1, ExpiresIn: 1}, `,"warning":"password_expires","expires_in":1}`},
		{"nothing known but that", &ldap.PasswordWarning{GraceSignIns: -1}, `,"warning":"password_expires"}`},
		{"numbers that make no sense", &ldap.PasswordWarning{GraceSignIns: math.MinInt, ExpiresIn: -time.Hour}, `,"warning":"password_expires"}`},
		{"huge numbers", &ldap.PasswordWarning{GraceSignIns: math.MaxInt32, ExpiresIn: math.MaxInt64}, `,"warning":"password_expires","grace_sign_ins":2147483647,"expires_in":9223372036}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := json.Marshal(signInOKOf(&ldap.Identity{FirstName: "Juan", LastName: "Pérez", Warning: row.warning}))
			if err != nil || string(got) != before+row.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, before+row.want)
			}
		})
	}
}

func TestWhoGetsTheWarningPage(t *testing.T) {
	for _, row := range []struct {
		name    string
		warning *ldap.PasswordWarning
		want    bool
	}{
		{"no warning", nil, false},
		{"will expire", &ldap.PasswordWarning{GraceSignIns: -1, ExpiresIn: time.Hour}, false},
		{"sign-ins left", &ldap.PasswordWarning{GraceSignIns: 2}, true},
		{"that was the last", &ldap.PasswordWarning{GraceSignIns: 0}, true},
		{"a number that makes no sense", &ldap.PasswordWarning{GraceSignIns: -7}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			page, ok := warningPage(row.warning, "/docs", "https://password.test/")
			if ok != row.want {
				t.Fatalf("a page: %v, want %v", ok, row.want)
			}
			want := pages.Page{}
			if ok {
				want = pages.Page{Kind: pages.PasswordWarning, Next: "/docs", PasswordURL: "https://password.test/", GraceSignIns: row.warning.GraceSignIns}
			}
			if !reflect.DeepEqual(page, want) {
				t.Errorf("got %+v, want %+v", page, want)
			}
		})
	}
}
