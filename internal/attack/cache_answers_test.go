package attack

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// What the gate answers itself is kept by no cache: neither a refusal, which
// would lock others out, nor what names somebody or sets a cookie.
func TestS33OwnAnswersAreNotStored(t *testing.T) {
	t.Parallel()
	s := start(t, setup{server: cacheBehind, auth: "throttle insecure_off", site: "require_session {\npublic /open/*\nrequire /group/* \"IT Admins\"\n}\nreverse_proxy UPSTREAM"})
	through := s.cached(t)
	navigation := []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	json := []string{"Content-Type", "application/json"}
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}

	for kind, s := range through {
		t.Run("through a cache "+kind, func(t *testing.T) {
			set := map[string]string{} // cookies, and who was given them
			names := map[string]string{"juan": juan, "maria": maria}
			held := map[string]session{}
			ask := func(who, name string, status int, method, target, body string, fields ...string) reply {
				t.Helper()
				if held[who].site != nil {
					fields = append(fields, "Cookie", held[who].cookie())
				}
				r := s.do(t, method, target, body, fields...)
				if r.status != status || r.fromCache() || cacheMayStore(r.header) || strings.Join(r.header["Cache-Control"], ", ") != "no-store" {
					t.Errorf("%s for %s: %d %s with %v, want %d with no-store, and not from the cache", name, who, r.status, r.header.Get("X-Cache-Status"), r.header, status)
				}
				for cookie, c := range r.cookies {
					if owner, ok := set[c.Value]; ok && owner != who && c.Value != "" {
						t.Errorf("%s for %s: it sets the %s that was %s's", name, who, cookie, owner)
					}
					set[c.Value] = who
				}
				for other, session := range held {
					all := r.body + fmt.Sprint(r.header)
					if other != who && (strings.Contains(all, session.token) || strings.Contains(all, session.csrf) || strings.Contains(all, names[other])) {
						t.Errorf("%s for %s shows what is %s's: %v %q", name, who, other, r.header, r.body)
					}
					if strings.Contains(r.body+r.header.Get("Location"), session.token) {
						t.Errorf("%s for %s has a session's token outside of Set-Cookie: %v %q", name, who, r.header, r.body)
					}
				}
				return r
			}

			for _, who := range []string{"juan", "maria"} {
				credentials := fmt.Sprintf(`{"username":%q,"password":%q}`, names[who], ldaptest.DemoPassword)
				held[who] = s.sessionOf(t, ask(who, "a sign-in", 200, "POST", "/api/login-ldap/", credentials, json...))
				wantCode(t, ask("nobody", "a wrong password", 401, "POST", "/api/login-ldap/", `{"username":"nobody.here","password":"x"}`, json...), 401, "invalid_credentials")
			}
			for range 2 {
				for _, who := range []string{"juan", "nobody", "maria"} {
					status := func(signedIn, otherwise int) int {
						if held[who].site != nil {
							return signedIn
						}
						return otherwise
					}
					ask(who, "the sign-in page", 200, "GET", "/accounts/login/", "", navigation...)
					ask(who, "the sign-in page's header", 200, "HEAD", "/accounts/login/", "")
					ask(who, "who is signed in", status(200, 401), "GET", "/api/session/", "")
					ask(who, "their sessions", status(200, 303), "GET", "/accounts/sessions/", "", navigation...)
					ask(who, "a form without a token", status(403, 401), "POST", "/inside", "a=b", form...)
					ask(who, "a sign-in by GET", 405, "GET", "/api/login-ldap/", "")
					ask(who, "something else than JSON", 415, "POST", "/api/login-ldap/", "a=b", form...)
					ask(who, "a logout from elsewhere", 403, "GET", "/api/logout/", "", "Origin", "https://evil.test")
				}
				ask("juan", "a refusal of the group", 403, "GET", "/group/page", "")
				ask("juan", "a refusal of the group to a browser", 403, "GET", "/group/page", "", navigation...)
				ask("nobody", "a redirect to the page", 303, "GET", "/inside/page", "", navigation...)
				wantRefused(t, ask("nobody", "a refusal", 401, "GET", "/group/page", ""))
				ask("juan", "an ambiguous path", 403, "GET", "/group/../page;x", "")
			}
			ask("juan", "a logout", 200, "GET", "/api/logout/", "", navigation...)
			delete(held, "juan")
			ask("nobody", "the logout page", 200, "GET", "/api/logout/", "", navigation...)
			ask("maria", "who is signed in", 200, "GET", "/api/session/", "")
			ask("maria", "a logout", 200, "GET", "/api/logout/", "")
			wantRefused(t, s.do(t, "GET", "/inside", "", "Cookie", held["maria"].cookie()))
		})
	}
}

// A token is taken from no address and put into none: addresses are in logs,
// histories and Referer headers.
func TestS33NoTokensInAddresses(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	juan := s.signIn(t, juan)
	for _, target := range []string{"/page?sessionid=" + juan.token, "/page?token=" + juan.token + "&csrftoken=" + juan.csrf, "/page;sessionid=" + juan.token} {
		wantRefused(t, s.do(t, "GET", target, ""))
	}
	s.wantNothingUpstream(t)

	query := "?username=ac12345&password=" + ldaptest.DemoPassword
	for _, path := range []string{"/accounts/login/", "/api/login-ldap/"} {
		for _, method := range []string{"GET", "POST"} {
			r := s.do(t, method, path+query, "", "Content-Type", "application/x-www-form-urlencoded")
			if r.cookies["sessionid"] != nil || strings.Contains(r.body, ldaptest.DemoPassword) {
				t.Errorf("%s %s with the password in the address: %d %v %q", method, path, r.status, r.header["Set-Cookie"], r.body)
			}
		}
	}
	r := s.do(t, "POST", "/accounts/login/", "username=ac12345&password="+ldaptest.DemoPassword+"&next=/page", "Content-Type", "application/x-www-form-urlencoded",
		"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin")
	if token := r.cookies["sessionid"]; r.status != http.StatusSeeOther || r.header.Get("Location") != "/page" || token == nil || strings.Contains(r.body, token.Value) {
		t.Errorf("a sign-in by form: %d %v %q, want 303 to /page and a cookie", r.status, r.header, r.body)
	}
	wantServed(t, juan.get(t, "/page"))
	if raw := s.echo.Last(t).Raw; strings.Contains(raw, juan.token) {
		t.Errorf("the token reached the upstream: %q", raw)
	}
}

// A public page that looks at who is signed in is another page for each.
func TestS33PublicPagesThatLookAtTheSession(t *testing.T) {
	t.Parallel()
	s := start(t, setup{server: cacheBehind, site: `
	require_session {
		public /mixed/* /open/*
	}
	header Cache-Control "public, max-age=3600"
	@it session_group "IT Admins"
	handle /mixed/* {
		respond @it "for IT Admins"
		respond "for everybody"
	}
	respond "for the world"`})
	through := s.cached(t)
	juan, maria := s.signIn(t, juan), s.signIn(t, maria)
	for kind, s := range through {
		for name, order := range map[string][]string{"maria first": {"maria", "nobody", "nobody", "juan"}, "juan first": {"juan", "maria", "juan", "maria", "nobody"}, "nobody first": {"nobody", "maria", "juan", "nobody", "maria"}} {
			t.Run(name+" through a cache "+kind, func(t *testing.T) {
				for _, who := range order {
					cookie, want := "", "for everybody"
					switch who {
					case "maria":
						cookie, want = maria.cookie(), "for IT Admins"
					case "juan":
						cookie = juan.cookie()
					}
					r := s.do(t, "GET", "/mixed/page?"+strings.ReplaceAll(name, " ", "-"), "", "Cookie", cookie)
					if r.status != http.StatusOK || r.body != want {
						t.Errorf("%s gets %d %s %q, want %q", who, r.status, r.header.Get("X-Cache-Status"), r.body, want)
					}
				}
			})
		}
		s.do(t, "GET", "/open/page", "", "Cookie", maria.cookie())
		if r := s.do(t, "GET", "/open/page", ""); r.body != "for the world" || r.header.Get("X-Cache-Status") != "HIT" {
			t.Errorf("through a cache %s the public page comes with %s %q, want a hit", kind, r.header.Get("X-Cache-Status"), r.body)
		}
	}
}
