package caddyauth

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
	"github.com/caddyauth/caddy-ldap/throttle"
)

func TestRoundUp(t *testing.T) {
	for _, row := range []struct {
		d, unit time.Duration
		want    int64
	}{
		{0, time.Second, 1},
		{-time.Hour, time.Second, 1},
		{1, time.Second, 1},
		{time.Second, time.Second, 1},
		{time.Second + 1, time.Second, 2},
		{15*time.Minute - 1, time.Second, 900},
		{time.Second, time.Minute, 1},
		{time.Minute + time.Second, time.Minute, 2},
		{math.MaxInt64, time.Second, 9223372037},
		{math.MinInt64, time.Minute, 1},
	} {
		if got := roundUp(row.d, row.unit); got != row.want {
			t.Errorf("%v in units of %v: %d, want %d", row.d, row.unit, got, row.want)
		}
	}
}

// TestThrottledSignIn: 429 in the form that the client asked for, and an audit
// line that does not name what was typed.
func TestThrottledSignIn(t *testing.T) {
	renderer, err := pages.New(pages.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const typed = "hunter2-in-the-wrong-field"
	api := httptest.NewRequest("POST", "/api/login-ldap/", nil)
	program := httptest.NewRequest("POST", "/accounts/login/", nil)
	program.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	browser := func(language string) *http.Request {
		r := httptest.NewRequest("POST", "/accounts/login/", nil)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Accept-Language", language)
		navigation(r)
		return r
	}
	const body = `{"status":"error","message":"Demasiados intentos","code":"too_many_attempts"}`
	for _, row := range []struct {
		name, retryAfter, text string
		r                      *http.Request
		after                  time.Duration
	}{
		{"API", "900", body, api, 15 * time.Minute},
		{"program with a form", "1", body, program, 0},
		{"rest of a second", "62", body, api, 61*time.Second + 1},
		{"browser in Spanish", "840", "Inténtelo de nuevo dentro de 14 minutos.", browser("es"), 14 * time.Minute},
		{"browser in English, less than a minute", "59", "Please try again in one minute.", browser("en"), 59 * time.Second},
		{"browser in English, more than a minute", "61", "Please try again in 2 minutes.", browser("en"), 61 * time.Second},
		{"browser in Portuguese", "60", "Tente novamente em um minuto.", browser("pt"), time.Minute},
		{"browser in French", "120", "Veuillez réessayer dans 2 minutes.", browser("fr"), 2 * time.Minute},
		{"browser in German", "1", "Bitte versuchen Sie es in einer Minute erneut.", browser("de"), -time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			core, audited := observer.New(zap.InfoLevel)
			app := &App{cookies: *cookiesOf(t, ""), stripper: newStripper(nil), pages: renderer, audit: auditor{zap.New(core)}}
			s := &site{app: app, paths: defaultSignInPaths()}
			recorder := httptest.NewRecorder()
			w, q := s.begin(recorder, row.r)
			s.own(row.r, q)
			q.signing = new(signingIn)
			if err := s.refuseThrottled(w, row.r, q, s.signInForm(credentials{username: typed, next: "/docs"}),
				proof{directory: unasked(t, "corp.test")}, &throttle.BlockedError{RetryAfter: row.after}); err != nil {
				t.Fatal(err)
			}
			got := recorder.Result()
			if got.StatusCode != 429 || got.Header.Get("Retry-After") != row.retryAfter || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v", got.StatusCode, got.Header)
			}
			page := strings.HasPrefix(got.Header.Get("Content-Type"), "text/html")
			if page {
				for _, want := range []string{row.text, `value="` + typed + `"`, `value="/docs"`, `name="csrfmiddlewaretoken"`} {
					if !strings.Contains(recorder.Body.String(), want) {
						t.Errorf("the page does not have %s:\n%s", want, recorder.Body)
					}
				}
			} else if recorder.Body.String() != row.text {
				t.Errorf("got %s, want %s", recorder.Body, row.text)
			}
			lines := audited.All()
			if len(lines) != 1 {
				t.Fatalf("%d audit lines", len(lines))
			}
			line := lines[0].ContextMap()
			for key, want := range map[string]any{"event": "sign_in", "result": "refused", "reason": "throttled", "directory": "corp.test", "user": nil} {
				if line[key] != want {
					t.Errorf("the audit line has %s %v, want %v", key, line[key], want)
				}
			}
		})
	}
}
