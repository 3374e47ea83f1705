package attack

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// clientipHeaders are the header fields by which proxies tell an address, and
// by which clients lie about theirs.
var clientipHeaders = []string{
	"X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Client-Ip", "Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Cluster-Client-Ip", "X-Forwarded", "Forwarded-For", "X-Originating-Ip", "X-Remote-Ip", "X-Remote-Addr", "Via",
}

const (
	clientipStrict = "trusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict"
	clientipRule   = "trusted_ips 10.0.0.0/8"
)

// clientipTried tells which addresses of clients the audit log has.
func clientipTried(t *testing.T, s *site) map[string]int {
	t.Helper()
	tried := map[string]int{}
	for _, line := range s.audit(t) {
		tried[line.ClientIP]++
	}
	return tried
}

// caddy-security believed anybody's X-Forwarded-For: an address rule, the log
// and the throttle were the client's to choose.
func TestP03ForwardedAddressesOfStrangersCountForNothing(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]string{"no proxies": "", "other proxies": "trusted_proxies static 192.0.2.0/24\ntrusted_proxies_strict"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, setup{server: server, auth: clientipRule})
			for _, header := range clientipHeaders {
				for _, value := range []string{"10.0.0.1", "10.0.0.1, 127.0.0.1", "for=10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1:80"} {
					wantCode(t, s.do(t, "GET", "/x", "", header, value), 403, "ip_not_allowed")
				}
			}
			wantCode(t, s.trySignIn(t, juan, "wrong", "X-Forwarded-For", "10.0.0.1"), 403, "ip_not_allowed")
			s.wantNothingUpstream(t)
			if tried := clientipTried(t, s); len(tried) != 1 || tried["127.0.0.1"] == 0 {
				t.Errorf("the audit log has the addresses %v, want the peer's alone", tried)
			}
		})
	}
}

// An address rule that is meant to restrict became no rule at all behind a
// proxy whose header the client writes: such a configuration does not start,
// and where it comes as JSON nobody passes.
func TestP40AddressRulesBehindProxiesNeedStrictParsing(t *testing.T) {
	t.Parallel()
	loose := "trusted_proxies static 127.0.0.0/8 10.0.0.0/8"
	for name, setup := range map[string]setup{
		"rule of the app":     {server: loose, auth: clientipRule},
		"rule of a handler":   {server: loose, site: "require_session {\n" + clientipRule + "\n}\nreverse_proxy UPSTREAM"},
		"rule of the sign-in": {server: loose, site: "ldap_login {\n" + clientipRule + "\n}\nrequire_session\nreverse_proxy UPSTREAM"},
		"the proxies' ranges": {server: loose, auth: "trusted_ips 127.0.0.0/8 10.0.0.0/8"},
	} {
		t.Run(name, func(t *testing.T) {
			s, text := prepare(t, setup)
			if err := s.tell(t, text, "adapt"); err == nil || !strings.Contains(err.Error(), "trusted_proxies_strict") {
				t.Errorf("adapting it: %v", err)
			}
		})
	}

	s := start(t, setup{server: clientipStrict, auth: clientipRule})
	juan := s.signIn(t, juan, "X-Forwarded-For", "10.0.0.1", "X-Forwarded-Proto", "https")
	wantServed(t, juan.get(t, "/x", "X-Forwarded-For", "10.0.0.1"))
	s.echo.Forget()
	adapted, err := s.command(t, "adapt", "--config", filepath.Join(s.dir, "Caddyfile"), "--adapter", "caddyfile").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(adapted), `"trusted_proxies_strict":1`) {
		t.Fatalf("the configuration is not strict: %s", adapted)
	}
	file := filepath.Join(s.dir, "loose.json")
	if err := os.WriteFile(file, []byte(strings.Replace(string(adapted), `"trusted_proxies_strict":1`, `"trusted_proxies_strict":0`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := s.command(t, "reload", "--config", file, "--address", "unix/"+filepath.Join(s.dir, "admin.sock")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, address := range []string{"10.0.0.1", "127.0.0.1", "", "10.0.0.1, 10.0.0.2"} {
		wantCode(t, juan.get(t, "/x", "X-Forwarded-For", address), 403, "ip_not_allowed")
	}
	wantCode(t, juan.get(t, "/x"), 403, "ip_not_allowed")
	s.wantNothingUpstream(t)
	if n := strings.Count(s.read("caddy.json"), "refusing all requests through trusted_proxies"); n != 1 {
		t.Errorf("the log says so %d times, want once", n)
	}
}

// Traefik's allow-list was passed by an IPv4 address in its IPv6 spelling, and
// counted it apart.
func TestP66MappedAddressesAreOneWithTheirIPv4(t *testing.T) {
	t.Parallel()
	s := start(t, setup{server: clientipStrict, auth: "trusted_ips 10.0.0.0/8 203.0.113.0/24\nthrottle account 100 15m\nthrottle source 3 15m"})
	over := []string{"X-Forwarded-Proto", "https"}
	for address, allowed := range map[string]bool{
		"10.0.0.1": true, "::ffff:10.0.0.1": true, "::ffff:a00:1": true, "::FFFF:10.0.0.1": true, "[::ffff:10.0.0.1]:80": true, "10.0.0.1:1234": true,
		"11.0.0.1": false, "::ffff:11.0.0.1": false, "::10.0.0.1": false, "64:ff9b::10.0.0.1": false, "2002:a00:1::": false,
	} {
		r := s.do(t, "GET", "/x", "", "X-Forwarded-For", address)
		if allowed {
			wantRefused(t, r)
		} else {
			wantCode(t, r, 403, "ip_not_allowed")
		}
	}
	from := func(name, address string) reply {
		return s.trySignIn(t, name, "wrong", append(over, "X-Forwarded-For", address)...)
	}
	for i, address := range []string{"203.0.113.7", "::ffff:203.0.113.7", "::ffff:cb00:7107"} {
		wantCode(t, from(fmt.Sprint("nobody", i), address), 401, "invalid_credentials")
	}
	for i, address := range []string{"::ffff:203.0.113.7", "203.0.113.7"} {
		wantCode(t, from(fmt.Sprint("somebody", i), address), 429, "too_many_attempts")
	}
	wantCode(t, from("nobody9", "203.0.113.8"), 401, "invalid_credentials")
	for address := range clientipTried(t, s) {
		if strings.Contains(address, "ffff") {
			t.Errorf("the audit log has the address %s", address)
		}
	}
}

// The rule holds at every request, not at the sign-in only: a session that is
// taken to another place is worth nothing there, and lives on where it belongs.
func TestS28AddressRulesHoldAtEveryRequest(t *testing.T) {
	t.Parallel()
	s := start(t, setup{server: clientipStrict, auth: clientipRule + "\n" + originList, site: "require_session {\npublic /open/*\n}\nreverse_proxy UPSTREAM"})
	websocketUpstream(s)
	inside, outside := []string{"X-Forwarded-For", "10.0.0.1", "X-Forwarded-Proto", "https"}, []string{"X-Forwarded-For", "203.0.113.1", "X-Forwarded-Proto", "https"}
	juan := s.signIn(t, juan, inside...)
	wantServed(t, juan.get(t, "/x", inside...))
	s.echo.Forget()
	for _, row := range []struct{ method, path string }{
		{"GET", "/x"}, {"HEAD", "/x"}, {"POST", "/x"}, {"OPTIONS", "/x"}, {"GET", "/open/x"}, {"TRACE", "/x"},
		{"GET", "/accounts/login/"}, {"POST", "/accounts/login/"}, {"POST", "/api/login-ldap/"}, {"OPTIONS", "/api/login-ldap/"},
		{"GET", "/api/session/"}, {"GET", "/api/logout/"}, {"POST", "/api/logout/"}, {"GET", "/accounts/sessions/"}, {"POST", "/accounts/sessions/"},
	} {
		fields := append([]string{"Cookie", juan.cookie(), "X-CSRFToken", juan.csrf, "Origin", originTrusted, "Access-Control-Request-Method", "GET", "Content-Type", "application/json"}, outside...)
		r := s.do(t, row.method, row.path, "", fields...)
		if r.status != http.StatusForbidden || row.method != "HEAD" && r.code() != "ip_not_allowed" || len(r.header["Set-Cookie"]) > 0 {
			t.Errorf("%s %s from outside: %d %s with the cookies %q", row.method, row.path, r.status, r.body, r.header["Set-Cookie"])
		}
	}
	wantCode(t, s.raw(t, juan.websocketRequest("/x", "Origin: http://HOST", "X-Forwarded-For: 203.0.113.1")), 403, "ip_not_allowed")
	s.wantNothingUpstream(t)
	wantServed(t, juan.get(t, "/x", inside...))
}

// Caddy takes the leftmost address unless it is told to be strict, and that one
// is the client's own word.
func TestB36TheAddressIsTheOneThatTheProxySaw(t *testing.T) {
	t.Parallel()
	s := start(t, setup{server: clientipStrict, auth: "trusted_ips 10.9.0.0/16"})
	for name, row := range map[string]struct {
		lines   []string
		allowed bool
	}{
		"the proxy's word":                    {[]string{"10.9.9.9"}, true},
		"behind the client's word":            {[]string{"198.51.100.1, 10.9.9.9"}, true},
		"in a line behind the client's":       {[]string{"198.51.100.1", "10.9.9.9"}, true},
		"behind another proxy of ours":        {[]string{"198.51.100.1, 10.9.9.9, 127.0.0.1"}, true},
		"with a port":                         {[]string{"10.9.9.9:4711"}, true},
		"the client's word":                   {[]string{"10.9.9.9, 198.51.100.1"}, false},
		"the client's word in its line":       {[]string{"10.9.9.9", "198.51.100.1"}, false},
		"many of them":                        {[]string{strings.Repeat("10.9.9.9, ", 50) + "198.51.100.1"}, false},
		"before another proxy of ours":        {[]string{"10.9.9.9, 198.51.100.1, 127.0.0.1"}, false},
		"nothing":                             {[]string{""}, false},
		"what is no address":                  {[]string{"unknown"}, false},
		"a range":                             {[]string{"10.9.0.0/16"}, false},
		"a name":                              {[]string{"localhost"}, false},
		"leading zeros":                       {[]string{"010.9.9.9"}, false},
		"our proxies alone":                   {[]string{"127.0.0.1, 127.0.0.1"}, false},
		"no header":                           {nil, false},
		"another header's, which is not ours": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			var fields []string
			for _, line := range row.lines {
				fields = append(fields, "X-Forwarded-For", line)
			}
			if strings.HasPrefix(name, "another header's") {
				for _, header := range clientipHeaders[1:] {
					fields = append(fields, header, "10.9.9.9")
				}
			}
			r := s.do(t, "GET", "/x", "", fields...)
			if row.allowed {
				wantRefused(t, r)
			} else {
				wantCode(t, r, 403, "ip_not_allowed")
			}
		})
	}
	s.wantNothingUpstream(t)
}

// Caddy leaves an address in the spelling that the header has.
func TestB37AddressesAreComparedWithoutMappingAndZone(t *testing.T) {
	t.Parallel()
	s := start(t, setup{server: clientipStrict, auth: "trusted_ips 10.9.9.9 ::ffff:192.0.2.0/120 fe80::/64 2001:db8::/32"})
	for address, allowed := range map[string]bool{
		"10.9.9.9": true, "::ffff:10.9.9.9": true, "::ffff:a09:909": true, "0:0:0:0:0:ffff:10.9.9.9": true, "::ffff:10.9.9.9%eth0": true,
		"192.0.2.77": true, "::ffff:192.0.2.77": true, "192.0.3.1": false, "::ffff:192.0.3.1": false,
		"fe80::1": true, "fe80::1%eth0": true, "fe80::1%25eth0": true, "fe80:0:0:1::1": false, "fe80:0:0:1::1%eth0": false,
		"2001:db8::1": true, "2001:DB8::1": true, "[2001:db8::1]:443": true, "2001:db9::1": false,
		"10.9.9.8": false, "::ffff:10.9.9.8": false, "::10.9.9.9": false, "::": false, "0.0.0.0": false, "::1": false,
	} {
		t.Run(address, func(t *testing.T) {
			r := s.do(t, "GET", "/x", "", "X-Forwarded-For", address)
			if allowed {
				wantRefused(t, r)
			} else {
				wantCode(t, r, 403, "ip_not_allowed")
			}
		})
	}
	s.wantNothingUpstream(t)
}
