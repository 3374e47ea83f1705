package attack

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// adminapiStart starts a site whose admin endpoint a browser can reach.
func adminapiStart(t *testing.T) (s, endpoint *site) {
	t.Helper()
	s, text := prepare(t, setup{})
	endpoint = &site{dir: s.dir, port: freePort(t), echo: s.echo}
	text = strings.Replace(text, "admin unix/"+s.dir+"/admin.sock", "admin 127.0.0.1:"+endpoint.port, 1)
	s.run(t, text)
	return s, endpoint
}

// adminapiIDs are the sessions that the API lists.
func adminapiIDs(t *testing.T, endpoint *site) []string {
	t.Helper()
	return endpoint.do(t, "GET", "/ldap_auth/sessions", "").sessionIDs(t)
}

// A page could post to the admin endpoint on its visitor's machine, with the
// same-origin policy switched off for want of reading the answer. Caddy looks at
// the Origin now; behind that only DELETE changes anything, which no page sends
// without asking first.
func TestP22PagesCannotUseTheAdminAPI(t *testing.T) {
	t.Parallel()
	s, endpoint := adminapiStart(t)
	juan := s.signIn(t, juan)
	id := adminapiIDs(t, endpoint)[0]
	paths := []string{"/ldap_auth/sessions/" + id, "/ldap_auth/sessions?user=ac12345", "/ldap_auth/sessions", "/ldap_auth/users", "/ldap_auth/counts"}
	refused := func(what, method, path string, fields ...string) {
		t.Helper()
		r, err := endpoint.send(method, path, `{"user":"ac12345"}`, fields...)
		if err != nil {
			t.Fatal(err)
		}
		// Caddy answers HEAD with the error and no body.
		if r.status < 400 || r.status > 499 || strings.Contains(r.body, id) || r.header.Get("Access-Control-Allow-Origin") == originEvil {
			t.Errorf("%s: %s %s got %d %v %.200s", what, method, path, r.status, r.header, r.body)
		}
	}
	address := "127.0.0.1:" + endpoint.port
	for _, path := range paths {
		for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS", "PUT"} {
			for what, fields := range map[string][]string{
				"another site":                 {"Origin", originEvil},
				"another site, asking ahead":   {"Origin", originEvil, "Access-Control-Request-Method", "DELETE"},
				"another site's fetch":         {"Origin", originEvil, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "cross-site"},
				"a fetch that reads nothing":   {"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Site", "cross-site"},
				"one with the site's Referer":  {"Sec-Fetch-Mode", "no-cors", "Referer", "http://" + address + "/"},
				"a page without an origin":     {"Origin", "null"},
				"a link":                       {"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site", "Referer", originEvil + "/"},
				"a link that tells nothing":    {"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site"},
				"another port of this machine": {"Origin", "http://127.0.0.1:1"},
				"the protected site's own":     {"Origin", s.base()},
				"a WebSocket":                  {"Connection", "Upgrade", "Upgrade", "websocket", "Origin", originEvil},
				"a rebound name":               {"Host", "evil.example"},
				"a rebound name with the port": {"Host", "evil.example:" + endpoint.port},
				"a rebound name's page":        {"Host", "evil.example:" + endpoint.port, "Origin", "http://evil.example:" + endpoint.port},
				"a name that begins the same":  {"Host", "127.0.0.1.evil.example:" + endpoint.port},
			} {
				refused(what, method, path, fields...)
			}
		}
		// Old browsers say nothing of all this: what their forms and pictures
		// can send changes nothing, whatever poses as another method.
		for _, fields := range [][]string{
			{"Content-Type", "text/plain"}, {"Content-Type", csrfForm}, {"Content-Type", "application/json"},
			{"X-HTTP-Method-Override", "DELETE"}, {"X-HTTP-Method", "DELETE"},
		} {
			refused("a form", "POST", path, fields...)
		}
		endpoint.do(t, "GET", path+map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")]+"_method=DELETE", "", "X-HTTP-Method-Override", "DELETE")
	}
	wantServed(t, juan.get(t, "/x"))

	// What the API itself tells has no secret in it.
	token, err := base64.RawURLEncoding.DecodeString(juan.token)
	if err != nil {
		t.Fatal(err)
	}
	ofBytes, ofText := sha256.Sum256(token), sha256.Sum256([]byte(juan.token))
	for _, path := range slices.Concat(paths[:1], paths[2:]) {
		r := endpoint.do(t, "GET", path, "")
		if r.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
		told := []byte(strings.ToLower(fmt.Sprint(r.header) + r.body))
		for _, secret := range [][]byte{token, ofBytes[:], ofText[:], []byte(juan.csrf)} {
			for _, form := range []string{string(secret), hex.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret)} {
				if bytes.Contains(told, []byte(strings.ToLower(form))) {
					t.Errorf("%s tells a secret: %s", path, told)
				}
			}
		}
	}
	if r := endpoint.do(t, "DELETE", "/ldap_auth/sessions/"+id, ""); r.status != http.StatusOK {
		t.Errorf("an operator's DELETE: %d %s", r.status, r.body)
	}
	wantRefused(t, juan.get(t, "/x"))
}

// Caddy's own rules for its admin endpoint went by the beginning of a path, and
// took 00 for 0: here a path is one of the known ones in that very spelling.
func TestP26AdminPathsAreExact(t *testing.T) {
	t.Parallel()
	s, endpoint := adminapiStart(t)
	juan, maria := s.signIn(t, juan), s.signIn(t, maria)
	ids := adminapiIDs(t, endpoint)
	if len(ids) != 2 {
		t.Fatalf("the sessions %q", ids)
	}
	id := ids[0]
	for _, path := range []string{
		"/ldap_auth", "/ldap_auth/", "/ldap_auth/sessionsX", "/ldap_auth/session", "/ldap_auth/sessions/", "/ldap_auth/sessions/../", "/ldap_auth/sessions/../users", "/ldap_auth/./sessions", "/ldap_auth//sessions", "//ldap_auth/sessions",
		"/LDAP_AUTH/sessions", "/ldap_auth/Sessions", "/ldap_auth/SESSIONS/" + id, "/ldap_auth%2fsessions", "/ldap_auth/sessions%2f" + id, "/ldap_auth/sessions%00", "/ldap_auth/sessions;a=b", "/ldap_auth/sessions.json", "/ldap_auth/sessions%20",
		`/ldap_auth\sessions`, "/ldap_auth/sessions/" + id + "/", "/ldap_auth/sessions/" + id + "/x", "/ldap_auth/sessions/" + id + "X", "/ldap_auth/sessions/" + id[:len(id)-1], "/ldap_auth/sessions/" + strings.ToUpper(id),
		"/ldap_auth/sessions/" + id + "%00", "/ldap_auth/sessions/" + id + "%20", "/ldap_auth/sessions/" + id + ";a", "/ldap_auth/sessions/00", "/ldap_auth/sessions/0", "/ldap_auth/sessions/..%2fusers", "/ldap_auth/sessions/%2e%2e/users", "/ldap_auth/sessions/*",
		"/ldap_auth/users/", "/ldap_auth/usersX", "/ldap_auth/users/ac12345", "/ldap_auth/counts/", "/ldap_auth/countsX", "/ldap_auth/counts/../sessions", "/ldap_authX/sessions", "/ldap_auth-2/sessions", "/config/../ldap_auth/sessions", "/x/../ldap_auth/sessions",
		"/ldap_auth/sessions?" + url.Values{"USER": {"ac12345"}}.Encode(), "/ldap_auth/sessions?user=ac12345&user=mgarcia", "/ldap_auth/sessions?user[]=ac12345", "/ldap_auth/sessions?%75ser=ac12345&x", "/ldap_auth/sessions?user=*&all=1",
	} {
		for _, method := range []string{"GET", "DELETE", "POST"} {
			r := endpoint.raw(t, method+" "+path+" HTTP/1.1\nHost: HOST\nContent-Length: 0\nConnection: close\n\n")
			if r.status < 300 || r.status > 499 || strings.Contains(r.body, id) && strings.Contains(r.body, "last_seen") {
				t.Errorf("%s %s: %d %.200s", method, path, r.status, r.body)
			}
		}
	}
	wantServed(t, juan.get(t, "/x"))
	wantServed(t, maria.get(t, "/x"))
	if left := adminapiIDs(t, endpoint); !slices.Equal(left, ids) {
		t.Errorf("the sessions are %q now, were %q", left, ids)
	}
}
