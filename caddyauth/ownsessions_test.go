package caddyauth

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

const listPath = "/accounts/sessions/"

// sessionsOf lists the sessions of a client's user, the newest first.
func (s *server) sessionsOf(c signedIn) []listedSession {
	s.t.Helper()
	got := s.do("GET", listPath, c.cookies)
	var list struct {
		Status   string
		Sessions []listedSession
	}
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.StatusCode != 200 || list.Status != "ok" {
		s.t.Fatalf("%d %s: %v", got.StatusCode, got.body, err)
	}
	return list.Sessions
}

// idOf is the public id of a client's session.
func (s *server) idOf(c signedIn) string {
	s.t.Helper()
	for _, session := range s.sessionsOf(c) {
		if session.Current {
			return session.ID
		}
	}
	s.t.Fatal("no session is the current one")
	return ""
}

func TestOwnSessions(t *testing.T) {
	s := start(t, setup{site: "require_session {\nrequire /* \"IT Admins\"\n}\nreverse_proxy UPSTREAM"})
	first := s.signIn("ac12345")
	other := s.signIn("mgarcia")
	second := s.signIn("ac12345")
	third := s.signIn("ac12345")

	t.Run("as JSON", func(t *testing.T) {
		before := time.Now()
		for _, path := range []string{listPath, strings.TrimSuffix(listPath, "/")} {
			got := s.do("GET", path, second.cookies)
			ownAnswer(t, got)
			var list struct {
				Sessions []map[string]any `json:"sessions"`
			}
			if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.StatusCode != 200 || len(list.Sessions) != 3 {
				t.Fatalf("%d %s: %v", got.StatusCode, got.body, err)
			}
			wantIDs := []string{s.idOf(third), s.idOf(second), s.idOf(first)}
			for i, session := range list.Sessions {
				var keys []string
				for key := range session {
					keys = append(keys, key)
				}
				slices.Sort(keys)
				if !slices.Equal(keys, []string{"absolute_seconds_left", "client_ip", "created", "current", "id", "last_seen", "seconds_left"}) {
					t.Errorf("a session has the keys %v", keys)
				}
				if session["id"] != wantIDs[i] || session["current"] != (i == 1) || session["client_ip"] != "127.0.0.1" {
					t.Errorf("session %d: %v, want the id %s", i, session, wantIDs[i])
				}
				for _, key := range []string{"created", "last_seen"} {
					at, err := time.Parse("2006-01-02T15:04:05Z", session[key].(string))
					if err != nil || at.After(time.Now()) || before.Sub(at) > time.Minute {
						t.Errorf("%s of session %d: %v, %v", key, i, session[key], err)
					}
				}
				if left := session["seconds_left"].(float64); left > 3600 || left < 3500 {
					t.Errorf("seconds_left %v", left)
				}
				if left := session["absolute_seconds_left"].(float64); left > 43200 || left < 43100 {
					t.Errorf("absolute_seconds_left %v", left)
				}
			}
			wantNoSecrets(t, got.body, first, second, third, other)
		}
	})
	t.Run("only one's own", func(t *testing.T) {
		list := s.sessionsOf(other)
		if len(list) != 1 || !list[0].Current {
			t.Errorf("%+v", list)
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		if got := s.do("HEAD", listPath, first.cookies); got.StatusCode != 200 || got.body != "" || got.ContentLength < 100 {
			t.Errorf("%d, %d bytes, %q", got.StatusCode, got.ContentLength, got.body)
		}
	})
	t.Run("as a page", func(t *testing.T) {
		ids := []string{s.idOf(third), s.idOf(first)}
		for name, changes := range map[string][]change{
			"a navigation":             {navigation},
			"a browser on plain HTTP":  {header("Accept", "text/html,*/*;q=0.8")},
			"a navigation with a HEAD": {navigation},
		} {
			method := "GET"
			if strings.HasSuffix(name, "HEAD") {
				method = "HEAD"
			}
			got := s.do(method, listPath, append(changes, second.cookies)...)
			if got.StatusCode != 200 || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") || got.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("%s: %d %v", name, got.StatusCode, got.Header)
			}
			if method == "HEAD" {
				continue
			}
			for _, id := range ids {
				if strings.Count(got.body, `name="end" value="`+id+`"`) != 1 {
					t.Errorf("%s: no button for %s in %s", name, id, got.body)
				}
			}
			if strings.Contains(got.body, s.idOf(second)) {
				t.Error("the current session has a button")
			}
			if !strings.Contains(got.body, `value="others"`) || !strings.Contains(got.body, `name="csrfmiddlewaretoken" value="`+second.csrf+`"`) ||
				!strings.Contains(got.body, "Juan Pérez") || strings.Contains(got.body, second.token) {
				t.Errorf("%s: %s", name, got.body)
			}
		}
	})
	t.Run("a script of a page gets JSON", func(t *testing.T) {
		got := s.do("GET", listPath, first.cookies, header("Sec-Fetch-Mode", "cors"), header("Accept", "text/html"))
		if got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s", got.body)
		}
	})
	t.Run("the sign-in page leads there", func(t *testing.T) {
		if got := s.do("GET", "/accounts/login/", navigation, first.cookies); !strings.Contains(got.body, `href="`+listPath+`"`) {
			t.Errorf("%s", got.body)
		}
	})
	t.Run("other methods", func(t *testing.T) {
		for _, method := range []string{"PUT", "PATCH", "DELETE", "FOO"} {
			got := s.do(method, listPath, first.shown)
			want(t, got, 405, bodyMethod)
			if allow := got.Header.Get("Allow"); allow != "GET, HEAD, POST, OPTIONS" {
				t.Errorf("Allow: %s", allow)
			}
		}
		want(t, s.do("OPTIONS", listPath), 200, `{"status":"ok"}`)
	})
	if n := s.upstream.count(); n != 0 {
		t.Errorf("%d requests reached the upstream", n)
	}
}

// wantNoSecrets checks an answer for what must not leave the server.
func wantNoSecrets(t *testing.T, body string, clients ...signedIn) {
	t.Helper()
	for _, c := range clients {
		for name, secret := range map[string]string{"token": c.token, "CSRF secret": c.csrf, "device cookie": c.device} {
			if secret != "" && strings.Contains(body, secret) {
				t.Errorf("the answer holds a %s: %s", name, body)
			}
		}
	}
}

func TestOwnSessionsWithoutASession(t *testing.T) {
	s := start(t, setup{})
	for _, method := range []string{"GET", "POST"} {
		want(t, s.do(method, listPath), 401, bodyAuthenticationRequired)
		got := s.do(method, listPath, header("Cookie", "sessionid="+strings.Repeat("A", 43)))
		want(t, got, 401, bodyAuthenticationRequired)
		if cookies := got.Header["Set-Cookie"]; len(cookies) != 1 || cookies[0] != goneCookie {
			t.Errorf("%s: it set %q", method, cookies)
		}
	}
	got := s.do("GET", listPath, navigation)
	location, err := url.Parse(got.Header.Get("Location"))
	if err != nil || got.StatusCode != 303 || location.Path != "/accounts/login/" || location.Query().Get("next") != listPath {
		t.Fatalf("%d to %q: %v", got.StatusCode, got.Header.Get("Location"), err)
	}
	// And from there back.
	got = s.do("POST", "/accounts/login/", navigation, form("username=ac12345&password="+ldaptest.DemoPassword+"&next="+url.QueryEscape(listPath)))
	if got.StatusCode != 303 || got.Header.Get("Location") != listPath {
		t.Errorf("after the sign-in: %d to %q", got.StatusCode, got.Header.Get("Location"))
	}
	got = s.do("POST", listPath, navigation, form("end=others"))
	if got.StatusCode != 401 || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") || got.Header.Get("Location") != "" {
		t.Errorf("a form of a browser: %d %v", got.StatusCode, got.Header)
	}
}

func TestOwnSessionsWithoutAbsoluteTimeout(t *testing.T) {
	s := start(t, setup{sessions: "absolute_timeout off"})
	if got := s.do("GET", listPath, s.signIn("ac12345").cookies); !strings.Contains(got.body, `"absolute_seconds_left":null`) {
		t.Errorf("%s", got.body)
	}
}

// TestLookingAtTheListIsUse: it starts the idle timer of the session that looks,
// and of no other, and sends its cookie again.
func TestLookingAtTheListIsUse(t *testing.T) {
	s, clock := startByHand(t, setup{})
	looks := s.signIn("ac12345")
	clock.pass(time.Second) // the list goes by the time
	idle := s.signIn("ac12345")
	clock.pass(40 * time.Minute)
	got := s.do("GET", listPath, navigation, looks.cookies)
	if cookies := got.setCookies("sessionid"); got.StatusCode != 200 || len(cookies) != 1 || !strings.Contains(cookies[0], looks.token+"; Max-Age=3600") {
		t.Errorf("%d, it set %q", got.StatusCode, cookies)
	}
	list := s.sessionsOf(looks)
	if len(list) != 2 || list[0].SecondsLeft != 1200 || list[1].SecondsLeft != 3600 || !list[1].Current {
		t.Errorf("%+v", list)
	}
	clock.pass(40 * time.Minute)
	if list := s.sessionsOf(looks); len(list) != 1 || !list[0].Current {
		t.Errorf("an expired session is listed: %+v", list)
	}
	want(t, s.do("GET", "/x", idle.cookies), 401, bodyAuthenticationRequired)
}

func TestOwnSessionsUnderOtherPaths(t *testing.T) {
	const login = "ldap_login {\nsessions /mis/sesiones\npage /entrar\nhome /mis/sesiones\n}\n"
	for name, site := range map[string]string{
		"beside the gate": login + "require_session\nreverse_proxy UPSTREAM",
		"alone":           login + "reverse_proxy UPSTREAM",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{site: site})
			c := s.signIn("ac12345")
			for _, path := range []string{"/mis/sesiones", "/mis/sesiones/"} {
				if got := s.do("GET", path, c.cookies); got.StatusCode != 200 || !strings.Contains(got.body, `"current":true`) {
					t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
				}
			}
			if got := s.do("GET", "/mis/sesiones", navigation); got.Header.Get("Location") != "/entrar?next=%2Fmis%2Fsesiones" {
				t.Errorf("led to %q", got.Header.Get("Location"))
			}
			got := s.do("POST", "/entrar", navigation, form("username=ac12345&password="+ldaptest.DemoPassword))
			if got.StatusCode != 303 || got.Header.Get("Location") != "/mis/sesiones" {
				t.Errorf("after the sign-in: %d to %q", got.StatusCode, got.Header.Get("Location"))
			}
			got = s.do("POST", "/mis/sesiones/", navigation, c.cookies, form("end=others&csrfmiddlewaretoken="+c.csrf))
			if got.StatusCode != 303 || got.Header.Get("Location") != "/mis/sesiones" {
				t.Errorf("after ending: %d to %q", got.StatusCode, got.Header.Get("Location"))
			}
			// The default path is one of the site's, gated or not.
			if got := s.do("GET", listPath, c.cookies); got.body != "upstream" {
				t.Errorf("the default path: %d %s", got.StatusCode, got.body)
			}
		})
	}
}

func TestOwnSessionsWhileTheStoreIsDown(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := start(t, setup{storage: storage})
	c, other := s.signIn("ac12345"), s.signIn("ac12345")
	faults.down.Store(true)
	mark := logged.mark()
	want503(t, s.do("GET", listPath, c.cookies), bodyStore)
	want503(t, s.do("GET", listPath, header("Cookie", "sessionid="+sessionstore.NewToken().Value())), bodyStore)
	for _, end := range []string{"others", "AAAA"} {
		want503(t, s.do("POST", listPath, c.shown, jsonBody(`{"end":"`+end+`"}`)), bodyStore)
	}
	got := s.do("GET", listPath, navigation, c.cookies)
	if got.StatusCode != 503 || got.Header.Get("Retry-After") == "" || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
		t.Errorf("a page: %d %v", got.StatusCode, got.Header)
	}
	wantLog(t, mark, "session store failed", errStoreDown.Error(), "listing the sessions of a user")
	wantLog(t, mark, "session store failed", errStoreDown.Error(), "ending sessions of a user")
	if lines := auditSince(t, mark); len(lines) != 0 {
		t.Errorf("%v", lines)
	}
	faults.down.Store(false)
	want(t, s.do("GET", "/x", other.cookies), 200, "upstream")
	want(t, s.do("POST", listPath, c.shown, jsonBody(`{"end":"others"}`)), 200, `{"status":"ok","ended":1}`)
}

// TestOwnSessionsShowHostileNamesAsText: names come from the directory, which is
// not always under one's own control.
func TestOwnSessionsShowHostileNamesAsText(t *testing.T) {
	dir := ldaptest.Demo()
	for i := range dir.Users {
		dir.Users[i].DisplayName = `</form><script>alert(1)</script>"'`
	}
	s := start(t, setup{directory: &dir})
	c := s.signIn("ac12345")
	s.signIn("ac12345")
	got := s.do("GET", listPath, navigation, c.cookies)
	if got.StatusCode != 200 || strings.Contains(got.body, "<script>alert") || !strings.Contains(got.body, "&lt;script&gt;alert(1)") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}
