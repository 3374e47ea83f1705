package caddyauth

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

func TestFresh(t *testing.T) {
	s, clock := startByHand(t, setup{auth: "trusted_origins https://app.trusted.test", site: `require_session {
		fresh 10m
		public /public/*
		require /admin/* "IT Admins"
	}
	reverse_proxy UPSTREAM`})
	juan, maria := s.signIn("ac12345"), s.signIn("mgarcia")
	clock.pass(10 * time.Minute)
	want(t, s.do("GET", "/x", juan.cookies), 200, "upstream")
	want(t, s.do("POST", "/x", juan.shown), 200, "upstream")
	clock.pass(time.Nanosecond)

	before := s.upstream.count()
	const websocket = "Connection: Upgrade, close\nUpgrade: websocket\n"
	t.Run("what is refused", func(t *testing.T) {
		mark := logged.mark()
		got := s.do("GET", "/x", juan.cookies)
		want(t, got, 403, bodyReauthenticate)
		ownAnswer(t, got)
		if len(got.setCookies("sessionid")) != 0 && !strings.Contains(got.setCookies("sessionid")[0], juan.token) {
			t.Errorf("it set %q", got.Header["Set-Cookie"])
		}
		wantAudit(t, mark, auditLine{"event": "forbidden", "result": "refused", "reason": "reauthentication_required", "user": "ac12345", "path": "/x"})
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"} {
			want(t, s.do(method, "/x", juan.shown), 403, bodyReauthenticate)
		}
		want(t, s.do("HEAD", "/x", juan.cookies), 403, "")
		want(t, s.do("GET", "/admin/x", maria.cookies), 403, bodyReauthenticate)
		want(t, s.do("GET", "/a//b", maria.cookies), 403, bodyReauthenticate) // ambiguous, and in all groups
		want(t, s.rawRequest("GET /x HTTP/1.1\nHost: HOST\nCookie: sessionid="+juan.token+"\n"+websocket+"Origin: http://HOST\n\n"), 403, bodyReauthenticate)
		want(t, s.rawRequest("GET /x HTTP/1.1\nHost: HOST\nAccept: text/html\nCookie: sessionid="+juan.token+"\n"+websocket+"\n"), 403, bodyReauthenticate)
		cross := s.do("GET", "/x", juan.cookies, header("Origin", "https://app.trusted.test"))
		want(t, cross, 403, bodyReauthenticate)
		if cross.Header.Get("Access-Control-Allow-Origin") != "https://app.trusted.test" || cross.Header.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("a trusted origin cannot read why: %v", cross.Header)
		}
	})
	t.Run("what is refused for another reason", func(t *testing.T) {
		want(t, s.do("GET", "/admin/x", juan.cookies), 403, bodyGroup)
		want(t, s.do("GET", "/a//b", juan.cookies), 403, bodyAmbiguous)
		want(t, s.do("POST", "/x", juan.cookies), 403, bodyCSRF)
		want(t, s.do("POST", "/x", juan.shown, header("Origin", "https://evil.test")), 403, bodyOrigin)
		want(t, s.do("GET", "/x"), 401, bodyAuthenticationRequired)
		want(t, s.rawRequest("GET /x HTTP/1.1\nHost: HOST\nCookie: sessionid="+juan.token+"\n"+websocket+"Origin: https://evil.test\n\n"), 403, bodyOrigin)
	})
	if n := s.upstream.count() - before; n != 0 {
		t.Errorf("%d requests reached the upstream", n)
	}
	t.Run("what needs none", func(t *testing.T) {
		want(t, s.do("GET", "/public/x", juan.cookies), 200, "upstream")
		want(t, s.do("OPTIONS", "/x", header("Origin", "https://app.trusted.test"), header("Access-Control-Request-Method", "POST")), 200, `{"status":"ok"}`)
		for _, path := range []string{"/api/session/", listPath, "/accounts/login/"} {
			if got := s.do("GET", path, juan.cookies); got.StatusCode != 200 {
				t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
			}
		}
	})
	t.Run("the page, and the way back", func(t *testing.T) {
		got := s.do("GET", "/x?a=b&c=d", navigation, juan.cookies)
		for _, part := range []string{
			"<h1>Inicie sesión de nuevo</h1>", "Juan Pérez", `action="/accounts/login/"`, `name="username" type="text" value="ac12345"`,
			`name="next" value="/x?a=b&amp;c=d"`, `name="csrfmiddlewaretoken" value="` + juan.csrf + `"`,
		} {
			if got.StatusCode != 403 || !strings.Contains(got.body, part) {
				t.Errorf("%d, the page lacks %s: %s", got.StatusCode, part, got.body)
			}
		}
		if got := s.do("HEAD", "/x", navigation, juan.cookies); got.StatusCode != 403 || got.body != "" {
			t.Errorf("HEAD: %d %s", got.StatusCode, got.body)
		}
		if got := s.do("GET", "//evil.test/", navigation, juan.cookies); got.StatusCode != 403 || strings.Contains(got.body, `name="next"`) {
			t.Errorf("a target elsewhere: %d %s", got.StatusCode, got.body)
		}
		post := s.do("POST", "/x", navigation, juan.cookies, form("csrfmiddlewaretoken="+juan.csrf+"&monto=7"))
		if post.StatusCode != 403 || strings.Contains(post.body, `name="next"`) || strings.Contains(post.body, "monto") || !strings.Contains(post.body, `name="password"`) {
			t.Errorf("a form: %d %s", post.StatusCode, post.body)
		}
		wrong := s.do("POST", "/accounts/login/", navigation, juan.cookies, form("username=ac12345&password=wrong&next=%2Fx"))
		if wrong.StatusCode != 401 || wrong.cookie("sessionid") != "" {
			t.Errorf("a wrong password: %d %q", wrong.StatusCode, wrong.Header["Set-Cookie"])
		}
		want(t, s.do("GET", "/x", juan.cookies), 403, bodyReauthenticate)

		back := s.do("POST", "/accounts/login/", navigation, juan.cookies, form("username=ac12345&password="+ldaptest.DemoPassword+"&next="+url.QueryEscape("/x?a=b&c=d")))
		if back.StatusCode != 303 || back.Header.Get("Location") != "/x?a=b&c=d" {
			t.Fatalf("%d to %q", back.StatusCode, back.Header.Get("Location"))
		}
		again := signedIn{token: back.cookie("sessionid"), csrf: back.cookie("csrftoken")}
		want(t, s.do("GET", "/x?a=b&c=d", again.cookies), 200, "upstream")
		want(t, s.do("GET", "/x", juan.cookies), 401, bodyAuthenticationRequired) // the old one is replaced
		juan = again
	})
	t.Run("signed in again as somebody else", func(t *testing.T) {
		other := s.signIn("ac12345", maria.cookies)
		want(t, s.do("GET", "/x", other.cookies), 200, "upstream")
		want(t, s.do("GET", "/admin/x", other.cookies), 403, bodyGroup)
	})
	t.Run("a clock that is set back makes nothing fresh", func(t *testing.T) {
		clock.pass(11 * time.Minute)
		want(t, s.do("GET", "/x", juan.cookies), 403, bodyReauthenticate)
		clock.setBack(2 * time.Hour)
		want(t, s.do("GET", "/x", juan.cookies), 403, bodyReauthenticate)
		want(t, s.do("GET", "/x", s.signIn("ac12345", juan.cookies).cookies), 200, "upstream")
	})
}

// TestFreshOfTwoGates: each applies its own.
func TestFreshOfTwoGates(t *testing.T) {
	s, clock := startByHand(t, setup{site: "require_session {\nfresh 1h\n}\nhandle /pay/* {\nrequire_session {\nfresh 5m\n}\nreverse_proxy UPSTREAM\n}\nhandle {\nreverse_proxy UPSTREAM\n}"})
	c := s.signIn("ac12345")
	want(t, s.do("GET", "/pay/x", c.cookies), 200, "upstream")
	clock.pass(6 * time.Minute)
	want(t, s.do("GET", "/pay/x", c.cookies), 403, bodyReauthenticate)
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
}

// TestFreshAsksForNoPasswordOverPlainHTTP where a sign-in would be refused.
func TestFreshAsksForNoPasswordOverPlainHTTP(t *testing.T) {
	s, clock := startByHand(t, setup{site: "require_session {\nfresh 10m\n}\nreverse_proxy UPSTREAM"})
	c := s.signIn("ac12345")
	clock.pass(11 * time.Minute)
	proxied := header("X-Forwarded-For", "192.0.2.7")
	got := s.do("GET", "/x", navigation, proxied, c.cookies)
	if got.StatusCode != 403 || strings.Contains(got.body, "<form") || !strings.Contains(got.body, "https://") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	want(t, s.do("GET", "/x", proxied, c.cookies), 403, bodyReauthenticate)
}
