package integration

import (
	"slices"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap"
)

// Rows 1, 18 and 20.
func TestADSignInWithNonASCIINamesInNestedGroups(t *testing.T) {
	dc := servers.Samba(t)
	d := open(t, adConfig(dc))
	juan := d.expectIdentity(t, dc.Juan.Username, dc.Juan.Password)
	expectPerson(t, juan, dc.Domain, dc.Juan)

	domainSID := dc.SID(t, dc.BaseDN)
	tests := []struct {
		what, sid string
		member    bool
	}{
		{"direct group", dc.SID(t, dc.Engineering), true},
		{"group of that group", dc.SID(t, dc.Staff), true},
		{"second level", dc.SID(t, dc.Levels[1]), true},
		{"tenth level, from where a cycle leads back", dc.SID(t, dc.Levels[9]), true},
		{"primary group Domain Users", domainSID + "-513", true},
		{"built-in Users", "S-1-5-32-545", true},
		{"another group", dc.SID(t, dc.RnD), false},
		{"group without members", dc.SID(t, dc.Outsiders), false},
		{"distribution group, which gives no rights", dc.SID(t, dc.Newsletter), false},
		{"Domain Admins", domainSID + "-512", false},
	}
	for _, test := range tests {
		if got := hasGroup(juan, test.sid); got != test.member {
			t.Errorf("%s (%s): member %v, want %v", test.what, test.sid, got, test.member)
		}
	}
}

// Rows 14 and 15.
func TestADPeople(t *testing.T) {
	dc := servers.Samba(t)
	d := open(t, adConfig(dc))
	t.Run("user name outside ASCII", func(t *testing.T) {
		expectPerson(t, d.expectIdentity(t, "muñoz", dc.Munoz.Password), dc.Domain, dc.Munoz)
	})
	t.Run("the same name decomposed, as some keyboards type it", func(t *testing.T) {
		expectPerson(t, d.expectIdentity(t, "mun\u0303oz", dc.Munoz.Password), dc.Domain, dc.Munoz)
	})
	t.Run("no userPrincipalName, mail or givenName", func(t *testing.T) {
		expectPerson(t, d.expectIdentity(t, "sinupn", dc.NoUPN.Password), dc.Domain, dc.NoUPN)
	})
	t.Run("two people with one mail address", func(t *testing.T) {
		a := d.expectIdentity(t, dc.TwinA.Username, dc.TwinA.Password)
		b := d.expectIdentity(t, dc.TwinB.Username, dc.TwinB.Password)
		expectPerson(t, a, dc.Domain, dc.TwinA)
		expectPerson(t, b, dc.Domain, dc.TwinB)
		if a.ID == b.ID {
			t.Errorf("both have the ID %q", a.ID)
		}
	})
}

// Row 3.
func TestADNameVariantsAreOnePerson(t *testing.T) {
	dc := servers.Samba(t)
	d := open(t, adConfig(dc))
	want := d.expectIdentity(t, "juan", dc.Juan.Password).ID
	for _, typed := range []string{
		"JUAN", " juan ", "juan@corp.test", "juan@CORP.TEST", "juan@corp", `CORP\juan`, `corp\JUAN`, "juan @corp.test",
	} {
		t.Run(typed, func(t *testing.T) {
			juan := d.expectIdentity(t, typed, dc.Juan.Password)
			if juan.ID != want || juan.Username != "juan" {
				t.Errorf("ID %q, Username %q; want %q, %q", juan.ID, juan.Username, want, "juan")
			}
		})
	}
}

// Row 21.
func TestADGroupReferences(t *testing.T) {
	dc := servers.Samba(t)
	staffSID := dc.SID(t, dc.Staff)
	const unknown, ambiguousForm = "no-such-group", `CN=R&D\2C compras,ou=GRUPOS,dc=Corp,dc=TEST`
	tests := []struct {
		what, ref string
		dn        string // empty: not to be resolved
	}{
		{"name in another case", "STAFF", dc.Staff},
		{"name outside ASCII", "ingeniería", dc.Engineering},
		{"name with an ampersand", "r&d compras", dc.RnD},
		{"DN", dc.Levels[9], dc.Levels[9]},
		{"DN with comma and ampersand, spelled otherwise", ambiguousForm, dc.RnD},
		{"SID", staffSID, dc.Staff},
		{"unknown name", unknown, ""},
		{"DN of nothing", "CN=nada,OU=Grupos,DC=corp,DC=test", ""},
		{"name of a person", "juan", ""},
		{"filter characters", "sta*", ""},
	}
	var refs []string
	for _, test := range tests {
		refs = append(refs, test.ref)
	}
	for _, account := range []struct {
		what           string
		user, password string
	}{
		{"on the user's own connection", "", ""},
		{"with a service account", dc.Service.UPN, dc.Service.Password},
	} {
		t.Run(account.what, func(t *testing.T) {
			config := adConfig(dc)
			config.Groups = refs
			config.BindUser, config.BindPassword = account.user, account.password
			d := open(t, config)
			juan := d.expectIdentity(t, "juan", dc.Juan.Password)
			for _, test := range tests {
				group, ok := d.Group(test.ref)
				if ok != (test.dn != "") {
					t.Errorf("%s: Group(%q) = %+v, %v", test.what, test.ref, group, ok)
					continue
				}
				if !ok {
					continue
				}
				if want := dc.SID(t, test.dn); group.ID != want {
					t.Errorf("%s: Group(%q).ID = %q, want %q", test.what, test.ref, group.ID, want)
				}
				member := test.dn != dc.RnD
				if hasGroup(juan, group.ID) != member {
					t.Errorf("%s: membership of juan in %q is %v, want %v", test.what, test.ref, !member, member)
				}
			}
			named := slices.ContainsFunc(juan.Groups, func(g ldap.Group) bool {
				return g.ID == staffSID && g.Name == "staff"
			})
			if !named {
				t.Errorf("no group of the identity is named %q: %+v", "staff", juan.Groups)
			}
		})
	}
}
