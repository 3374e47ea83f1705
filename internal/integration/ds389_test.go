package integration

import (
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
)

func TestDS389SignIn(t *testing.T) {
	s := servers.DS389(t)
	tests := []struct {
		what string
		edit func(*ldap.Config)
	}{
		{"ldaps", func(*ldap.Config) {}},
		{"start_tls", func(c *ldap.Config) { c.Servers, c.StartTLS = []string{s.PlainURL}, true }},
		{"plain text on loopback", func(c *ldap.Config) { c.Servers = []string{s.PlainURL} }},
		{"kind given", func(c *ldap.Config) { c.Kind = ldap.Kind389DS }},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			config := ds389Config(s)
			test.edit(&config)
			d := open(t, config)
			nerea := d.expectIdentity(t, "nerea", s.Nerea.Password)
			expectPerson(t, nerea, config.Label, s.Nerea)
			if id := s.Attributes(t, s.Nerea.DN, "nsUniqueId").GetAttributeValue("nsUniqueId"); nerea.ID != id {
				t.Errorf("ID = %q, want the nsUniqueId %q", nerea.ID, id)
			}
			if other := d.expectIdentity(t, " NEREA ", s.Nerea.Password); other.ID != nerea.ID || other.Username != "nerea" {
				t.Errorf("another spelling is %q (%s)", other.Username, other.ID)
			}
			d.expectRefused(t, "nerea", "wrong", ldap.ReasonBadCredentials)
			d.expectRefused(t, "nadie", "wrong", ldap.ReasonUserUnknown)
		})
	}
}

// The server shows a nested memberOf itself; what lists people without one is
// found as well.
func TestDS389Groups(t *testing.T) {
	s := servers.DS389(t)
	for _, memberOf := range []string{"", "-"} {
		t.Run("memberOf "+memberOf, func(t *testing.T) {
			config := ds389Config(s)
			config.Attributes.MemberOf = memberOf
			config.GroupBase = "ou=groups," + s.BaseDN
			config.Groups = []string{"ingenieria", s.Staff, "UNICOS"}
			d := open(t, config)
			nerea := d.expectIdentity(t, "nerea", s.Nerea.Password)
			for ref, dn := range map[string]string{"ingenieria": s.Engineering, s.Staff: s.Staff, "UNICOS": s.Unique} {
				if group := expectGroup(t, d, ref, dn); !hasGroup(nerea, group.ID) {
					t.Errorf("nerea is not in %s: %+v", dn, nerea.Groups)
				}
			}
			if other := d.expectIdentity(t, s.Grace.Username, s.Grace.Password); len(other.Groups) != 0 {
				t.Errorf("gracia is in %+v, want none", other.Groups)
			}
		})
	}
}

func TestDS389AccountStates(t *testing.T) {
	s := servers.DS389(t)
	d := open(t, ds389Config(s))
	tests := []struct {
		what         string
		account      realserver.Account
		right, wrong ldap.Reason
	}{
		// It looks at locks before it looks at the password.
		{"locked", s.Locked, ldap.ReasonAccountLocked, ldap.ReasonAccountLocked},
		{"inactive", s.Inactive, ldap.ReasonAccountLocked, ldap.ReasonAccountLocked},
		{"must change", s.MustChange, ldap.ReasonPasswordMustChange, ldap.ReasonBadCredentials},
		{"password expired", s.PasswordExpired, ldap.ReasonPasswordExpired, ldap.ReasonBadCredentials},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			d.expectRefused(t, test.account.Username, test.account.Password, test.right)
			d.expectRefused(t, test.account.Username, "wrong", test.wrong)
		})
	}
	t.Run("grace sign-ins left", func(t *testing.T) {
		first := d.expectIdentity(t, s.Grace.Username, s.Grace.Password)
		second := d.expectIdentity(t, s.Grace.Username, s.Grace.Password)
		if first.Warning == nil || second.Warning == nil || second.Warning.GraceSignIns != first.Warning.GraceSignIns-1 {
			t.Errorf("warnings %+v, then %+v: want one sign-in less", first.Warning, second.Warning)
		}
	})
	t.Run("three wrong passwords", func(t *testing.T) {
		account := s.NewAccount(t, "torpe")
		for range 3 {
			d.expectRefused(t, account.Username, "wrong", ldap.ReasonBadCredentials)
		}
		d.expectRefused(t, account.Username, account.Password, ldap.ReasonAccountLocked)
	})
}
