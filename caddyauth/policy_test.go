package caddyauth

import (
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

const (
	proxied       = "servers {\ntrusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict\n}"
	httpsRequired = `{"status":"error","message":"Se requiere HTTPS","code":"https_required"}`
)

// TestSignInNeedsHTTPS: from this machine a sign-in may come over plain HTTP,
// through a proxy only if the proxy had TLS.
func TestSignInNeedsHTTPS(t *testing.T) {
	const path = "/api/login-ldap/"
	s := start(t, setup{})
	want(t, s.do("POST", path, jsonBody(goodJSON)), 200, bodySignedIn)
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "Via", "X-Real-Ip"} {
		binds := s.directory.Binds()
		want(t, s.do("POST", path, jsonBody(goodJSON), header(name, "https")), 403, httpsRequired)
		want(t, s.do("POST", "/accounts/login/", form("username=ac12345&password="+ldaptest.DemoPassword), header(name, "x")), 403, httpsRequired)
		if s.directory.Binds() != binds {
			t.Errorf("with %s the password reached the directory", name)
		}
	}
	got := s.do("GET", "/accounts/login/", navigation, header("Via", "1.1 proxy"))
	if got.StatusCode != 403 || strings.Contains(got.body, `name="password"`) {
		t.Errorf("the page over plain HTTP through a proxy: %d %s", got.StatusCode, got.body)
	}
	c := s.signIn("ac12345")
	want(t, s.do("GET", "/", c.cookies, header("Via", "1.1 proxy")), 200, "upstream") // only the sign-in is refused

	mark := logged.mark()
	s.setup.auth = "insecure_http"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	wantLog(t, mark, "insecure_http is set", `"level":"warn"`)
	want(t, s.do("POST", path, jsonBody(goodJSON), header("Via", "1.1 proxy")), 200, bodySignedIn)
}

// TestOverATrustedProxysTLS: cookies are Secure, the own origin is https, and
// prefixes hold.
func TestOverATrustedProxysTLS(t *testing.T) {
	s := start(t, setup{global: proxied, sessions: "cookie_prefix __Host-"})
	const path = "/api/login-ldap/"
	https := []change{header("X-Forwarded-Proto", "https"), header("X-Forwarded-For", "192.0.2.7"), header("Host", "site.test")}
	send := func(method, path string, changes ...change) reply {
		return s.do(method, path, append(append([]change{}, https...), changes...)...)
	}
	mark := logged.mark()
	got := send("POST", path, jsonBody(goodJSON), header("Origin", "https://site.test"))
	want(t, got, 200, bodySignedIn)
	wantAudit(t, mark, auditLine{"event": "sign_in", "client_ip": "192.0.2.7", "host": "site.test"})
	session, csrf := got.setCookies("__Host-sessionid"), got.setCookies("csrftoken")
	if len(session) != 1 || !strings.HasSuffix(session[0], "; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure") || len(csrf) != 1 || !strings.HasSuffix(csrf[0], "; Path=/; SameSite=Lax; Secure") || len(got.setCookies("sessionid")) != 0 {
		t.Fatalf("it set %q", got.Header["Set-Cookie"])
	}
	token := got.cookie("__Host-sessionid")
	logged.keepSecret("token", token)
	want(t, send("GET", "/x", header("Cookie", "__Host-sessionid="+token+"; sessionid=planted")), 200, "upstream")
	if cookies := s.upstream.last(t).header["Cookie"]; cookies != nil {
		t.Errorf("the upstream saw %q", cookies)
	}
	want(t, send("GET", "/x", header("Cookie", "sessionid="+token)), 401, bodyAuthenticationRequired)
	want(t, send("POST", path, jsonBody(goodJSON), header("Origin", "http://site.test")), 403, `{"status":"error","message":"Origen no autorizado","code":"origin_not_trusted"}`)
	want(t, s.do("POST", path, jsonBody(goodJSON), header("X-Forwarded-Proto", "http")), 403, httpsRequired)
	want(t, s.do("POST", path, jsonBody(goodJSON), header("X-Forwarded-Proto", "evil")), 403, httpsRequired)
	gone := send("GET", "/api/logout/", header("Cookie", "__Host-sessionid="+token))
	want(t, gone, 200, bodySignedOut)
	if cookies := gone.setCookies("__Host-sessionid"); len(cookies) != 1 || !strings.HasSuffix(cookies[0], "SameSite=Lax; Secure") {
		t.Errorf("it set %q", gone.Header["Set-Cookie"])
	}
	// Without TLS there is no prefix.
	plain := s.do("POST", path, jsonBody(goodJSON))
	if plain.StatusCode != 200 || len(plain.setCookies("sessionid")) != 1 || strings.Contains(strings.Join(plain.Header["Set-Cookie"], ""), "Secure") {
		t.Errorf("over plain HTTP: %d, %q", plain.StatusCode, plain.Header["Set-Cookie"])
	}
	// Somebody who is no trusted proxy has no say.
	s.setup.global = ""
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, send("POST", path, jsonBody(goodJSON)), 403, httpsRequired)
}

func TestTrustedIPsOnTheWire(t *testing.T) {
	s := start(t, setup{global: proxied, auth: "trusted_ips 127.0.0.1 10.0.0.0/8\ntrusted_origins https://app.trusted.test", site: "require_session {\npublic /public/*\n}\nreverse_proxy UPSTREAM"})
	c := s.signIn("ac12345")
	foreign := []change{header("X-Forwarded-For", "192.0.2.7"), header("X-Forwarded-Proto", "https")}
	inside := []change{header("X-Forwarded-For", "10.1.2.3"), header("X-Forwarded-Proto", "https")}
	for _, test := range []struct {
		name, method, path string
		changes            []change
	}{
		{"gated path", "GET", "/x", []change{c.cookies}},
		{"public path", "GET", "/public/x", nil},
		{"sign-in", "POST", "/api/login-ldap/", []change{jsonBody(goodJSON)}},
		{"sign-in page", "GET", "/accounts/login/", nil},
		{"logout", "GET", "/api/logout/", []change{c.cookies}},
		{"session", "GET", "/api/session/", []change{c.cookies}},
		{"own sessions", "GET", "/accounts/sessions/", []change{c.cookies}},
		{"ending own sessions", "POST", "/accounts/sessions/", []change{c.shown, jsonBody(`{"end":"others"}`)}},
		{"preflight", "OPTIONS", "/x", []change{header("Origin", "https://app.trusted.test"), header("Access-Control-Request-Method", "POST")}},
		{"TRACE", "TRACE", "/x", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			mark, before := logged.mark(), s.upstream.count()
			got := s.do(test.method, test.path, append(test.changes, foreign...)...)
			want(t, got, 403, bodyIP)
			if len(got.Header["Set-Cookie"]) != 0 || s.upstream.count() != before {
				t.Errorf("it set %q or reached the upstream", got.Header["Set-Cookie"])
			}
			wantAudit(t, mark, auditLine{"event": "forbidden", "reason": "ip_not_allowed", "client_ip": "192.0.2.7", "path": test.path})
		})
	}
	want(t, s.do("GET", "/x", append(inside, c.cookies)...), 200, "upstream") // and the refused logout ended nothing
	want(t, s.do("GET", "/x", header("X-Forwarded-For", "10.1.2.3, 192.0.2.7"), c.cookies), 403, bodyIP)
	want(t, s.do("GET", "/x", header("X-Forwarded-For", "::ffff:10.1.2.3"), c.cookies), 200, "upstream")
	got := s.do("GET", "/x", append(foreign, navigation)...)
	if got.StatusCode != 403 || !strings.Contains(got.Header.Get("Content-Type"), "text/html") {
		t.Errorf("a navigation: %d %s", got.StatusCode, got.body)
	}
	got = s.do("GET", "/x", append(foreign, header("Cookie", "sessionid="+strings.Repeat("A", 43)))...)
	if len(got.Header["Set-Cookie"]) != 0 {
		t.Errorf("what a foreign address sent is looked at: %q", got.Header["Set-Cookie"])
	}

	t.Run("a proxy that is not strict", func(t *testing.T) {
		loose := s.edited(func(config map[string]any) {
			delete(at(t, config, "apps", "http", "servers", "srv0"), "trusted_proxies_strict")
		})
		mark := logged.mark()
		if err := s.loadJSON(loose); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			want(t, s.do("GET", "/x", append(inside, c.cookies)...), 403, bodyIP)
			want(t, s.do("POST", "/api/login-ldap/", append(inside, jsonBody(goodJSON))...), 403, bodyIP)
		}
		wantLog(t, mark, "trusted_proxies_strict", `"level":"error"`)
		lines := 0
		for _, line := range logged.since(mark) {
			if strings.Contains(line, "trusted_proxies_strict") && strings.Contains(line, `"level":"error"`) {
				lines++
			}
		}
		if lines != 1 {
			t.Errorf("%d error lines in one load", lines)
		}
		s.setup.global = "servers {\ntrusted_proxies static 127.0.0.1/32\n}"
		if _, err := adapt(s.caddyfile()); err == nil || !strings.Contains(err.Error(), "trusted_proxies_strict") {
			t.Errorf("the Caddyfile adapts: %v", err)
		}
	})
}

// TestPolicyOfAHandler: a handler's line replaces the app's in that handler
// only.
func TestPolicyOfAHandler(t *testing.T) {
	base := Policy{TrustedOrigins: []string{"https://a.test"}, TrustedIPs: []string{"10.0.0.0/8"}, CSRF: csrfOrigin}
	got := Policy{TrustedOrigins: []string{"https://b.test"}, InsecureHTTP: true}.over(base)
	if got.TrustedOrigins[0] != "https://b.test" || got.TrustedIPs[0] != "10.0.0.0/8" || got.CSRF != csrfOrigin || !got.InsecureHTTP {
		t.Errorf("over = %+v", got)
	}
	for _, bad := range []Policy{{TrustedOrigins: []string{}}, {TrustedIPs: []string{}}, {CSRF: "off"}, {CSRF: "Token"}, {TrustedOrigins: []string{"x"}}, {TrustedIPs: []string{"x"}}} {
		if _, err := bad.compile(); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if compiled, err := (Policy{}).compile(); err != nil || compiled.csrf != csrfToken || compiled.ips != nil {
		t.Errorf("the default is %+v, %v", compiled, err)
	}
}
