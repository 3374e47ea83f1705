package integration

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
)

// Row 27.
func TestOpenLDAPSearchThenBind(t *testing.T) {
	s := servers.Slapd(t)
	tests := []struct {
		what string
		edit func(*ldap.Config)
	}{
		{"ldaps", func(*ldap.Config) {}},
		{"start_tls", func(c *ldap.Config) { c.Servers, c.StartTLS = []string{s.PlainURL}, true }},
		{"plain text on loopback", func(c *ldap.Config) { c.Servers = []string{s.PlainURL} }},
		{"everything given", func(c *ldap.Config) {
			c.Kind, c.BaseDN, c.ServerName = ldap.KindGeneric, s.BaseDN, "ldap.empresa.test"
			c.UserFilter = "(&(objectClass=inetOrgPerson)(uid={user}))"
		}},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			config := openldapConfig(s)
			test.edit(&config)
			d := open(t, config)
			lucia := d.expectIdentity(t, "lucia", s.Lucia.Password)
			expectPerson(t, lucia, config.Label, s.Lucia)
			if id := s.Attributes(t, s.Lucia.DN, "entryUUID").GetAttributeValue("entryUUID"); lucia.ID != id {
				t.Errorf("ID = %q, want the entryUUID %q", lucia.ID, id)
			}
			if other := d.expectIdentity(t, " LUCIA ", s.Lucia.Password); other.ID != lucia.ID || other.Username != "lucia" {
				t.Errorf("another spelling is %q (%s)", other.Username, other.ID)
			}
			// A DN that needs escaping, found by search and never built.
			expectPerson(t, d.expectIdentity(t, "raro", s.Odd.Password), config.Label, s.Odd)
		})
	}
}

func TestOpenLDAPSignInByAnotherAttribute(t *testing.T) {
	s := servers.Slapd(t)
	config := openldapConfig(s)
	config.UserFilter = "(|(uid={user})(mail={user}))"
	d := open(t, config)
	expectPerson(t, d.expectIdentity(t, s.Lucia.Email, s.Lucia.Password), config.Label, s.Lucia)
}

// Rows 27 and 32: pedro is in plantilla himself, lucia and raro through
// ingenieria.
func TestOpenLDAPGroups(t *testing.T) {
	for _, server := range []struct {
		what  string
		slapd *realserver.Slapd
	}{
		{"from memberOf", servers.Slapd(t)},
		{"from member, without the overlay", realserver.NewSlapd(t, realserver.SlapdOptions{NoMemberOf: true})},
	} {
		t.Run(server.what, func(t *testing.T) {
			s := server.slapd
			config := openldapConfig(s)
			config.GroupBase = "ou=grupos," + s.BaseDN
			config.Groups = []string{"INGENIERIA", s.Staff, "nada"}
			d := open(t, config)
			lucia := d.expectIdentity(t, "lucia", s.Lucia.Password)
			odd := d.expectIdentity(t, "raro", s.Odd.Password)
			pedro := d.expectIdentity(t, "pedro", s.Pedro.Password)
			alone := d.expectIdentity(t, "solo", s.Alone.Password)

			engineering := expectGroup(t, d, "INGENIERIA", s.Engineering)
			staff := expectGroup(t, d, s.Staff, s.Staff)
			if group, ok := d.Group("nada"); ok {
				t.Errorf("Group(%q) = %+v, want none", "nada", group)
			}
			tests := []struct {
				who    *ldap.Identity
				group  ldap.Group
				member bool
			}{
				{lucia, engineering, true},
				{odd, engineering, true},
				{lucia, staff, true},
				{odd, staff, true},
				{pedro, engineering, false},
				{pedro, staff, true},
				{alone, engineering, false},
				{alone, staff, false},
			}
			for _, test := range tests {
				if got := hasGroup(test.who, test.group.ID); got != test.member {
					t.Errorf("%s in %s: %v, want %v", test.who.Username, test.group.ID, got, test.member)
				}
			}
		})
	}
}

func expectGroup(t *testing.T, d *directory, ref, dn string) ldap.Group {
	t.Helper()
	group, ok := d.Group(ref)
	if !ok {
		t.Fatalf("Group(%q) is not resolved", ref)
	}
	want, err := ldap.NormalizeDN(dn)
	if err != nil {
		t.Fatal(err)
	}
	if group.ID != want {
		t.Errorf("Group(%q).ID = %q, want %q", ref, group.ID, want)
	}
	return group
}

func TestOpenLDAPRefusals(t *testing.T) {
	s := servers.Slapd(t)
	d := open(t, openldapConfig(s))
	right := s.Lucia.Password
	tests := []struct {
		what, name, password string
		want                 ldap.Reason
	}{
		{"wrong password", "lucia", "wrong", ldap.ReasonBadCredentials},
		{"unknown user", "nadie", "wrong", ldap.ReasonUserUnknown},
		{"somebody else's password", "lucia", s.Pedro.Password, ldap.ReasonBadCredentials},
		{"asterisk", "luc*", right, ldap.ReasonUserUnknown},
		{"filter", "lucia)(uid=*", right, ldap.ReasonUserUnknown},
		{"closing the filter", "*)(|(uid=*", right, ldap.ReasonUserUnknown},
		{"DN", s.Lucia.DN, right, ldap.ReasonUserUnknown},
		{"service account's name", "caddy", s.Service.Password, ldap.ReasonUserUnknown},
		{"empty password, which would be an anonymous bind", "lucia", "", ldap.ReasonNameInvalid},
		{"NUL", "lucia", right + "\x00", ldap.ReasonNameInvalid},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			d.expectRefused(t, test.name, test.password, test.want)
		})
	}
}

func TestOpenLDAPSeveralEntriesAreNobody(t *testing.T) {
	s := servers.Slapd(t)
	config := openldapConfig(s)
	config.UserFilter = "(|(uid={user})(objectClass=inetOrgPerson))"
	before := s.Binds(t, s.Lucia.DN)
	open(t, config).expectRefused(t, "lucia", s.Lucia.Password, ldap.ReasonAmbiguousUser)
	if n := s.Binds(t, s.Lucia.DN) - before; n != 0 {
		t.Errorf("%d binds as one of them, want none", n)
	}
}

func TestOpenLDAPOneSignInIsOneBind(t *testing.T) {
	s := servers.Slapd(t)
	config := openldapConfig(s)
	config.Servers = []string{s.URL, strings.Replace(s.URL, "127.0.0.1", "localhost", 1)}
	d := open(t, config)
	for _, test := range []struct {
		what, password string
	}{{"right password", s.Lucia.Password}, {"wrong password", "wrong"}} {
		t.Run(test.what, func(t *testing.T) {
			before := s.Binds(t, s.Lucia.DN)
			_, _ = d.signIn(t, "lucia", test.password)
			if n := s.Binds(t, s.Lucia.DN) - before; n != 1 {
				t.Errorf("%d binds as lucia, want 1", n)
			}
		})
	}
}

// Row 33.
func TestOpenLDAPServiceAccountRejected(t *testing.T) {
	s := servers.Slapd(t)
	config := openldapConfig(s)
	config.BindPassword = "Clave-Equivocada-9"
	before := s.Binds(t, s.Lucia.DN)
	open(t, config).expectUnavailable(t, "lucia", s.Lucia.Password, ldap.ReasonServiceAccountRejected)
	if n := s.Binds(t, s.Lucia.DN) - before; n != 0 {
		t.Errorf("%d binds as lucia without having found her, want none", n)
	}
}

func TestOpenLDAPUnavailable(t *testing.T) {
	s := servers.Slapd(t)
	other, err := realserver.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		what   string
		edit   func(*ldap.Config)
		reason ldap.Reason
		text   string
	}{
		{"another CA", func(c *ldap.Config) { c.RootCAs = other.Pool() },
			ldap.ReasonDirectoryUnavailable, "unknown authority"},
		{"another CA, start_tls", func(c *ldap.Config) {
			c.RootCAs, c.Servers, c.StartTLS = other.Pool(), []string{s.PlainURL}, true
		}, ldap.ReasonDirectoryUnavailable, "unknown authority"},
		{"wrong base", func(c *ldap.Config) { c.BaseDN = "dc=nada,dc=test" }, ldap.ReasonBaseDN, ""},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			config := openldapConfig(s)
			test.edit(&config)
			got := open(t, config).expectUnavailable(t, "lucia", s.Lucia.Password, test.reason)
			if !strings.Contains(got.Error(), test.text) {
				t.Errorf("error %q does not name the cause %q", got, test.text)
			}
		})
	}
}

// A password that is changed, or an account that is removed, counts at the
// next sign-in: nothing of an earlier one is remembered.
func TestOpenLDAPPasswordChangeCountsAtOnce(t *testing.T) {
	s := realserver.NewSlapd(t, realserver.SlapdOptions{})
	d := open(t, openldapConfig(s))
	d.expectIdentity(t, "pedro", s.Pedro.Password)
	s.SetPassword(t, s.Pedro.DN, "Clave-Nueva-de-Pedro")
	d.expectRefused(t, "pedro", s.Pedro.Password, ldap.ReasonBadCredentials)
	d.expectIdentity(t, "pedro", "Clave-Nueva-de-Pedro")
}

// The server shows itself only to whoever has a certificate of its CA.
func TestOpenLDAPWithClientCertificate(t *testing.T) {
	s := realserver.NewSlapd(t, realserver.SlapdOptions{ClientCertificates: true})
	stranger, err := realserver.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair := func(ca *realserver.CA) *tls.Certificate {
		t.Helper()
		certFile, keyFile, err := ca.Issue(t.TempDir(), "caddy.empresa.test")
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		return &pair
	}
	own, foreign := pair(s.CA), pair(stranger)
	for _, startTLS := range []bool{false, true} {
		config := openldapConfig(s)
		if startTLS {
			config.Servers, config.StartTLS = []string{s.PlainURL}, true
		}
		config.Certificate = own
		expectPerson(t, open(t, config).expectIdentity(t, "lucia", s.Lucia.Password), config.Label, s.Lucia)
		for _, certificate := range []*tls.Certificate{nil, foreign} {
			config.Certificate = certificate
			before := s.Binds(t, s.Service.DN)
			open(t, config).expectUnavailable(t, "lucia", s.Lucia.Password, ldap.ReasonDirectoryUnavailable)
			if n := s.Binds(t, s.Service.DN) - before; n != 0 {
				t.Errorf("%d binds without a good certificate", n)
			}
		}
	}
}
