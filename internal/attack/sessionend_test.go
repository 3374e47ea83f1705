package attack

import (
	"net/http"
	"strings"
	"testing"
)

// sessionIsOver replays a session's cookies on every kind of route and protocol
// and fails if any still knows it.
func sessionIsOver(t *testing.T, old session) {
	t.Helper()
	old.echo.Forget()
	wantRefused(t, old.get(t, "/"))
	wantRefused(t, old.do(t, "GET", "/", "", "Cookie", "sessionid="+old.token))
	wantRefused(t, old.get(t, "/accounts/sessions/"))
	wantCode(t, old.get(t, "/api/session/"), http.StatusUnauthorized, "authentication_required")
	wantCode(t, old.post(t, "/", "x=y", "Content-Type", "application/x-www-form-urlencoded"), http.StatusUnauthorized, "authentication_required")
	r := old.raw(t, "GET / HTTP/1.1\nHost: HOST\nCookie: "+old.cookie()+"\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n")
	wantCode(t, r, http.StatusUnauthorized, "authentication_required")
	if r := old.get(t, "/", sessionNavigation()...); r.status != http.StatusSeeOther || !strings.HasPrefix(r.header.Get("Location"), "/accounts/login/") {
		t.Errorf("a browser got %d to %q", r.status, r.header.Get("Location"))
	}
	if r, err := old.h2(t, h2Request{fields: [][2]string{{"cookie", old.cookie()}}}); err != nil || r.status != http.StatusUnauthorized {
		t.Errorf("on HTTP/2: %d, %v", r.status, err)
	}
	old.wantNothingUpstream(t)
}

// A cookie that was saved before the sign-out opens nothing after it, however
// the sign-out was asked for.
func TestP09SavedCookieIsWorthlessAfterASignOut(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, test := range []struct {
		name    string
		signOut func(c session) reply
	}{
		{"by POST", func(c session) reply { return c.post(t, "/api/logout/", "") }},
		{"by GET", func(c session) reply { return c.get(t, "/api/logout/") }},
		{"without the last slash", func(c session) reply { return c.post(t, "/api/logout", "") }},
		{"in a browser", func(c session) reply {
			return c.post(t, "/api/logout/", "csrfmiddlewaretoken="+c.csrf, append(sessionNavigation(), "Content-Type", "application/x-www-form-urlencoded")...)
		}},
		{"with a planted cookie beside it", func(c session) reply {
			return c.do(t, "POST", "/api/logout/", "", "Cookie", "sessionid="+strings.Repeat("A", 43)+"; "+c.cookie(), "X-CSRFToken", c.csrf)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			saved, other := s.signIn(t, juan), s.signIn(t, juan)
			wantServed(t, saved.get(t, "/"))
			r := test.signOut(saved)
			if cookie := r.cookies["sessionid"]; r.status != http.StatusOK || cookie == nil || cookie.Value != "" || cookie.MaxAge >= 0 {
				t.Errorf("the sign-out: %d %s %v", r.status, r.body, r.header["Set-Cookie"])
			}
			sessionIsOver(t, saved)
			wantServed(t, other.get(t, "/"))
			if ids := s.sessionIDs(t, juan); len(ids) != 1 {
				t.Errorf("there are the sessions %v, want the other one", ids)
			}
			other.signOut(t)
		})
	}
}

// What ended has ended when the answer is there: a crash right behind it brings
// nothing back, and neither does the start after it.
func TestS05EndsHoldOverACrash(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{})
	s.run(t, text)
	stays := s.signIn(t, maria)
	whole := t // for as long as which Caddy runs
	for _, test := range []struct {
		name string
		end  func(t *testing.T) (over []session)
	}{
		{"a sign-out", func(t *testing.T) []session {
			c := s.signIn(t, juan)
			wantServed(t, c.get(t, "/"))
			c.signOut(t)
			return []session{c}
		}},
		{"a sign-in as another", func(t *testing.T) []session {
			c := s.signIn(t, juan)
			s.signIn(t, juan, "Cookie", c.cookie()).signOut(t)
			return []session{c}
		}},
		{"all others, ended by their owner", func(t *testing.T) []session {
			first, second := s.signIn(t, juan), s.signIn(t, juan)
			wantServed(t, first.get(t, "/"))
			if r := second.post(t, "/accounts/sessions/", `{"end":"others"}`, "Content-Type", "application/json"); r.status != http.StatusOK {
				t.Fatalf("%d %s", r.status, r.body)
			}
			return []session{first}
		}},
		{"all of a person, ended by an operator", func(t *testing.T) []session {
			first, second := s.signIn(t, juan), s.signIn(t, juan)
			s.endSessions(t, juan)
			return []session{first, second}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			over := test.end(t)
			s.child.Kill()
			s.restart(whole, text)
			for _, old := range over {
				sessionIsOver(t, old)
			}
			wantServed(t, stays.get(t, "/"))
			if r := s.admin(t, "DELETE", "/ldap_auth/sessions?user="+juan, ""); r.status != http.StatusOK && r.status != http.StatusNotFound {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	// And an acknowledged sign-in survives one.
	fresh := s.signIn(t, juan)
	s.child.Kill()
	s.restart(t, text)
	wantServed(t, fresh.get(t, "/"))
}

// Every page of a signed-in person has a way out, and an operator can end one
// session, all of a person, by API and command.
func TestS08WaysOutForPeopleAndOperators(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	c := s.signIn(t, juan)
	for _, path := range []string{"/accounts/login/", "/accounts/sessions/"} {
		if r := c.get(t, path, sessionNavigation()...); !strings.Contains(r.body, `action="/api/logout/"`) {
			t.Errorf("%s has no way out: %d %s", path, r.status, r.body)
		}
	}
	if r := c.get(t, "/api/logout/", sessionNavigation()...); r.status != http.StatusOK || !strings.Contains(r.header.Get("Content-Type"), "text/html") {
		t.Errorf("a browser that signs out got %d %v", r.status, r.header)
	}
	sessionIsOver(t, c)

	first, second, other := s.signIn(t, juan), s.signIn(t, juan), s.signIn(t, maria)
	ids := s.sessionIDs(t, juan)
	if len(ids) != 2 {
		t.Fatalf("the operator sees %v", ids)
	}
	if r := s.admin(t, "DELETE", "/ldap_auth/sessions/"+ids[0], ""); r.status != http.StatusOK {
		t.Fatalf("ending one: %d %s", r.status, r.body)
	}
	sessionIsOver(t, first)
	wantServed(t, second.get(t, "/"))
	command := s.command(t, "ldap-sessions", "end", "--user", juan, "--address", "unix/"+s.dir+"/admin.sock")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("ending all: %v\n%s", err, out)
	}
	sessionIsOver(t, second)
	wantServed(t, other.get(t, "/"))
}

// A sign-out that was carried out has the browser drop what it kept of the
// site; one that was refused must not, or any site could make it.
func TestS34SignOutClearsWhatTheBrowserKeeps(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	clears := func(r reply) bool {
		values := r.header["Clear-Site-Data"]
		return len(values) == 1 && strings.Contains(values[0], `"cache"`) && strings.Contains(values[0], `"storage"`)
	}
	c := s.signIn(t, juan)
	for _, r := range []reply{
		c.get(t, "/"), c.get(t, "/accounts/login/"),
		c.do(t, "POST", "/api/logout/", "", "Cookie", c.cookie()),
		c.get(t, "/api/logout/", "Origin", "https://evil.test"),
		c.get(t, "/api/logout/", "Sec-Fetch-Site", "cross-site"),
		c.do(t, "HEAD", "/api/logout/", "", "Cookie", c.cookie()),
	} {
		if r.header["Clear-Site-Data"] != nil {
			t.Errorf("%d with Clear-Site-Data %q", r.status, r.header["Clear-Site-Data"])
		}
	}
	wantServed(t, c.get(t, "/"))
	if r := c.signOut(t); !clears(r) || r.cookies["sessionid"] == nil || r.cookies["sessionid"].MaxAge >= 0 {
		t.Errorf("a sign-out has the header %v", r.header)
	}
	if r := s.signIn(t, juan).get(t, "/api/logout/", sessionNavigation()...); r.status != http.StatusOK || !clears(r) {
		t.Errorf("a sign-out in a browser: %d %v", r.status, r.header)
	}
}

// Two sites of one store: a session is good at both only as far as each says.
func TestR05SessionOfOneSiteOnAnother(t *testing.T) {
	t.Parallel()
	second := freePort(t)
	s := start(t, setup{
		site: "require_session Ingenieria\n\treverse_proxy UPSTREAM",
		more: "http://:" + second + " {\n\tbind 127.0.0.1\n\trequire_session \"IT Admins\"\n\treverse_proxy UPSTREAM\n}",
	})
	elsewhere := *s
	elsewhere.port = second
	juan := s.signIn(t, juan)
	maria := elsewhere.signIn(t, maria)
	wantServed(t, juan.get(t, "/"))
	wantServed(t, maria.get(t, "/"))
	s.echo.Forget()
	wantCode(t, elsewhere.do(t, "GET", "/", "", "Cookie", juan.cookie()), http.StatusForbidden, "group_required")
	wantCode(t, s.do(t, "GET", "/", "", "Cookie", maria.cookie()), http.StatusForbidden, "group_required")
	s.wantNothingUpstream(t)
	// A sign-out at one is one at both, at once.
	juan.signOut(t)
	wantRefused(t, elsewhere.do(t, "GET", "/", "", "Cookie", juan.cookie()))
}
