package caddyauth

import (
	"net/http"
	"testing"
)

// TestNavigation is who gets a page and who gets JSON.
func TestNavigation(t *testing.T) {
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, test := range []struct {
		name       string
		method     string
		mode, dest string
		accept     string
		extra      change
		page, lead bool // wantsPage, isNavigation
	}{
		{name: "browser over TLS", mode: "navigate", dest: "document", accept: browser, page: true, lead: true},
		{name: "browser in a frame", mode: "navigate", dest: "iframe", accept: browser, page: true, lead: true},
		{name: "browser over plain HTTP", accept: browser, page: true, lead: true},
		{name: "HEAD", method: "HEAD", accept: browser, page: true, lead: true},
		{name: "form post", method: "POST", mode: "navigate", dest: "document", accept: browser, page: true},
		{name: "lower-case get is another method", method: "get", accept: browser, page: true},
		{name: "fetch", mode: "cors", dest: "empty", accept: "*/*"},
		{name: "fetch that asks for HTML", mode: "cors", dest: "empty", accept: browser},
		{name: "same-origin fetch that asks for HTML", mode: "same-origin", dest: "empty", accept: browser},
		{name: "image", mode: "no-cors", dest: "image", accept: "image/avif,image/webp,*/*;q=0.8"},
		{name: "script", mode: "no-cors", dest: "script", accept: "*/*"},
		{name: "navigation to a service worker's script", mode: "navigate", dest: "script", accept: browser},
		{name: "navigation without Accept", mode: "navigate", dest: "document", page: true, lead: true},
		{name: "navigation without a destination", mode: "navigate", page: true, lead: true},
		{name: "websocket mode", mode: "websocket", dest: "empty"},
		{name: "empty mode", mode: "-", accept: browser},
		{name: "curl", accept: "*/*"},
		{name: "requests without Accept"},
		{name: "JSON client", accept: "application/json, text/plain, */*"},
		{name: "HTML refused", accept: "text/html;q=0, */*"},
		{name: "HTML refused, long", accept: "text/html ; level=1 ; Q = 0.000"},
		{name: "HTML hardly wanted", accept: "text/html;q=0.001", page: true, lead: true},
		{name: "XHTML", accept: "APPLICATION/xhtml+xml", page: true, lead: true},
		{name: "part of a name", accept: "text/html2"},
		{name: "websocket with a page's Accept", accept: browser, extra: websocketHandshake, page: true},
		{name: "a browser's User-Agent alone", accept: "*/*", extra: header("User-Agent", "Mozilla/5.0 Firefox/146.0")},
		{name: "curl's User-Agent with a page's Accept", accept: browser, extra: header("User-Agent", "curl/8"), page: true, lead: true},
		{name: "two modes", accept: browser, extra: header("Sec-Fetch-Mode", "navigate", "cors")},
	} {
		t.Run(test.name, func(t *testing.T) {
			method := test.method
			if method == "" {
				method = "GET"
			}
			r := &http.Request{Method: method, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}
			if test.mode == "-" {
				r.Header["Sec-Fetch-Mode"] = []string{""}
			} else if test.mode != "" {
				r.Header.Set("Sec-Fetch-Mode", test.mode)
			}
			if test.dest != "" {
				r.Header.Set("Sec-Fetch-Dest", test.dest)
			}
			if test.accept != "" {
				r.Header.Set("Accept", test.accept)
			}
			if test.extra != nil {
				test.extra(r)
			}
			if page, lead := wantsPage(r), isNavigation(r); page != test.page || lead != test.lead {
				t.Errorf("wantsPage %v, isNavigation %v, want %v, %v", page, lead, test.page, test.lead)
			}
		})
	}
}

func websocketHandshake(r *http.Request) {
	r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
}

// TestUpgrades: only a whole handshake is one, so that a header alone makes no
// form post pass for it.
func TestUpgrades(t *testing.T) {
	for _, test := range []struct {
		name             string
		method           string
		proto            int
		header           http.Header
		upgrade, connect bool
	}{
		{"handshake", "GET", 1, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, true, false},
		{"in other case, among others", "GET", 1, http.Header{"Connection": {"keep-alive", "x, upgrade"}, "Upgrade": {" WebSocket "}}, true, false},
		{"post", "POST", 1, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, false, false},
		{"without Connection", "GET", 1, http.Header{"Upgrade": {"websocket"}}, false, false},
		{"another Connection", "GET", 1, http.Header{"Connection": {"upgrades"}, "Upgrade": {"websocket"}}, false, false},
		{"over HTTP/2", "GET", 2, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, false, false},
		{"h2c", "GET", 1, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"h2c"}}, false, false},
		{"two protocols", "GET", 1, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket", "h2c"}}, false, false},
		{"extended CONNECT", "CONNECT", 2, http.Header{":protocol": {"websocket"}}, true, true},
		{"extended CONNECT of another", "CONNECT", 2, http.Header{":protocol": {"connect-udp"}}, false, false},
		{"CONNECT", "CONNECT", 1, http.Header{}, false, false},
		{"pseudo-header of a GET", "GET", 2, http.Header{":protocol": {"websocket"}}, false, false},
	} {
		r := &http.Request{Method: test.method, ProtoMajor: test.proto, Header: test.header}
		if got := isUpgrade(r); got != test.upgrade {
			t.Errorf("%s: isUpgrade = %v", test.name, got)
		}
		if got := isWebSocketConnect(r); got != test.connect {
			t.Errorf("%s: isWebSocketConnect = %v", test.name, got)
		}
	}
}
