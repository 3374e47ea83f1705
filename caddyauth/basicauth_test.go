package caddyauth

import (
	"net/http"
	"strings"
	"testing"
)

// Caddy's own authentication handler once took a provider that failed for one
// that says no, and asked the next. A gate beside basic_auth stands for itself:
// neither password nor session replaces the other, and a store that is down is
// a 503 whatever else is sent.
func TestP28StoreDownBesideBasicAuth(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := start(t, setup{storage: storage, site: `require_session
	basic_auth {
		bob $2a$04$p7fPnZq5EJMXVFT09RaqwuPHvDP.k/hln/LIVa84.zlqlYIAFZZ76
	}
	handle_errors {
		respond "error route" 200
	}
	reverse_proxy UPSTREAM`})
	c := s.signIn("ac12345")
	basic := func(password string) change { return func(r *http.Request) { r.SetBasicAuth("bob", password) } }
	unknown := header("Cookie", "sessionid="+strings.Repeat("A", 43))

	want(t, s.do("GET", "/x", basic("hiccup")), 401, bodyAuthenticationRequired)
	want(t, s.do("GET", "/x", basic("hiccup"), unknown), 401, bodyAuthenticationRequired)
	want(t, s.do("GET", "/x", c.cookies, basic("hiccup")), 200, "upstream")
	for _, changes := range [][]change{{c.cookies}, {c.cookies, basic("wrong")}} {
		if got := s.do("GET", "/x", changes...); got.body != "error route" {
			t.Errorf("with a session and no password: %d %s", got.StatusCode, got.body)
		}
	}
	faults.down.Store(true)
	reached := s.upstream.count()
	for _, changes := range [][]change{{unknown}, {unknown, basic("hiccup")}, {unknown, basic("wrong")}, {unknown, basic("hiccup"), navigation}} {
		if got := s.do("GET", "/x", changes...); got.StatusCode != 503 || got.Header.Get("Retry-After") == "" || got.Header.Get("Www-Authenticate") != "" || strings.Contains(got.body, "error route") {
			t.Errorf("while the store is down: %d %v %s", got.StatusCode, got.Header, got.body)
		}
	}
	if s.upstream.count() != reached {
		t.Error("the upstream was reached while the store is down")
	}
}
