package caddyauth

import (
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// TestTwoHandlers is both layouts: ldap_login and require_session at the top
// level, and require_session inside a handle below ldap_login.
func TestTwoHandlers(t *testing.T) {
	const login = `ldap_login {
		page    /entrar
		api     /entrar/api
		logout  /salir
		session /quien
		home    /inicio
	}
	`
	const trusting = `require_session {
		trusted_origins https://app.trusted.test
	}
	`
	for name, site := range map[string]string{
		"beside each other": login + trusting + "reverse_proxy UPSTREAM",
		"inside a handle":   login + "handle /libre/* {\nreverse_proxy UPSTREAM\n}\nhandle {\n" + trusting + "reverse_proxy UPSTREAM\n}",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{site: site})
			got := s.do("POST", "/entrar/api", jsonBody(goodJSON), header("Origin", s.base))
			want(t, got, 200, bodySignedIn)
			c := signedIn{token: got.cookie("sessionid"), csrf: got.cookie("csrftoken")}
			if len(got.setCookies("sessionid")) != 1 || len(got.setCookies("csrftoken")) != 1 {
				t.Errorf("it set %q", got.Header["Set-Cookie"])
			}
			want(t, s.do("GET", "/x", c.cookies, forge), 200, "upstream")
			wantIdentity(t, s.upstream.last(t), map[string]string{"remote-user": "ac12345", "remote-name": "Juan Pérez", "remote-email": "ac12345@empresa.local"})
			if cookies := s.upstream.last(t).header["Cookie"]; len(cookies) != 1 || cookies[0] != "csrftoken="+c.csrf {
				t.Errorf("the upstream saw %q", cookies)
			}
			want(t, s.do("GET", "/x"), 401, `{"error":"Authentication required","redirect":"/entrar","code":"authentication_required"}`)
			led := s.do("GET", "/x", navigation)
			if led.Header.Get("Location") != "/entrar?next=%2Fx" {
				t.Errorf("led to %q", led.Header.Get("Location"))
			}
			// The default paths are gated like any other.
			want(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)), 401, `{"error":"Authentication required","redirect":"/entrar","code":"authentication_required"}`)
			home := s.do("POST", "/entrar/", navigation, form("username=ac12345&password="+ldaptest.DemoPassword+"&next=/salir"))
			if home.StatusCode != 303 || home.Header.Get("Location") != "/inicio" {
				t.Errorf("after the sign-in: %d to %q", home.StatusCode, home.Header.Get("Location"))
			}
			// Each applies its own rules: only the gate trusts the origin.
			want(t, s.do("POST", "/x", c.shown, header("Origin", "https://app.trusted.test")), 200, "upstream")
			want(t, s.do("POST", "/entrar/api", jsonBody(goodJSON), header("Origin", "https://app.trusted.test")), 403, `{"status":"error","message":"Origen no autorizado","code":"origin_not_trusted"}`)
			lost := s.do("GET", "/x", header("Cookie", "sessionid="+c.token))
			if set := lost.Header["Set-Cookie"]; len(set) != 1 || !strings.HasPrefix(set[0], "csrftoken=") {
				t.Errorf("headers and cookies are set once: %q", set)
			}
			if vary := strings.Join(lost.Header["Vary"], ", "); vary != "Cookie, Origin" {
				t.Errorf("Vary %q", vary)
			}
			want(t, s.do("GET", "/quien/", header("Cookie", "sessionid=x")), 401, `{"error":"Authentication required","redirect":"/entrar","code":"authentication_required"}`)
			want(t, s.do("GET", "/salir", c.cookies), 200, bodySignedOut)
			want(t, s.do("GET", "/x", c.cookies), 401, `{"error":"Authentication required","redirect":"/entrar","code":"authentication_required"}`)
			if name == "inside a handle" {
				want(t, s.do("GET", "/libre/x", forge, header("Cookie", "sessionid=x")), 200, "upstream")
				wantIdentity(t, s.upstream.last(t), nil)
				if s.upstream.last(t).header["Cookie"] != nil {
					t.Error("an unguarded path's upstream saw the session cookie")
				}
			}
		})
	}
}

// TestGateInsideAHandle serves the default routes where requests reach it.
func TestGateInsideAHandle(t *testing.T) {
	s := start(t, setup{site: "handle {\nrequire_session\nreverse_proxy UPSTREAM\n}"})
	c := s.signIn("ac12345")
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	want(t, s.do("GET", "/x"), 401, bodyAuthenticationRequired)
}

// TestTwoGates: each applies its own rules to one request.
func TestTwoGates(t *testing.T) {
	s := start(t, setup{site: "require_session {\npublic /public/*\n}\nhandle /eng/* {\nrequire_session Ingenieria\nreverse_proxy UPSTREAM\n}\nhandle {\nrequire_session \"IT Admins\"\nreverse_proxy UPSTREAM\n}"})
	juan, maria := s.signIn("ac12345"), s.signIn("mgarcia")
	want(t, s.do("GET", "/eng/x", juan.cookies), 200, "upstream")
	want(t, s.do("GET", "/eng/x", maria.cookies), 403, bodyGroup)
	want(t, s.do("GET", "/x", juan.cookies), 403, bodyGroup)
	want(t, s.do("POST", "/x", maria.shown), 200, "upstream")
	want(t, s.do("GET", "/public/x"), 401, bodyAuthenticationRequired) // public for the first, not for the second
}
