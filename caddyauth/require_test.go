package caddyauth

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestGateRefusesWithoutASession: whatever the method and the cookie, nothing
// reaches the upstream.
func TestGateRefusesWithoutASession(t *testing.T) {
	s := start(t, setup{})
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "PROPFIND", "get", "FOO"} {
		want(t, s.do(method, "/private"), 401, bodyAuthenticationRequired)
	}
	want(t, s.do("HEAD", "/private"), 401, "")
	for name, cookie := range map[string]string{
		"unknown":  "sessionid=" + strings.Repeat("A", 43),
		"empty":    "sessionid=",
		"no value": "sessionid",
		"short":    "sessionid=x",
		"long":     "sessionid=" + strings.Repeat("A", 8000),
		"quoted":   `sessionid="` + strings.Repeat("A", 43) + `"`,
		"SQL":      "sessionid=' OR 1=1 --",
	} {
		got := s.do("GET", "/private", header("Cookie", cookie))
		want(t, got, 401, bodyAuthenticationRequired)
		if cookies := got.Header["Set-Cookie"]; len(cookies) != 1 || cookies[0] != goneCookie {
			t.Errorf("%s: it set %q", name, cookies)
		}
		ownAnswer(t, got)
	}
	t.Run("two different ones", func(t *testing.T) {
		// Which of them is planted, nobody can tell: deleting would leave that one.
		got := s.do("GET", "/private", header("Cookie", "sessionid="+strings.Repeat("A", 43)+"; sessionid="+strings.Repeat("B", 42)+"A"))
		want(t, got, 401, bodyAuthenticationRequired)
		if cookies := got.Header["Set-Cookie"]; len(cookies) != 0 {
			t.Errorf("it set %q", cookies)
		}
	})
	t.Run("a live token beside another", func(t *testing.T) {
		c := s.signIn("ac12345")
		want(t, s.do("GET", "/private", c.cookies, header("Cookie", "sessionid="+strings.Repeat("A", 43))), 401, bodyAuthenticationRequired)
		want(t, s.do("GET", "/private", c.cookies, header("Cookie", "sessionid="+c.token)), 200, "upstream")
		want(t, s.do("GET", "/private", header("Cookie", "sessionid="+c.token[:42])), 401, bodyAuthenticationRequired)
		// A case flip is another token.
		want(t, s.do("GET", "/private", header("Cookie", "sessionid="+swapCase(c.token))), 401, bodyAuthenticationRequired)
	})
	t.Run("an API client gets no cookie where it sent none", func(t *testing.T) {
		if got := s.do("GET", "/private"); len(got.Header["Set-Cookie"]) != 0 {
			t.Errorf("it set %q", got.Header["Set-Cookie"])
		}
	})
	t.Run("a navigation is led to the page", func(t *testing.T) {
		for target, location := range map[string]string{
			"/private":                      "/accounts/login/?next=%2Fprivate",
			"/a?b=c&d=e":                    "/accounts/login/?next=%2Fa%3Fb%3Dc%26d%3De",
			"/caf%C3%A9":                    "/accounts/login/?next=%2Fcaf%25C3%25A9",
			"//evil.test/":                  "/accounts/login/",
			"/..//evil.test/":               "/accounts/login/",
			`/a%5cb`:                        "/accounts/login/?next=%2Fa%255cb",
			"/" + strings.Repeat("a", 3000): "/accounts/login/",
		} {
			for _, method := range []string{"GET", "HEAD"} {
				got := s.do(method, target, navigation)
				if got.StatusCode != 303 || got.Header.Get("Location") != location || got.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s %.40s: %d to %q, want 303 to %q", method, target, got.StatusCode, got.Header.Get("Location"), location)
				}
			}
		}
		got := s.do("GET", "/private", navigation, header("Cookie", "sessionid="+strings.Repeat("A", 43)))
		if cookies := got.Header["Set-Cookie"]; got.StatusCode != 303 || len(cookies) != 1 || cookies[0] != goneCookie {
			t.Errorf("with an unknown token: %d, %q", got.StatusCode, cookies)
		}
	})
	t.Run("a form post of a browser is no navigation that could be led on", func(t *testing.T) {
		got := s.do("POST", "/private", navigation, form("a=b"))
		if got.StatusCode != 401 || got.Header.Get("Location") != "" {
			t.Errorf("%d to %q", got.StatusCode, got.Header.Get("Location"))
		}
	})
	t.Run("a websocket without a session", func(t *testing.T) {
		want(t, s.do("GET", "/private", header("Connection", "Upgrade"), header("Upgrade", "websocket")), 401, bodyAuthenticationRequired)
	})
	if n := s.upstream.count(); n != 1 {
		t.Errorf("%d requests reached the upstream, want the one with a session", n)
	}
}

func swapCase(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z':
			return c - 'A' + 'a'
		}
		return c
	}, s[:40]) + s[40:]
}

func TestGateCSRF(t *testing.T) {
	s := start(t, setup{auth: "trusted_origins http://localhost:3000"})
	c := s.signIn("ac12345")
	other := s.signIn("mgarcia")
	for _, test := range []struct {
		name, method string
		changes      []change
		status       int
		body         string
	}{
		{"POST with the header", "POST", []change{c.shown}, 200, "upstream"},
		{"PUT with the header", "PUT", []change{c.shown}, 200, "upstream"},
		{"PATCH with the header", "PATCH", []change{c.shown}, 200, "upstream"},
		{"DELETE with the header", "DELETE", []change{c.shown}, 200, "upstream"},
		{"masked header", "POST", []change{c.cookies, header("X-CSRFToken", maskCSRF(c.csrf, strings.Repeat("Zq7b", 8)))}, 200, "upstream"},
		{"header in other case", "POST", []change{c.cookies, header("x-csrftoken", c.csrf)}, 200, "upstream"},
		{"field", "POST", []change{c.cookies, form("a=b&csrfmiddlewaretoken=" + c.csrf)}, 200, "upstream"},
		{"own origin", "POST", []change{c.shown, header("Origin", s.base)}, 200, "upstream"},
		{"trusted origin", "POST", []change{c.shown, header("Origin", "http://localhost:3000")}, 200, "upstream"},
		{"GET without", "GET", []change{c.cookies}, 200, "upstream"},
		{"GET from a foreign page", "GET", []change{c.cookies, header("Origin", "https://evil.test"), header("Sec-Fetch-Site", "cross-site")}, 200, "upstream"},
		{"OPTIONS without", "OPTIONS", []change{c.cookies}, 200, "upstream"},
		{"POST without", "POST", []change{c.cookies}, 403, bodyCSRF},
		{"unknown method without", "FOO", []change{c.cookies}, 403, bodyCSRF},
		{"lower-case get", "get", []change{c.cookies}, 403, bodyCSRF},
		{"GET with a method override", "GET", []change{c.cookies, header("X-HTTP-Method-Override", "DELETE")}, 403, bodyCSRF},
		{"attacker-made pair", "POST", []change{header("Cookie", "sessionid="+c.token+"; csrftoken="+strings.Repeat("e", 32)), header("X-CSRFToken", strings.Repeat("e", 32))}, 403, bodyCSRF},
		{"another session's token", "POST", []change{c.cookies, header("X-CSRFToken", other.csrf)}, 403, bodyCSRF},
		{"other header", "POST", []change{c.cookies, header("X-CSRF-Token", c.csrf)}, 403, bodyCSRF},
		{"query", "POST", []change{c.cookies, func(r *http.Request) { r.URL.Opaque += "?csrfmiddlewaretoken=" + c.csrf }}, 403, bodyCSRF},
		{"JSON body", "POST", []change{c.cookies, jsonBody(`{"csrfmiddlewaretoken":"` + c.csrf + `"}`)}, 403, bodyCSRF},
		{"field of a PUT", "PUT", []change{c.cookies, form("csrfmiddlewaretoken=" + c.csrf)}, 403, bodyCSRF},
		{"foreign origin with the token", "POST", []change{c.shown, header("Origin", "https://evil.test")}, 403, bodyOrigin},
		{"foreign origin that claims same-origin", "POST", []change{c.shown, header("Origin", "https://evil.test"), header("Sec-Fetch-Site", "same-origin")}, 403, bodyOrigin},
		{"null origin", "POST", []change{c.shown, header("Origin", "null")}, 403, bodyOrigin},
		{"cross-site", "POST", []change{c.shown, header("Sec-Fetch-Site", "cross-site")}, 403, bodyOrigin},
		{"the port is missing", "POST", []change{c.shown, header("Origin", "http://localhost")}, 403, bodyOrigin},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, mark := s.upstream.count(), logged.mark()
			got := s.do(test.method, "/x", test.changes...)
			want(t, got, test.status, test.body)
			if reached := s.upstream.count() - before; reached != 1 && test.status == 200 || reached != 0 && test.status != 200 {
				t.Errorf("%d requests reached the upstream", reached)
			}
			if test.status == 403 {
				ownAnswer(t, got)
				code := "csrf_failed"
				if test.body == bodyOrigin {
					code = "origin_not_trusted"
				}
				wantAudit(t, mark, auditLine{"event": "forbidden", "result": "refused", "reason": code, "user": "ac12345", "path": "/x"})
			}
		})
	}
	t.Run("a form comes on byte for byte", func(t *testing.T) {
		text := "a=%62&&=&csrfmiddlewaretoken=" + c.csrf + "&x=" + strings.Repeat("y", 300_000) + "&é=\xff"
		want(t, s.do("POST", "/x", c.cookies, form(text)), 200, "upstream")
		if s.upstream.last(t).body != text {
			t.Error("the body came on otherwise")
		}
		want(t, s.do("POST", "/x", c.cookies, form(text), func(r *http.Request) { r.ContentLength = -1 }), 200, "upstream")
		if s.upstream.last(t).body != text {
			t.Error("the chunked body came on otherwise")
		}
		big := "x=" + strings.Repeat("y", 2<<20)
		want(t, s.do("POST", "/x", c.shown, form(big)), 200, "upstream")
		if s.upstream.last(t).body != big {
			t.Error("the large body came on otherwise")
		}
		want(t, s.do("POST", "/x", c.cookies, form(big+"&csrfmiddlewaretoken="+c.csrf)), 403, bodyCSRF)
	})
	t.Run("a navigation gets a page", func(t *testing.T) {
		got := s.do("POST", "/x", c.cookies, navigation, form("a=b"))
		if got.StatusCode != 403 || !strings.Contains(got.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	})
}

func TestGateUnderCSRFOriginAndOff(t *testing.T) {
	s := start(t, setup{site: "handle {\nrequire_session {\ncsrf origin\n}\nreverse_proxy UPSTREAM\n}"})
	c := s.signIn("ac12345")
	want(t, s.do("POST", "/x", c.cookies), 200, "upstream")
	want(t, s.do("POST", "/x", c.shown, header("Origin", "https://evil.test")), 403, bodyOrigin)

	mark := logged.mark()
	s.setup.site = "require_session {\ncsrf insecure_off\n}\nreverse_proxy UPSTREAM"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	wantLog(t, mark, "csrf insecure_off is set", `"level":"warn"`)
	want(t, s.do("POST", "/x", c.cookies, header("Origin", "https://evil.test")), 200, "upstream")
	want(t, s.do("POST", "/x"), 401, bodyAuthenticationRequired)
	// The sign-in's own gate stays.
	want(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON), header("Origin", "https://evil.test")), 403, `{"status":"error","message":"Origen no autorizado","code":"origin_not_trusted"}`)
}

const pathRulesSite = `require_session {
		public  / /static/* /healthz
		require /admin/* "IT Admins"
		require /eng/* Empleados
		require /both/* Empleados "IT Admins"
		require /both/inner "IT Admins"
	}
	reverse_proxy UPSTREAM`

func TestGatePathsAndGroups(t *testing.T) {
	s := start(t, setup{site: pathRulesSite})
	juan, maria := s.signIn("ac12345"), s.signIn("mgarcia") // Juan is in Empleados by way of Ingenieria
	for _, test := range []struct {
		path                string
		nobody, juan, admin string
	}{
		{"/", "200", "200", "200"},
		{"/healthz", "200", "200", "200"},
		{"/healthz/", "401", "200", "200"},
		{"/HEALTHZ", "401", "200", "200"},
		{"/static", "200", "200", "200"},
		{"/static/a/b.css?x=//..;", "200", "200", "200"},
		{"/other", "401", "200", "200"},
		{"/admin", "401", "group_required", "200"},
		{"/ADMIN/x", "401", "group_required", "200"},
		{"/%61dmin/x", "401", "group_required", "200"},
		{"/eng/x", "401", "200", "group_required"},
		{"/both/x", "401", "200", "200"},
		{"/both/inner", "401", "group_required", "200"},
		{"/both/inner/", "401", "group_required", "200"},
		{"/static/../admin/x", "401", "path_ambiguous", "path_ambiguous"},
		{"/static/%2e%2e/admin", "401", "path_ambiguous", "path_ambiguous"},
		{"/static/..;/admin", "401", "path_ambiguous", "path_ambiguous"},
		{"/static/..%2fadmin", "401", "path_ambiguous", "path_ambiguous"},
		{"/static/..%5cadmin", "401", "path_ambiguous", "path_ambiguous"},
		{"/static//a.css", "401", "path_ambiguous", "path_ambiguous"},
		{"//static/a.css", "401", "path_ambiguous", "path_ambiguous"},
		{"/static/a.css.", "401", "path_ambiguous", "path_ambiguous"},
		{"/static/a.css%20", "401", "path_ambiguous", "path_ambiguous"},
		{"/static/%252e%252e/admin", "401", "path_ambiguous", "path_ambiguous"},
		{"/static/%00", "401", "path_ambiguous", "path_ambiguous"},
		{"/static/%c0%ae%c0%ae/admin", "401", "path_ambiguous", "path_ambiguous"},
		{"/static/a;x=y", "401", "path_ambiguous", "path_ambiguous"},
	} {
		for who, expected := range map[string]string{"nobody": test.nobody, "juan": test.juan, "maria": test.admin} {
			var changes []change
			switch who {
			case "juan":
				changes = append(changes, juan.cookies)
			case "maria":
				changes = append(changes, maria.cookies)
			}
			got := s.do("GET", test.path, changes...)
			outcome := fmt.Sprint(got.StatusCode)
			switch got.body {
			case bodyGroup:
				outcome = "group_required"
			case bodyAmbiguous:
				outcome = "path_ambiguous"
			}
			if outcome != expected {
				t.Errorf("%s for %s: %s %s, want %s", test.path, who, outcome, got.body, expected)
			}
		}
	}
	t.Run("the page of a 403, and its audit line", func(t *testing.T) {
		mark := logged.mark()
		got := s.do("GET", "/admin/x?secret=1", navigation, juan.cookies)
		if got.StatusCode != 403 || !strings.Contains(got.body, "Juan Pérez") || !strings.Contains(got.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
		wantAudit(t, mark, auditLine{"event": "forbidden", "reason": "group_required", "user": "ac12345", "path": "/admin/x"})
	})
	t.Run("the sign-in paths are under no require line", func(t *testing.T) {
		s.setup.site = "require_session \"IT Admins\" {\nrequire /* \"IT Admins\"\n}\nreverse_proxy UPSTREAM"
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		want(t, s.do("GET", "/x", juan.cookies), 403, bodyGroup)
		want(t, s.do("GET", "/x", maria.cookies), 200, "upstream")
		want(t, s.do("GET", "/a//b", juan.cookies), 403, bodyGroup)
		want(t, s.do("GET", "/a//b", maria.cookies), 200, "upstream")
		want(t, s.do("GET", "/api/logout/", juan.cookies), 200, bodySignedOut)
		// A sign-in never fails for a missing group.
		s.signIn("ac12345")
	})
}

// TestPathsAreJudgedAsSent: a rewrite, a stripped prefix or a file probe that
// comes later changes nothing.
func TestPathsAreJudgedAsSent(t *testing.T) {
	s := start(t, setup{site: `require_session {
		public /static/*
		require /admin/* "IT Admins"
	}
	rewrite /static/to-admin /admin/x
	uri strip_prefix /app
	reverse_proxy UPSTREAM`})
	juan := s.signIn("ac12345")
	want(t, s.do("GET", "/app/static/x"), 401, bodyAuthenticationRequired)
	want(t, s.do("GET", "/admin/x", juan.cookies), 403, bodyGroup)
	want(t, s.do("GET", "/app/other", juan.cookies), 200, "upstream")

	// Inside a route whose path was rewritten before, the original counts.
	s.setup.site = "route {\nrewrite /app/* /static/x\nrequire_session {\npublic /static/*\n}\nreverse_proxy UPSTREAM\n}"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/app/secret"), 401, bodyAuthenticationRequired)
	want(t, s.do("GET", "/static/x"), 200, "upstream")
}

func TestDirectoriesOption(t *testing.T) {
	s := start(t, setup{site: "require_session {\ndirectories empresa.local\n}\nreverse_proxy UPSTREAM"})
	c := s.signIn("ac12345")
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	s.setup.site = "require_session {\ndirectories other.test\n}\nreverse_proxy UPSTREAM"
	if err := s.load(s.caddyfile()); err == nil || !strings.Contains(err.Error(), `no directory is labelled "other.test"`) {
		t.Errorf("an unknown label: %v", err)
	}
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	t.Run("a session of a directory that is configured no more", func(t *testing.T) {
		s.setup.site = ""
		renamed := strings.Replace(s.caddyfile(), "directory empresa.local ad", "directory other.test ad", 1)
		if err := s.load(renamed); err != nil {
			t.Fatal(err)
		}
		want(t, s.do("GET", "/x", c.cookies), 401, bodyAuthenticationRequired)
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	})
}

// rawRequest writes a request as it stands and returns the answer.
func (s *server) rawRequest(text string) reply {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\n", "\r\n"), "HOST", strings.TrimPrefix(s.base, "http://"))
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatalf("reading the answer to %q: %v", text, err)
	}
	defer response.Body.Close()
	var body []byte
	if response.StatusCode != http.StatusSwitchingProtocols {
		body, _ = io.ReadAll(response.Body)
	}
	return reply{response, string(body)}
}

func TestMethodsThatAreNeverProxied(t *testing.T) {
	s := start(t, setup{site: "require_session {\npublic /public/*\n}\nreverse_proxy UPSTREAM"})
	c := s.signIn("ac12345")
	cookie := "Cookie: sessionid=" + c.token + "\nX-CSRFToken: " + c.csrf + "\n"
	for name, text := range map[string]string{
		"TRACE":                     "TRACE /x HTTP/1.1\nHost: HOST\n" + cookie + "\n",
		"TRACE without a session":   "TRACE /x HTTP/1.1\nHost: HOST\n\n",
		"TRACE on a public path":    "TRACE /public/x HTTP/1.1\nHost: HOST\n\n",
		"CONNECT":                   "CONNECT /x HTTP/1.1\nHost: HOST\n" + cookie + "\n",
		"CONNECT on a public path":  "CONNECT /public/x HTTP/1.1\nHost: HOST\n\n",
		"CONNECT without a session": "CONNECT /x HTTP/1.1\nHost: HOST\n\n",
	} {
		got := s.rawRequest(text)
		if got.StatusCode != 405 || got.body != bodyMethod || got.Header.Get("Allow") == "" {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
	if n := s.upstream.count(); n != 0 {
		t.Errorf("%d requests reached the upstream", n)
	}
}

func TestUpgradeRules(t *testing.T) {
	s := start(t, setup{auth: "trusted_origins http://localhost:3000", site: "require_session {\npublic /public/*\n}\nreverse_proxy UPSTREAM"})
	s.upstream.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			_, _ = io.WriteString(w, "upstream")
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSet-Cookie: sessionid=evil\r\nSet-Cookie: app=1\r\n\r\n")
	})
	c := s.signIn("ac12345")
	websocket := "GET /x HTTP/1.1\nHost: HOST\nCookie: sessionid=" + c.token + "\nConnection: Upgrade\nUpgrade: websocket\n"
	for _, test := range []struct {
		name, text string
		status     int
		body       string
	}{
		{"own origin", websocket + "Origin: http://HOST\n\n", 101, ""},
		{"trusted origin", websocket + "Origin: http://localhost:3000\n\n", 101, ""},
		{"no origin", websocket + "\n", 101, ""},
		{"no origin with a foreign referer", websocket + "Referer: https://evil.test/\n\n", 101, ""},
		{"foreign origin", websocket + "Origin: https://evil.test\n\n", 403, bodyOrigin},
		{"null origin", websocket + "Origin: null\n\n", 403, bodyOrigin},
		{"empty origin", websocket + "Origin:\n\n", 403, bodyOrigin},
		{"two origins", websocket + "Origin: http://HOST\nOrigin: http://HOST\n\n", 403, bodyOrigin},
		{"foreign origin of a page", websocket + "Accept: text/html\nOrigin: https://evil.test\n\n", 403, bodyOrigin},
		{"a form post that poses as one", "POST /x HTTP/1.1\nHost: HOST\nCookie: sessionid=" + c.token + "\nConnection: Upgrade, close\nUpgrade: websocket\nContent-Length: 0\n\n", 403, bodyCSRF},
		{"no session", "GET /x HTTP/1.1\nHost: HOST\nConnection: Upgrade, close\nUpgrade: websocket\nOrigin: http://HOST\n\n", 401, bodyAuthenticationRequired},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.rawRequest(strings.Replace(test.text, "\n\n", "\nX-End: 1\n\n", 1))
			if got.StatusCode != test.status || got.body != test.body {
				t.Errorf("%d %s, want %d %s", got.StatusCode, got.body, test.status, test.body)
			}
			if cookies := got.setCookies("sessionid"); test.status == 101 && (len(cookies) != 0 || got.cookie("app") != "1") {
				t.Errorf("the upgrade's answer set %q", got.Header["Set-Cookie"])
			}
		})
	}
	for _, path := range []string{"/x", "/public/x"} {
		for _, protocol := range []string{"h2c", "foo", "websocket, h2c"} {
			got := s.rawRequest("GET " + path + " HTTP/1.1\nHost: HOST\nCookie: sessionid=" + c.token + "\nConnection: Upgrade, HTTP2-Settings, close\nUpgrade: " + protocol + "\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\n\n")
			want(t, got, 200, "upstream")
			if seen := s.upstream.last(t).header; seen.Get("Upgrade") != "" || seen.Get("Http2-Settings") != "" || strings.Contains(strings.ToLower(seen.Get("Connection")), "upgrade") {
				t.Errorf("%s on %s came on: %v", protocol, path, seen)
			}
		}
	}
}
