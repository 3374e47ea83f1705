package caddyauth

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/badgerstore"
)

// BenchmarkGate is what the gate costs on top of an empty handler: a fresh
// request and replacer as the server makes them, a browser's headers, a session
// in memory, no cookie renewal. The difference of the two rows is the gate.
func BenchmarkGate(b *testing.B) {
	gate, cookies := newBenchGate(b, RequireSession{})
	empty := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	b.Run("empty handler", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w, r := benchRequest(cookies)
			_ = empty.ServeHTTP(w, r)
		}
	})
	b.Run("gate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w, r := benchRequest(cookies)
			if err := gate.ServeHTTP(w, r, empty); err != nil {
				b.Fatal(err)
			}
		}
	})
	w, r := benchRequest(cookies)
	passed := false
	_ = gate.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { passed = true; return nil }))
	if !passed {
		b.Fatal("the gate refused the benchmark's request")
	}
}

// BenchmarkGateWithGroups adds one group line and one require line.
func BenchmarkGateWithGroups(b *testing.B) {
	gate, cookies := newBenchGate(b, RequireSession{
		Groups:  []string{"S-1-5-21-1-2-3-513"},
		Public:  []string{"/static/*"},
		Require: []PathRequirement{{Path: "/admin/*", Groups: []string{"S-1-5-21-1-2-3-1107"}}},
	})
	empty := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	b.ReportAllocs()
	for b.Loop() {
		w, r := benchRequest(cookies)
		if err := gate.ServeHTTP(w, r, empty); err != nil {
			b.Fatal(err)
		}
	}
}

// newBenchGate returns a gate over a real store with one session in it, and the
// Cookie header of its client.
func newBenchGate(b *testing.B, gate RequireSession) (*RequireSession, string) {
	b.Helper()
	store, err := badgerstore.Open(filepath.Join(b.TempDir(), "sessions"), badgerstore.Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	app := &App{
		logger: zap.NewNop(), audit: auditor{zap.NewNop()}, directories: []*configuredDirectory{unasked(b, "bench.test")},
		headerNames: defaultIdentityHeaders().names(),
		limits:      sessionstore.Limits{Idle: 1 << 40, Absolute: 1 << 42},
		store:       &storeHandle{ready: make(chan struct{})},
	}
	app.stripper = newStripper(app.headerNames)
	if app.cookies, err = newCookieConfig("sessionid", "", "lax", false, app.limits); err != nil {
		b.Fatal(err)
	}
	sessions := sessionstore.New(store, sessionstore.Options{}, slog.New(slog.DiscardHandler))
	b.Cleanup(func() { _ = sessions.Close() })
	app.store.sessions.Store(sessions)

	token, session, err := sessions.SignIn(context.Background(), sessionstore.User{
		Directory: "bench.test", ID: "1", Username: "juan", DisplayName: "Juan Pérez", Email: "juan@bench.test",
		Groups: []sessionstore.Group{{ID: "S-1-5-21-1-2-3-513"}, {ID: "S-1-5-21-1-2-3-1107"}, {ID: "S-1-5-32-545"}},
	}, "192.0.2.1", app.limits, nil)
	if err != nil {
		b.Fatal(err)
	}
	gate.site = &site{app: app, paths: defaultSignInPaths(), logger: zap.NewNop()}
	if err := gate.compile(); err != nil {
		b.Fatal(err)
	}
	return &gate, "theme=dark; sessionid=" + token.Value() + "; csrftoken=" + session.CSRF
}

// unasked is a configured directory that nobody asks.
func unasked(t testing.TB, label string) *configuredDirectory {
	t.Helper()
	directory, err := ldap.New(ldap.Config{Label: label, Servers: []string{"ldap://127.0.0.1:1"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = directory.Close() })
	return &configuredDirectory{configured: &Directory{Label: label}, directoryHandle: &directoryHandle{Directory: directory}}
}

func benchRequest(cookies string) (http.ResponseWriter, *http.Request) {
	r := &http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "intranet.bench.test",
		URL: &url.URL{Path: "/docs/index.html"}, RemoteAddr: "192.0.2.1:4711", Body: http.NoBody,
		Header: http.Header{
			"User-Agent":      {"Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0"},
			"Accept":          {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
			"Accept-Language": {"es-ES,es;q=0.8,en-US;q=0.5,en;q=0.3"},
			"Accept-Encoding": {"gzip, deflate, br, zstd"},
			"Connection":      {"keep-alive"},
			"Sec-Fetch-Dest":  {"document"},
			"Sec-Fetch-Mode":  {"navigate"},
			"Sec-Fetch-Site":  {"same-origin"},
			"Priority":        {"u=0, i"},
			"Referer":         {"https://intranet.bench.test/"},
			"Cookie":          {cookies},
		},
	}
	w := httptest.NewRecorder()
	return w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
}
