package integration

import (
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// The tests of this file are about the servers themselves: what the others
// conclude from a refusal holds only if the account is in the state that its
// name says.

func TestSambaTakesTheNamesThatTheTestsRelyOn(t *testing.T) {
	dc := servers.Samba(t)
	tests := []struct {
		what, name, password string
		want                 string // in the diagnostic; empty: success
	}{
		{"user name at the domain", "juan@corp.test", dc.Juan.Password, ""},
		{"NetBIOS form", `CORP\juan`, dc.Juan.Password, ""},
		{"name outside ASCII", "muñoz@corp.test", dc.Munoz.Password, ""},
		{"no userPrincipalName", "sinupn@corp.test", dc.NoUPN.Password, ""},
		{"attacker under a UPN that is the victim's name", "pb_victim@other.example", dc.Eve.Password, ""},
		{"victim under that UPN", "pb_victim@other.example", dc.Victim.Password, "data 52e"},
		{"victim", "pb_victim@corp.test", dc.Victim.Password, ""},
		{"attacker under the victim's own name", "pb_victim@corp.test", dc.Eve.Password, "data 52e"},
		{"crossed UPN", dc.CrossA.UPN, dc.CrossA.Password, ""},
		{"crossed user name", "cruz_b@corp.test", dc.CrossB.Password, ""},
		{"service account", "svc-caddy@corp.test", dc.Service.Password, ""},
		{"wrong password", "juan@corp.test", "wrong", "data 52e"},
		{"unknown user", "nadie@corp.test", "wrong", "data 52e"},
		{"disabled", dc.Disabled.UPN, dc.Disabled.Password, "data 533"},
		{"account expired", dc.AccountExpired.UPN, dc.AccountExpired.Password, "data 701"},
		{"logon hours", dc.LogonHours.UPN, dc.LogonHours.Password, "data 530"},
		{"workstation", dc.Workstation.UPN, dc.Workstation.Password, "data 531"},
		{"password expired", dc.PasswordExpired.UPN, dc.PasswordExpired.Password, "data 532"},
		{"must change", dc.MustChange.UPN, dc.MustChange.Password, "data 773"},
		{"locked", dc.Locked.UPN, dc.Locked.Password, "data 775"},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			err := dc.TryBind(test.name, test.password)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("binding as %q: %v", test.name, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("binding as %q: %v, want %q", test.name, err, test.want)
			}
		})
	}
}

func TestSlapdKeepsAnonymousClientsOut(t *testing.T) {
	s := servers.Slapd(t)
	if n := s.CountVisible(t, "", ""); n != 0 {
		t.Errorf("an anonymous client sees %d entries, want none", n)
	}
	if n := s.CountVisible(t, s.Service.DN, s.Service.Password); n < 8 {
		t.Errorf("the service account sees %d entries, want all", n)
	}
}

func TestSlapdMemberOf(t *testing.T) {
	for _, test := range []struct {
		what  string
		slapd *realserver.Slapd
		want  int
	}{
		{"with the overlay", servers.Slapd(t), 1},
		{"without it", realserver.NewSlapd(t, realserver.SlapdOptions{NoMemberOf: true}), 0},
	} {
		t.Run(test.what, func(t *testing.T) {
			entry := test.slapd.Attributes(t, test.slapd.Lucia.DN, "memberOf")
			if got := entry.GetAttributeValues("memberOf"); len(got) != test.want {
				t.Errorf("memberOf = %q, want %d values", got, test.want)
			}
		})
	}
}
