package caddyauth

import (
	"context"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestTrustedIPs(t *testing.T) {
	for _, test := range []struct {
		list, addr string
		want       bool
	}{
		{"10.0.0.0/8", "10.1.2.3", true},
		{"10.0.0.0/8", "11.0.0.1", false},
		{"10.0.0.0/8", "::ffff:10.1.2.3", true},
		{"::ffff:10.0.0.0/104", "10.1.2.3", true},
		{"::ffff:10.0.0.0/104", "11.1.2.3", false},
		{"10.1.2.3", "10.1.2.3", true},
		{"10.1.2.3", "10.1.2.4", false},
		{"::ffff:10.1.2.3", "10.1.2.3", true},
		{"10.1.2.3/8", "10.9.9.9", true},
		{"fd00::/8", "fd12::1", true},
		{"fe80::/10", "fe80::1%eth0", true},
		{"fe80::1%eth0", "fe80::1%eth1", true},
		{"2001:db8::/32", "2001:db9::1", false},
		{"::/0", "2001:db9::1", true},
		{"::/0", "10.0.0.1", false},
		{"0.0.0.0/0", "10.0.0.1", true},
		{"private_ranges", "127.0.0.1", true},
		{"private_ranges", "::1", true},
		{"private_ranges", "192.168.3.4", true},
		{"private_ranges", "172.31.0.1", true},
		{"private_ranges", "fd00::1", true},
		{"private_ranges", "8.8.8.8", false},
		{"private_ranges", "172.32.0.1", false},
		{"192.0.2.0/24 private_ranges", "192.0.2.7", true},
		{"0.0.0.0/0 ::/0", "", false},
		{"0.0.0.0/0 ::/0", "@", false},
		{"10.0.0.0/8", "10.0.0.1:80", false},
	} {
		ips, err := parseTrustedIPs(strings.Fields(test.list))
		if err != nil {
			t.Errorf("%q: %v", test.list, err)
			continue
		}
		p := policy{ips: ips}
		r := requestFrom(t, "GET", "http://site.test/", map[string]any{caddyhttp.ClientIPVarKey: test.addr})
		if got, _ := p.ipAllowed(r); got != test.want {
			t.Errorf("trusted_ips %s admits %q: %v, want %v", test.list, test.addr, got, test.want)
		}
	}
	for _, bad := range []string{"", "x", "10.0.0.0/33", "10.0.0.0/", "10.0.0", "10.0.0.0/-1", "fe80::%eth0/64", "localhost", "10.0.0.1-10.0.0.9", "private", "Private_ranges", "10.0.0.0/8,11.0.0.0/8"} {
		if _, err := parseTrustedIPs([]string{bad}); err == nil {
			t.Errorf("trusted_ips %q is accepted", bad)
		} else if !strings.Contains(err.Error(), "trusted_ips") {
			t.Errorf("the error for %q does not name the option: %v", bad, err)
		}
	}
	if _, err := parseTrustedIPs([]string{}); err == nil {
		t.Error("an empty list is accepted")
	}
	if allowed, _ := (&policy{}).ipAllowed(requestFrom(t, "GET", "http://site.test/", nil)); !allowed {
		t.Error("without trusted_ips an address is refused")
	}
}

// TestAddressThatTheClientChose: behind a trusted proxy that is not strict
// nobody passes, whatever the address seems to be.
func TestAddressThatTheClientChose(t *testing.T) {
	ips, err := parseTrustedIPs([]string{"0.0.0.0/0"})
	if err != nil {
		t.Fatal(err)
	}
	p := policy{ips: ips}
	for name, test := range map[string]struct {
		proxy           bool
		server          any
		allowed, chosen bool
	}{
		"no proxy":                {allowed: true},
		"strict proxy":            {proxy: true, server: &caddyhttp.Server{TrustedProxiesStrict: 1}, allowed: true},
		"loose proxy":             {proxy: true, server: &caddyhttp.Server{}, chosen: true},
		"proxy of unknown server": {proxy: true, chosen: true},
	} {
		r := requestFrom(t, "GET", "http://site.test/", map[string]any{caddyhttp.ClientIPVarKey: "10.0.0.1", caddyhttp.TrustedProxyVarKey: test.proxy})
		if test.server != nil {
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, test.server))
		}
		if allowed, chosen := p.ipAllowed(r); allowed != test.allowed || chosen != test.chosen {
			t.Errorf("%s: ipAllowed = %v, %v", name, allowed, chosen)
		}
	}
}

func TestPeerIsLoopback(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true, "10.0.0.1:1": false, "@": false, "": false, "127.0.0.1": false} {
		r := requestFrom(t, "GET", "http://site.test/", nil)
		r.RemoteAddr = addr
		if got := peerIsLoopback(r); got != want {
			t.Errorf("peerIsLoopback(%q) = %v, want %v", addr, got, want)
		}
	}
}

// TestSecureEnough: a password comes over TLS, or from this machine itself.
func TestSecureEnough(t *testing.T) {
	for name, test := range map[string]struct {
		tls, insecure bool
		peer          string
		header        string
		want          bool
	}{
		"TLS from afar":               {tls: true, peer: "192.0.2.1:1", want: true},
		"plain from afar":             {peer: "192.0.2.1:1"},
		"insecure_http from afar":     {insecure: true, peer: "192.0.2.1:1", want: true},
		"loopback":                    {peer: "127.0.0.1:1", want: true},
		"loopback, X-Forwarded-For":   {peer: "127.0.0.1:1", header: "X-Forwarded-For"},
		"loopback, X-Forwarded-Proto": {peer: "127.0.0.1:1", header: "X-Forwarded-Proto"},
		"loopback, X-Forwarded-Host":  {peer: "127.0.0.1:1", header: "X-Forwarded-Host"},
		"loopback, Forwarded":         {peer: "127.0.0.1:1", header: "Forwarded"},
		"loopback, Via":               {peer: "127.0.0.1:1", header: "Via"},
		"loopback, X-Real-IP":         {peer: "127.0.0.1:1", header: "X-Real-Ip"},
		"Unix socket":                 {peer: "@"},
	} {
		r := requestFrom(t, "POST", "http://site.test/", nil)
		r.RemoteAddr = test.peer
		if test.header != "" {
			r.Header[test.header] = []string{""}
		}
		p := policy{insecureHTTP: test.insecure}
		if got := p.secureEnough(r, &request{tls: test.tls}); got != test.want {
			t.Errorf("%s: secureEnough = %v, want %v", name, got, test.want)
		}
	}
}
