package caddyauth

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// TestStartWhileRedisIsDown: Caddy starts and serves what needs no session;
// whoever has one, or wants one, is told to come back, and nobody's password
// goes to the directory for nothing. All of it works once Redis is there.
func TestStartWhileRedisIsDown(t *testing.T) {
	// Always, because what is written once a second is lost when it is killed.
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"appendfsync always"}})
	server.Kill()
	mark := logged.mark()
	s, a := startAdmin(t, setup{
		storage: redisLine(server, "password clave-de-redis"),
		site:    "require_session {\npublic /public/*\n}\nreverse_proxy UPSTREAM",
	})
	logged.keepSecret("password of Redis", "clave-de-redis")
	unknown := header("Cookie", "sessionid="+strings.Repeat("A", 43))
	quick := func(what string, ask func()) {
		t.Helper()
		began := time.Now()
		if ask(); time.Since(began) > 10*time.Second {
			t.Errorf("%s took %v", what, time.Since(began))
		}
	}

	t.Run("what needs no session is answered as always", func(t *testing.T) {
		quick("it", func() {
			want(t, s.do("GET", "/x"), 401, bodyAuthenticationRequired)
			want(t, s.do("GET", "/x", header("Cookie", "sessionid=malformed; a=b")), 401, bodyAuthenticationRequired)
			want(t, s.do("GET", "/public/x"), 200, "upstream")
			want(t, s.do("GET", "/public/x", unknown), 200, "upstream")
			if got := s.do("GET", "/x", navigation); got.StatusCode != 303 || !strings.HasPrefix(got.Header.Get("Location"), "/accounts/login/") {
				t.Errorf("a navigation: %d %v", got.StatusCode, got.Header)
			}
			if got := s.do("GET", "/accounts/login/", navigation); got.StatusCode != 200 || !strings.Contains(got.body, `name="password"`) {
				t.Errorf("the sign-in page: %d %s", got.StatusCode, got.body)
			}
		})
	})
	t.Run("a session is not known", func(t *testing.T) {
		upstream := s.upstream.count()
		quick("it", func() {
			want503(t, s.do("GET", "/x", unknown), bodyStore)
			want503(t, s.do("GET", "/api/session/", unknown), bodyStore)
			want503(t, s.do("GET", "/api/logout/", unknown), signInStoreDown)
			if got := s.do("GET", "/x", unknown, navigation); got.StatusCode != 503 || got.Header.Get("Retry-After") == "" || len(got.setCookies("sessionid")) != 0 {
				t.Errorf("a navigation: %d %v", got.StatusCode, got.Header)
			}
		})
		if s.upstream.count() != upstream {
			t.Error("the upstream was reached")
		}
	})
	t.Run("a sign-in binds nowhere", func(t *testing.T) {
		binds := s.directory.Binds()
		quick("it", func() {
			want503(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)), signInStoreDown)
			got := s.do("POST", "/accounts/login/", navigation, form("username=ac12345&password="+ldaptest.DemoPassword))
			if got.StatusCode != 503 || got.Header.Get("Retry-After") == "" || len(got.setCookies("sessionid")) != 0 {
				t.Errorf("a form: %d %v", got.StatusCode, got.Header)
			}
		})
		if n := s.directory.Binds() - binds; n != 0 {
			t.Errorf("%d binds at the directory", n)
		}
	})
	t.Run("operators are told", func(t *testing.T) {
		quick("it", func() {
			for _, path := range []string{"/ldap_auth/sessions", "/ldap_auth/users", "/ldap_auth/counts"} {
				got := a.do("GET", path)
				var refusal struct{ Error string }
				if err := json.Unmarshal([]byte(got.body), &refusal); err != nil || got.StatusCode != http.StatusServiceUnavailable ||
					!strings.Contains(refusal.Error, "session store") || got.Header.Get("Retry-After") == "" {
					t.Errorf("GET %s: %d %s, Retry-After %q", path, got.StatusCode, got.body, got.Header.Get("Retry-After"))
				}
			}
			run := runLDAPSessions(t, "list", "--address", a.address)
			if run.exitCode != 1 || !strings.Contains(run.err, "503") || !strings.Contains(run.err, "session store") {
				t.Errorf("ldap-sessions: %+v", run)
			}
		})
		wantLog(t, mark, `"level":"error"`, server.Addr)
	})
	t.Run("the log has a line for each trouble, not for each request", func(t *testing.T) {
		mark := logged.mark()
		for range 30 {
			want503(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)), signInStoreDown)
			want503(t, s.do("GET", "/x", unknown), bodyStore)
		}
		lines := strings.Join(logged.since(mark), "\n")
		if n := strings.Count(lines, `"level":"error"`); n > 2 {
			t.Errorf("%d error lines for 60 requests:\n%s", n, lines)
		}
	})
	t.Run("a reload changes nothing of it", func(t *testing.T) {
		quick("it", func() {
			if err := s.load(a.text); err != nil {
				t.Fatal(err)
			}
			want503(t, s.do("GET", "/x", unknown), bodyStore)
			want(t, s.do("GET", "/x"), 401, bodyAuthenticationRequired)
		})
		onlyHandle(t)
	})

	server.Restart(t)
	newRedisConsole(t, server).say("CONFIG SET requirepass clave-de-redis")
	until(t, "sign-ins work", func() bool { return s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)).StatusCode == 200 })
	c := s.signIn("mgarcia")
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	want(t, s.do("GET", "/x", unknown), 401, bodyAuthenticationRequired)
	if got := a.do("GET", "/ldap_auth/sessions"); got.StatusCode != 200 {
		t.Errorf("listing: %d %s", got.StatusCode, got.body)
	}

	// And while it serves: what is known of nobody is never made up.
	server.Kill()
	until(t, "it is noticed", func() bool { return s.do("GET", "/x", c.cookies).StatusCode == 503 })
	for range 20 {
		want503(t, s.do("GET", "/x", c.cookies), bodyStore)
	}
	server.Restart(t)
	until(t, "the session is there again", func() bool {
		got := s.do("GET", "/x", c.cookies)
		if got.StatusCode != 200 {
			want503(t, got, bodyStore)
		}
		return got.StatusCode == 200
	})
}
