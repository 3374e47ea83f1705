package integration

import (
	"errors"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
)

// One name can bind as one account and find another: pb_eve's
// userPrincipalName is pb_victim@other.example, and pb_victim is another
// account's sAMAccountName. Who trusts what the typed name finds hands Eve the
// victim's session. (Row 13.)
func TestADAccountTakeoverByCrossedNames(t *testing.T) {
	dc := servers.Samba(t)
	victimID := open(t, adConfig(dc)).expectIdentity(t, "pb_victim", dc.Victim.Password).ID
	eveID := open(t, adConfig(dc)).expectIdentity(t, "pb_eve", dc.Eve.Password).ID
	if victimID == eveID {
		t.Fatalf("the victim and the attacker have the same ID %q", eveID)
	}

	configs := []struct {
		what string
		edit func(*ldap.Config)
	}{
		{"as documented", func(*ldap.Config) {}},
		{"kind given", func(c *ldap.Config) { c.Kind = ldap.KindAD }},
		{"bare names completed with the attacker's suffix", func(c *ldap.Config) { c.Label = "other.example" }},
		{"filter by user name only", func(c *ldap.Config) { c.UserFilter = "(&(objectClass=user)(sAMAccountName={user}))" }},
		{"both", func(c *ldap.Config) {
			c.Label = "other.example"
			c.UserFilter = "(&(objectClass=user)(sAMAccountName={user}))"
		}},
		{"with a service account", func(c *ldap.Config) {
			c.BindUser, c.BindPassword = dc.Service.UPN, dc.Service.Password
		}},
		{"with a service account and a filter by user name", func(c *ldap.Config) {
			c.BindUser, c.BindPassword = dc.Service.UPN, dc.Service.Password
			c.UserFilter = "(sAMAccountName={user})"
		}},
	}
	for _, config := range configs {
		t.Run(config.what, func(t *testing.T) {
			c := adConfig(dc)
			config.edit(&c)
			d := open(t, c)
			for _, typed := range []string{
				"pb_victim", "pb_victim@other.example", "PB_Victim@OTHER.example", " pb_victim ",
				"pb_victim@corp.test", `CORP\pb_victim`, "pb_eve", "pb_eve@corp.test",
			} {
				identity, err := d.signIn(t, typed, dc.Eve.Password)
				var refused *ldap.RefusedError
				switch {
				case err == nil && identity.ID != eveID:
					t.Errorf("%q with the attacker's password is %q (%s)", typed, identity.Username, identity.ID)
				case err != nil && !errors.As(err, &refused):
					t.Errorf("%q with the attacker's password: %v, want Eve or a refusal", typed, err)
				}
			}
			// With her own password the victim is never anybody else either.
			for _, typed := range []string{"pb_victim@corp.test", `CORP\pb_victim`} {
				if id := d.expectIdentity(t, typed, dc.Victim.Password).ID; id != victimID {
					t.Errorf("%q with the victim's password is %q", typed, id)
				}
			}
		})
	}
}

// The bind of Eve's name succeeds on this server, so a refusal in the test
// above is the work of the identity proof and not of a wrong name.
func TestADAttackersNameReachesTheIdentityProof(t *testing.T) {
	dc := servers.Samba(t)
	if err := dc.TryBind("pb_victim@other.example", dc.Eve.Password); err != nil {
		t.Fatalf("binding: %v", err)
	}
	d := open(t, adConfig(dc))
	_, err := d.signIn(t, "pb_victim@other.example", dc.Eve.Password)
	var refused *ldap.RefusedError
	if errors.As(err, &refused) && refused.Reason != ldap.ReasonIdentityUnproven && refused.Reason != ldap.ReasonAmbiguousUser {
		t.Errorf("refused with %q, before the proof", refused.Reason)
	}
}

// Two accounts whose names cross both ways: each gets itself by either name.
// (Row 13.)
func TestADCrossedNamesBothWays(t *testing.T) {
	dc := servers.Samba(t)
	t.Run("without a service account", func(t *testing.T) { crossedNames(t, dc, adConfig(dc)) })
	t.Run("with one", func(t *testing.T) { crossedNames(t, dc, adServiceConfig(dc)) })
}

func crossedNames(t *testing.T, dc *realserver.Samba, config ldap.Config) {
	t.Helper()
	d := open(t, config)
	idA := d.expectIdentity(t, "cruz_a", dc.CrossA.Password).ID
	idB := d.expectIdentity(t, "cruz_b", dc.CrossB.Password).ID
	if idA == idB {
		t.Fatalf("both have the ID %q", idA)
	}
	tests := []struct{ typed, password, own string }{
		{"cruz_b@other.example", dc.CrossA.Password, idA},
		{"cruz_a@other.example", dc.CrossB.Password, idB},
	}
	for _, test := range tests {
		identity, err := d.signIn(t, test.typed, test.password)
		var refused *ldap.RefusedError
		switch {
		case err == nil && identity.ID != test.own:
			t.Errorf("%q signed in as %q", test.typed, identity.Username)
		case err != nil && !errors.As(err, &refused):
			t.Errorf("%q: %v", test.typed, err)
		}
	}
	d.expectRefused(t, "cruz_a", dc.CrossB.Password, ldap.ReasonBadCredentials)
	d.expectRefused(t, "cruz_b", dc.CrossA.Password, ldap.ReasonBadCredentials)
}
