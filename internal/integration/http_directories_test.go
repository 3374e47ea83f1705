package integration

import (
	"net/http"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// A domain and an OpenLDAP server beside each other: a name is looked up, a
// password is sent to one of them, and two people of one name are two.
func TestHTTPTwoDirectories(t *testing.T) {
	dc, s := servers.Samba(t), servers.Slapd(t)
	double := dc.NewAccount(t, "doble")
	same := realserver.Account{
		Username: double.Username, Password: "Clave-Del-Otro-Doble-1", DN: "uid=" + double.Username + ",ou=personas," + s.BaseDN,
		FirstName: "Otro", LastName: "Doble", Name: "Otro Doble",
	}
	s.Create(t, same)
	site := startSite(t, adServiceDirectory(dc, dc.URL)+"\n"+openldapDirectory(s), "require_session", noThrottle)
	site.caddy.keepSecret(dc.Service.Password, true)
	site.caddy.keepSecret(s.Service.Password, true)
	for _, test := range []struct{ typed, password, user string }{
		{"juan", dc.Juan.Password, "juan@corp.test"},
		{`CORP\juan`, dc.Juan.Password, "juan@corp.test"},
		{"juan@corp.test", dc.Juan.Password, "juan@corp.test"},
		{"lucia", s.Lucia.Password, "lucia@empresa.test"},
		{"LUCIA@Empresa.Test", s.Lucia.Password, "lucia@empresa.test"},
		{double.Username, double.Password, double.Username + "@corp.test"},
		{double.Username + "@empresa.test", same.Password, double.Username + "@empresa.test"},
	} {
		t.Run(test.typed, func(t *testing.T) {
			if user := site.signIn(t, test.typed, test.password).echo(t, "/").Header.Get("Remote-User"); user != test.user {
				t.Errorf("the application got the user %q, want %q", user, test.user)
			}
		})
	}
	t.Run("a password is not tried on both", func(t *testing.T) {
		binds := s.Binds(t, same.DN)
		for _, typed := range []string{double.Username, `CORP\` + double.Username, double.UPN} {
			r, err := site.trySignIn(typed, same.Password)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, r, http.StatusUnauthorized, bodyRefused)
		}
		if n := s.Binds(t, same.DN) - binds; n != 0 {
			t.Errorf("%d binds at the other directory, want none", n)
		}
		for _, test := range []struct{ typed, password string }{
			{double.Username + "@empresa.test", double.Password},
			{`NOPE\juan`, dc.Juan.Password},
			{"nadie", "una-clave-que-no-es"},
		} {
			r, err := site.trySignIn(test.typed, test.password)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, r, http.StatusUnauthorized, bodyRefused)
		}
	})
}
