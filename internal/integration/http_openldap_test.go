package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// openldapDirectory is the directory block for slapd.
func openldapDirectory(s *realserver.Slapd) string {
	return directoryBlock("empresa.test", s.URL, s.CA.File,
		fmt.Sprintf("bind %q %s", s.Service.DN, s.Service.Password),
		fmt.Sprintf("group_base %q", "ou=grupos,"+s.BaseDN))
}

func startOpenLDAP(t testing.TB, s *realserver.Slapd, gate string, options ...string) *client {
	t.Helper()
	site := startSite(t, openldapDirectory(s), gate, options...)
	site.caddy.keepSecret(s.Service.Password, true)
	return site
}

// Row 27; and row 32: plantilla has ingenieria as a member.
func TestHTTPSignInUseAndSignOutOnOpenLDAP(t *testing.T) {
	for _, server := range []struct {
		what  string
		slapd *realserver.Slapd
	}{
		{"with memberOf", servers.Slapd(t)},
		{"without memberOf", realserver.NewSlapd(t, realserver.SlapdOptions{NoMemberOf: true})},
	} {
		t.Run(server.what, func(t *testing.T) {
			s := server.slapd
			site := startOpenLDAP(t, s, fmt.Sprintf(`require_session {
		public /publico
		require /ingenieria/* ingenieria
		require /plantilla/* %q
		require /nada/* no-such-group
	}`, s.Staff))
			expect(t, site.do(t, "GET", "/", ""), http.StatusUnauthorized, bodyUnauthenticated)

			lucia := site.signInAs(t, s.Lucia)
			got := lucia.echo(t, "/ingenieria/").Header
			for name, want := range map[string]string{
				"Remote-User": "lucia", "Remote-Name": s.Lucia.Name, "Remote-Email": s.Lucia.Email, "Remote-Groups": "ingenieria,plantilla",
				"X-Test-Uid": s.Attributes(t, s.Lucia.DN, "entryUUID").GetAttributeValue("entryUUID"),
			} {
				if got.Get(name) != want {
					t.Errorf("the application got %s %q, want %q", name, got.Get(name), want)
				}
			}
			lucia.echo(t, "/plantilla/x")
			expect(t, lucia.get(t, "/nada/x"), http.StatusForbidden, bodyGroupRequired)
			posted := decodeEcho(t, lucia.do(t, "PUT", "/ingenieria/x", "{}", "Cookie", lucia.cookies(), "X-CSRFToken", lucia.csrf))
			if posted.Method != "PUT" || posted.Body != "{}" {
				t.Errorf("the application got %+v", posted)
			}

			pedro := site.signInAs(t, s.Pedro)
			if user := pedro.echo(t, "/plantilla/x").Header.Get("Remote-User"); user != "pedro" {
				t.Errorf("the application got the user %q, want pedro", user)
			}
			expect(t, pedro.get(t, "/ingenieria/x"), http.StatusForbidden, bodyGroupRequired)
			odd := site.signInAs(t, s.Odd)
			if name := odd.echo(t, "/ingenieria/").Header.Get("Remote-Name"); name != s.Odd.Name {
				t.Errorf("the application got the name %q, want %q", name, s.Odd.Name)
			}
			alone := site.signInAs(t, s.Alone)
			alone.echo(t, "/")
			expect(t, alone.get(t, "/ingenieria/"), http.StatusForbidden, bodyGroupRequired)
			expect(t, alone.get(t, "/plantilla/x"), http.StatusForbidden, bodyGroupRequired)

			lucia.signOut(t)
			lucia.expectRefused(t, "/")
			lucia.expectRefused(t, "/ingenieria/")
			pedro.echo(t, "/")
		})
	}
}

func TestHTTPRefusalsLookAlikeOnOpenLDAP(t *testing.T) {
	s := servers.Slapd(t)
	site := startOpenLDAP(t, s, "require_session", noThrottle)
	tests := []struct{ what, username, password, reason, user string }{
		{"wrong password", "lucia", "una-clave-que-no-es", "bad_credentials", "lucia"},
		{"another spelling, wrong password", " LUCIA ", "una-clave-que-no-es", "bad_credentials", "lucia"},
		// What is no user name may be a password in the wrong field.
		{"unknown user", "nadie", "una-clave-que-no-es", "user_unknown", ""},
		{"filter", "*)(uid=*", s.Lucia.Password, "user_unknown", ""},
		{"empty password, which would be an anonymous bind", "lucia", "", "name_invalid", ""},
		{"service account", s.Service.DN, s.Service.Password, "user_unknown", ""},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			r, err := site.trySignIn(test.username, test.password)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, r, http.StatusUnauthorized, bodyRefused)
			if r.took < 300*time.Millisecond {
				t.Errorf("answered after %v, before the floor", r.took)
			}
			lines := site.caddy.audit(t)
			want := auditLine{Event: "sign_in", Result: "refused", Reason: test.reason, User: test.user}
			if got := lines[len(lines)-1]; got != want {
				t.Errorf("the audit log says %+v, want %+v", got, want)
			}
		})
	}
}
