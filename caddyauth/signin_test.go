package caddyauth

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

const goodJSON = `{"username":"ac12345","password":"` + ldaptest.DemoPassword + `"}`

// ownAnswer checks what every answer of ours carries.
func ownAnswer(t *testing.T, got reply) {
	t.Helper()
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("%s: %q, want %q", name, value, want)
		}
	}
	if vary := strings.Join(got.Header["Vary"], ", "); !strings.Contains(vary, "Cookie") {
		t.Errorf("Vary: %q", vary)
	}
}

func TestSignInAPI(t *testing.T) {
	s := newServer(t, setup{})
	s.setup.servers = "servers " + s.directory.URL() + "\nlogin_hints off"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	const path = "/api/login-ldap/"

	t.Run("the right password", func(t *testing.T) {
		mark := logged.mark()
		got := s.do("POST", path, jsonBody(goodJSON))
		want(t, got, 200, bodySignedIn)
		ownAnswer(t, got)
		if got := got.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type: %s", got)
		}
		session, csrf := got.setCookies("sessionid"), got.setCookies("csrftoken")
		if len(session) != 1 || !regexp.MustCompile(`^sessionid=[\w-]{43}; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax$`).MatchString(session[0]) {
			t.Errorf("session cookie %q", session)
		}
		if len(csrf) != 1 || !regexp.MustCompile(`^csrftoken=[A-Za-z0-9]{32}; Max-Age=43200; Path=/; SameSite=Lax$`).MatchString(csrf[0]) {
			t.Errorf("CSRF cookie %q", csrf)
		}
		line := wantAudit(t, mark, auditLine{"event": "sign_in", "result": "ok", "user": "ac12345", "directory": "empresa.local", "client_ip": "127.0.0.1", "host": "127.0.0.1", "path": path})
		if id, _ := line["session"].(string); len(id) != 16 {
			t.Errorf("the audit names the session %q", id)
		}
	})
	t.Run("without the last slash, with a charset, with a query", func(t *testing.T) {
		want(t, s.do("POST", "/api/login-ldap?x=y", body("application/json; charset=utf-8", goodJSON)), 200, bodySignedIn)
	})
	t.Run("the directory's spelling is the user name", func(t *testing.T) {
		mark := logged.mark()
		want(t, s.do("POST", path, jsonBody(credentialsJSON("AC12345@EMPRESA.LOCAL", ldaptest.DemoPassword))), 200, bodySignedIn)
		wantAudit(t, mark, auditLine{"event": "sign_in", "user": "ac12345"})
	})

	t.Run("every refusal looks alike", func(t *testing.T) {
		var first reply
		for i, test := range []struct{ name, user, password, reason, audited string }{
			{"wrong password", "ac12345", "not-it-at-all", "bad_credentials", "ac12345"},
			{"unknown user", "nobody", ldaptest.DemoPassword, "bad_credentials", "nobody"},
			{"expired password", "expirada", ldaptest.DemoPassword, "password_expired", "expirada"},
			{"locked account", "bloqueada", ldaptest.DemoPassword, "account_locked", "bloqueada"},
			{"disabled account", "deshabilitada", ldaptest.DemoPassword, "account_disabled", "deshabilitada"},
			{"empty name", "", ldaptest.DemoPassword, "name_invalid", ""},
			{"empty password", "ac12345", "", "name_invalid", ""},
			{"blank name", "  ", ldaptest.DemoPassword, "name_invalid", ""},
			{"NUL in the name", "ac12345\x00x", ldaptest.DemoPassword, "name_invalid", ""},
			{"NUL in the password", "ac12345", ldaptest.DemoPassword + "\x00", "name_invalid", ""},
			{"over-long name", strings.Repeat("a", 300), ldaptest.DemoPassword, "name_invalid", ""},
			{"over-long password", "ac12345", strings.Repeat("a", 1100), "name_invalid", ""},
			{"filter in the name", "*)(objectClass=*", ldaptest.DemoPassword, "name_invalid", ""},
		} {
			t.Run(test.name, func(t *testing.T) {
				mark, traffic := logged.mark(), s.directory.Binds()+s.directory.Searches()
				began := time.Now()
				got := s.do("POST", path, jsonBody(credentialsJSON(test.user, test.password)))
				took := time.Since(began)
				want(t, got, 401, bodyInvalidCredentials)
				ownAnswer(t, got)
				if took < refusalFloor || took > 5*refusalFloor {
					t.Errorf("it took %s", took)
				}
				if len(got.Header["Set-Cookie"]) != 0 {
					t.Errorf("it set %q", got.Header["Set-Cookie"])
				}
				got.Header.Del("Date")
				if i == 0 {
					first = got
				} else if a, b := fmt.Sprint(got.Header), fmt.Sprint(first.Header); a != b {
					t.Errorf("its headers are %s, not %s", a, b)
				}
				if test.reason == "name_invalid" && s.directory.Binds()+s.directory.Searches() != traffic {
					t.Error("it reached the directory")
				}
				line := wantAudit(t, mark, auditLine{"event": "sign_in", "result": "refused", "reason": test.reason})
				if user, _ := line["user"].(string); user != test.audited {
					t.Errorf("the audit names %q, want %q", user, test.audited)
				}
			})
		}
	})

	t.Run("bad requests", func(t *testing.T) {
		big := `{"username":"u","password":"` + strings.Repeat("a", maxCredentials) + `"}`
		chunked := func(r *http.Request) { r.ContentLength = -1 }
		for _, test := range []struct {
			name    string
			method  string
			changes []change
			status  int
			body    string
			allow   string
		}{
			{"empty body", "POST", []change{jsonBody("")}, 400, bodyInvalidJSON, ""},
			{"broken JSON", "POST", []change{jsonBody("{bad")}, 400, bodyInvalidJSON, ""},
			{"array", "POST", []change{jsonBody("[]")}, 400, bodyInvalidJSON, ""},
			{"field missing", "POST", []change{jsonBody(`{"username":"u"}`)}, 400, bodyInvalidJSON, ""},
			{"field not a string", "POST", []change{jsonBody(`{"username":"u","password":1}`)}, 400, bodyInvalidJSON, ""},
			{"doubled field", "POST", []change{jsonBody(`{"username":"a","username":"b","password":"p"}`)}, 400, bodyInvalidJSON, ""},
			{"invalid UTF-8", "POST", []change{jsonBody("{\"username\":\"\xff\",\"password\":\"p\"}")}, 400, bodyInvalidJSON, ""},
			{"form", "POST", []change{form("username=u&password=p")}, 415, `{"status":"error","message":"Tipo de contenido no admitido","code":"unsupported_media_type"}`, ""},
			{"text that is JSON", "POST", []change{body("text/plain", goodJSON)}, 415, `{"status":"error","message":"Tipo de contenido no admitido","code":"unsupported_media_type"}`, ""},
			{"two content types", "POST", []change{jsonBody(goodJSON), header("Content-Type", "text/plain")}, 415, `{"status":"error","message":"Tipo de contenido no admitido","code":"unsupported_media_type"}`, ""},
			{"no content type", "POST", []change{jsonBody(goodJSON), func(r *http.Request) { delete(r.Header, "Content-Type") }}, 415, `{"status":"error","message":"Tipo de contenido no admitido","code":"unsupported_media_type"}`, ""},
			{"too large", "POST", []change{jsonBody(big)}, 413, `{"status":"error","message":"Cuerpo de la solicitud demasiado grande","code":"body_too_large"}`, ""},
			{"too large, chunked", "POST", []change{jsonBody(big), chunked}, 413, `{"status":"error","message":"Cuerpo de la solicitud demasiado grande","code":"body_too_large"}`, ""},
			{"GET", "GET", nil, 405, `{"status":"error","message":"Método no permitido. Se requiere POST.","code":"method_not_allowed"}`, "POST, OPTIONS"},
			{"HEAD", "HEAD", nil, 405, "", "POST, OPTIONS"},
			{"PUT", "PUT", []change{jsonBody(goodJSON)}, 405, `{"status":"error","message":"Método no permitido. Se requiere POST.","code":"method_not_allowed"}`, "POST, OPTIONS"},
			{"DELETE", "DELETE", nil, 405, `{"status":"error","message":"Método no permitido. Se requiere POST.","code":"method_not_allowed"}`, "POST, OPTIONS"},
			{"TRACE", "TRACE", nil, 405, `{"status":"error","message":"Método no permitido. Se requiere POST.","code":"method_not_allowed"}`, "POST, OPTIONS"},
			{"foreign origin", "POST", []change{jsonBody(goodJSON), header("Origin", "https://evil.test")}, 403, `{"status":"error","message":"Origen no autorizado","code":"origin_not_trusted"}`, ""},
			{"cross-site", "POST", []change{jsonBody(goodJSON), header("Sec-Fetch-Site", "cross-site")}, 403, `{"status":"error","message":"Origen no autorizado","code":"origin_not_trusted"}`, ""},
			{"foreign referer", "POST", []change{jsonBody(goodJSON), header("Referer", "https://evil.test/")}, 403, `{"status":"error","message":"Origen no autorizado","code":"origin_not_trusted"}`, ""},
		} {
			t.Run(test.name, func(t *testing.T) {
				binds := s.directory.Binds()
				got := s.do(test.method, path, test.changes...)
				want(t, got, test.status, test.body)
				ownAnswer(t, got)
				if allow := got.Header.Get("Allow"); allow != test.allow {
					t.Errorf("Allow: %q, want %q", allow, test.allow)
				}
				if len(got.Header["Set-Cookie"]) != 0 || s.directory.Binds() != binds {
					t.Errorf("it set %q or reached the directory", got.Header["Set-Cookie"])
				}
			})
		}
	})
	t.Run("own origin", func(t *testing.T) {
		want(t, s.do("POST", path, jsonBody(goodJSON), header("Origin", s.base), header("Sec-Fetch-Site", "same-origin")), 200, bodySignedIn)
	})
	t.Run("OPTIONS", func(t *testing.T) {
		got := s.do("OPTIONS", path)
		want(t, got, 200, `{"status":"ok"}`)
		got = s.do("OPTIONS", path, header("Origin", "https://evil.test"), header("Access-Control-Request-Method", "POST"))
		want(t, got, 200, `{"status":"ok"}`)
		for name := range got.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("a foreign origin gets %s", name)
			}
		}
	})
	if s.upstream.count() != 0 {
		t.Errorf("%d requests reached the upstream", s.upstream.count())
	}
}

func TestSignInReplacesTheOldSession(t *testing.T) {
	s := start(t, setup{})
	old := s.signIn("ac12345")
	mark := logged.mark()
	got := s.do("POST", "/api/login-ldap/", jsonBody(goodJSON), old.cookies)
	want(t, got, 200, bodySignedIn)
	next := signedIn{token: got.cookie("sessionid"), csrf: got.cookie("csrftoken")}
	if next.token == old.token || next.csrf == old.csrf || next.token == "" {
		t.Error("a sign-in keeps token or CSRF secret")
	}
	wantAudit(t, mark, auditLine{"event": "session_end", "reason": "replaced", "user": "ac12345"})

	answer := s.do("GET", "/", old.cookies)
	want(t, answer, 401, bodyAuthenticationRequired)
	if values := answer.Header["Set-Cookie"]; len(values) != 0 {
		t.Errorf("within a minute after the sign-in the replaced token's answer sets %q, which would delete the new cookie", values)
	}
	want(t, s.do("GET", "/", next.cookies), 200, "upstream")
	want(t, s.do("POST", "/", next.cookies, header("X-CSRFToken", old.csrf)), 403, bodyCSRF)

	t.Run("a failed sign-in keeps the session", func(t *testing.T) {
		want(t, s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON("ac12345", "not-it-at-all")), next.cookies), 401, bodyInvalidCredentials)
		want(t, s.do("GET", "/", next.cookies), 200, "upstream")
	})
	t.Run("another user", func(t *testing.T) {
		got := s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON("mgarcia", ldaptest.DemoPassword)), next.cookies)
		want(t, got, 200, `{"status":"ok","message":"Login exitoso","first_name":"María","last_name":"García"}`)
		want(t, s.do("GET", "/", next.cookies), 401, bodyAuthenticationRequired)
	})
	t.Run("a planted token is never adopted", func(t *testing.T) {
		planted := strings.Repeat("A", 43)
		got := s.do("POST", "/api/login-ldap/", jsonBody(goodJSON), header("Cookie", "sessionid="+planted))
		if got.cookie("sessionid") == planted || got.cookie("sessionid") == "" {
			t.Error("the planted token is the session's")
		}
		want(t, s.do("GET", "/", header("Cookie", "sessionid="+planted)), 401, bodyAuthenticationRequired)
	})
}

func TestSignInPage(t *testing.T) {
	s := start(t, setup{auth: "trusted_origins https://app.trusted.test https://*.wild.test"})
	const path = "/accounts/login/"
	credentials := "username=ac12345&password=" + ldaptest.DemoPassword

	t.Run("GET, whatever the Accept", func(t *testing.T) {
		for _, changes := range [][]change{{navigation}, nil, {header("Accept", "application/json")}} {
			got := s.do("GET", path, changes...)
			if got.StatusCode != 200 || got.Header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(got.body, `name="password"`) {
				t.Fatalf("%d %s %s", got.StatusCode, got.Header.Get("Content-Type"), got.body)
			}
			ownAnswer(t, got)
			csrf := got.setCookies("csrftoken")
			if len(csrf) != 1 || !strings.Contains(got.body, got.cookie("csrftoken")) {
				t.Errorf("csrftoken %q is not the form's", csrf)
			}
			if got.cookie("sessionid") != "" {
				t.Error("an anonymous visitor gets a session")
			}
		}
	})
	t.Run("a well-formed csrftoken stays", func(t *testing.T) {
		got := s.do("GET", path, header("Cookie", "csrftoken="+testSecret))
		if len(got.Header["Set-Cookie"]) != 0 || !strings.Contains(got.body, testSecret) {
			t.Errorf("it set %q", got.Header["Set-Cookie"])
		}
		if got := s.do("GET", path, header("Cookie", "csrftoken=bad!")); len(got.setCookies("csrftoken")) != 1 {
			t.Error("an ill-formed csrftoken stays")
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		got := s.do("HEAD", path)
		if got.StatusCode != 200 || got.body != "" || len(got.setCookies("csrftoken")) != 1 {
			t.Errorf("%d %q %q", got.StatusCode, got.body, got.Header["Set-Cookie"])
		}
	})
	t.Run("with a session: who is signed in, never a redirect", func(t *testing.T) {
		c := s.signIn("ac12345")
		got := s.do("GET", path+"?next=/docs", navigation, c.cookies)
		if got.StatusCode != 200 || !strings.Contains(got.body, "Juan Pérez") || !strings.Contains(got.body, "/docs") {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		want(t, s.do("GET", "/", c.cookies), 200, "upstream")
	})
	t.Run("an unknown token's cookie is deleted", func(t *testing.T) {
		got := s.do("GET", path, header("Cookie", "sessionid="+strings.Repeat("A", 43)))
		if cookies := got.setCookies("sessionid"); len(cookies) != 1 || !strings.Contains(cookies[0], "Max-Age=0") {
			t.Errorf("set %q", got.Header["Set-Cookie"])
		}
	})

	t.Run("a browser's form", func(t *testing.T) {
		for next, location := range map[string]string{
			"":                                 "/",
			"/docs/a?b=c":                      "/docs/a?b=c",
			"/café":                            "/caf%C3%A9",
			"https://app.trusted.test/x":       "https://app.trusted.test/x",
			"https://a.wild.test/":             "/",
			"//evil.test":                      "/",
			`/\evil.test`:                      "/",
			"/..//evil.test":                   "/",
			"/\t/evil.test":                    "/",
			"javascript:alert(1)":              "/",
			"https://evil.test/":               "/",
			"https://app.trusted.test@evil":    "/",
			"/a\r\nSet-Cookie: evil=1":         "/",
			"/api/logout/":                     "/",
			"/api/logout":                      "/",
			"/x/../api/logout/":                "/",
			"/x/%2e%2e/api/logout/":            "/",
			"/api%2flogout/../../api/logout":   "/",
			"/accounts/login/?next=/a":         "/",
			"/" + strings.Repeat("a", maxNext): "/",
		} {
			got := s.do("POST", path, navigation, form(credentials+"&next="+url.QueryEscape(next)))
			if got.StatusCode != 303 || got.Header.Get("Location") != location {
				t.Errorf("next %.40q: %d to %q, want 303 to %q", next, got.StatusCode, got.Header.Get("Location"), location)
			}
			if got.cookie("sessionid") == "" || got.cookie("csrftoken") == "" || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("next %.40q: headers %v", next, got.Header)
			}
		}
		got := s.do("POST", path+"?next=/from-query", navigation, form(credentials))
		if got.Header.Get("Location") != "/from-query" {
			t.Errorf("next in the query leads to %q", got.Header.Get("Location"))
		}
	})
	t.Run("a program's form gets the JSON", func(t *testing.T) {
		got := s.do("POST", path, form(credentials+"&next=/docs"))
		want(t, got, 200, bodySignedIn)
		if got.cookie("sessionid") == "" || len(got.setCookies("csrftoken")) != 1 {
			t.Errorf("set %q", got.Header["Set-Cookie"])
		}
	})
	t.Run("multipart and JSON", func(t *testing.T) {
		multipart := strings.ReplaceAll("--x\nContent-Disposition: form-data; name=\"username\"\n\nac12345\n--x\nContent-Disposition: form-data; name=\"password\"\n\n"+ldaptest.DemoPassword+"\n--x--\n", "\n", "\r\n")
		want(t, s.do("POST", path, body("multipart/form-data; boundary=x", multipart)), 200, bodySignedIn)
		want(t, s.do("POST", path, jsonBody(goodJSON)), 200, bodySignedIn)
		want(t, s.do("POST", path, body("multipart/form-data", multipart)), 400, bodyInvalidJSON)
		want(t, s.do("POST", path, body("text/plain", credentials)), 415, `{"status":"error","message":"Tipo de contenido no admitido","code":"unsupported_media_type"}`)
	})
	t.Run("a doubled field is none", func(t *testing.T) {
		want(t, s.do("POST", path, form(credentials+"&username=mgarcia")), 401, bodyInvalidCredentials)
	})
	t.Run("a wrong password gets the form again", func(t *testing.T) {
		got := s.do("POST", path, navigation, form("username=ac12345&password=not-it-at-all&next=/docs"), header("Accept-Language", "es"))
		if got.StatusCode != 401 || !strings.Contains(got.body, `value="ac12345"`) || !strings.Contains(got.body, `value="/docs"`) || strings.Contains(got.body, "not-it-at-all") {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		want(t, s.do("POST", path, form("username=ac12345&password=not-it-at-all")), 401, bodyInvalidCredentials)
	})
	t.Run("hostile name and next are only text", func(t *testing.T) {
		got := s.do("POST", path, navigation, form("username="+url.QueryEscape(`"><script>x</script>`)+"&password=nope-nope&next="+url.QueryEscape(`/"><script>x`)))
		if strings.Contains(got.body, "<script>x") {
			t.Errorf("the page holds a script: %s", got.body)
		}
		got = s.do("GET", path+"?next=%2F%22%3E%3Cscript%3Ex", navigation, header("Referer", "javascript:alert(1)"))
		if strings.Contains(got.body, "<script>x") || strings.Contains(got.body, "javascript:") {
			t.Errorf("the page holds a script: %s", got.body)
		}
	})
	t.Run("a page for a cross-site form", func(t *testing.T) {
		got := s.do("POST", path, navigation, form(credentials), header("Origin", "https://evil.test"))
		if got.StatusCode != 403 || len(got.setCookies("sessionid")) != 0 || !strings.Contains(got.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%d %v", got.StatusCode, got.Header)
		}
	})
	t.Run("other methods", func(t *testing.T) {
		for _, method := range []string{"PUT", "DELETE", "PATCH", "TRACE"} {
			got := s.do(method, path)
			want(t, got, 405, `{"status":"error","message":"Método no permitido","code":"method_not_allowed"}`)
			if allow := got.Header.Get("Allow"); allow != "GET, HEAD, POST, OPTIONS" {
				t.Errorf("Allow: %s", allow)
			}
		}
	})
	t.Run("languages", func(t *testing.T) {
		seen := map[string]bool{}
		for _, language := range []string{"es", "en", "pt", "fr", "de"} {
			got := s.do("GET", path, navigation, header("Accept-Language", language))
			if got.Header.Get("Content-Language") != language || seen[got.body] {
				t.Errorf("%s: Content-Language %q", language, got.Header.Get("Content-Language"))
			}
			seen[got.body] = true
		}
	})
}

// TestRefusalsTakeTheSameTime: what the directory does for a name must not be
// told by the clock. The floor is far above all of it.
func TestRefusalsTakeTheSameTime(t *testing.T) {
	s := start(t, setup{auth: unthrottled})
	s.directory.Delay(20 * time.Millisecond)
	users := []string{"ac12345", "nobody", "bloqueada", "", "deshabilitada"}
	shortest := slices.Repeat([]time.Duration{time.Hour}, len(users))
	for range 6 { // the shortest of a few: a busy machine adds to any of them
		for i, user := range users {
			began := time.Now()
			want(t, s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON(user, "not-it-at-all"))), 401, bodyInvalidCredentials)
			shortest[i] = min(shortest[i], time.Since(began))
		}
		if slices.Max(shortest)-slices.Min(shortest) <= refusalFloor/2 {
			break
		}
	}
	if low, high := slices.Min(shortest), slices.Max(shortest); low < refusalFloor || high-low > refusalFloor/2 {
		t.Errorf("refusals took %v", shortest)
	}
}
