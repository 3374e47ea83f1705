package integration

import (
	"context"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
)

// Names with what is special in DNs and filters: nobody may be kept out for
// one, and no group may be lost or mistaken for another.
func TestADSpecialNames(t *testing.T) {
	dc := servers.Samba(t)
	for _, test := range []struct {
		what   string
		config ldap.Config
	}{
		{"without a service account", adConfig(dc)},
		{"with one", adServiceConfig(dc)},
	} {
		t.Run(test.what, func(t *testing.T) {
			config := test.config
			config.Groups = dc.SpecialGroups
			d := open(t, config)
			for i, account := range dc.Special {
				identity := d.expectIdentity(t, account.Username, account.Password)
				// AD keeps spaces at the ends of a name out of displayName.
				expectSameDN(t, "DN of "+account.Username, identity.DN, account.DN)
				for j, ref := range dc.SpecialGroups {
					group, ok := d.Group(ref)
					if !ok {
						t.Fatalf("Group(%q) is not resolved", ref)
					}
					last := len(dc.SpecialGroups) - 1
					if member := j == i || j == last; hasGroup(identity, group.ID) != member {
						t.Errorf("%q in %q: %v, want %v", account.DN, ref, !member, member)
					}
				}
			}
		})
	}
}

func TestOpenLDAPSpecialNames(t *testing.T) {
	s := servers.Slapd(t)
	config := openldapConfig(s)
	config.Attributes.MemberOf = "-" // the DN is searched for
	plain := openldapConfig(s)
	bySearch, byEntry := open(t, config), open(t, plain)
	for _, name := range []string{
		"Coma, coma", "Punto; coma", `Comi"llas"`, "Menor<Mayor>", "Más+Suma", `Barra\Inversa`, `Barra\2aFalsa`,
		"Aste*risco", "Parén(tesis)", "#Almohadilla", "Igual=que", "Ñandú & Cía", " Espacio delante", "Espacio detrás ",
	} {
		t.Run(name, func(t *testing.T) {
			account := s.NewAccount(t, "especial")
			s.Delete(t, account)
			account.DN = "cn=" + escapeDN(name) + ",ou=personas," + s.BaseDN
			account.Name = name
			s.Create(t, account)
			group := s.NewGroup(t, "especial", account)
			for _, d := range []*directory{bySearch, byEntry} {
				identity := d.expectIdentity(t, account.Username, account.Password)
				expectSameDN(t, "DN", identity.DN, account.DN)
				expectGroups(t, identity, group)
				d.expectRefused(t, account.Username, "wrong", ldap.ReasonBadCredentials)
			}
		})
	}
}

// escapeDN escapes every character of a name's value as hexadecimal, the one
// form of RFC 4514 that needs no exceptions.
func escapeDN(value string) string {
	const digits = "0123456789abcdef"
	var escaped []byte
	for _, b := range []byte(value) {
		escaped = append(escaped, '\\', digits[b>>4], digits[b&15])
	}
	return string(escaped)
}

// Row 25, at the directory: the ID stays, the names are the new ones.
func TestADRenamedAndMovedIsTheSamePerson(t *testing.T) {
	dc := servers.Samba(t)
	for _, test := range []struct {
		what   string
		config ldap.Config
		gone   ldap.Reason // of the old name
	}{
		{"without a service account", adConfig(dc), ldap.ReasonBadCredentials},
		{"with one", adServiceConfig(dc), ldap.ReasonUserUnknown},
	} {
		t.Run(test.what, func(t *testing.T) {
			account := dc.NewAccount(t, "mudanza")
			d := open(t, test.config)
			before := d.expectIdentity(t, account.Username, account.Password)
			var after realserver.Account
			after = dc.Rename(t, account, "Casada, Petra "+account.Username)
			after = dc.Move(t, after, dc.OtherOU)
			after = dc.SetUsername(t, after, "c"+account.Username)
			dc.Set(t, after.DN, "displayName", "Petra Casada")
			now := d.expectIdentity(t, after.Username, after.Password)
			if now.ID != before.ID || now.Username != after.Username || now.DisplayName != "Petra Casada" {
				t.Errorf("it is %q (%s, %s), want the ID %s", now.Username, now.DisplayName, now.ID, before.ID)
			}
			expectSameDN(t, "DN", now.DN, after.DN)
			d.expectRefused(t, account.Username, account.Password, test.gone)
		})
	}
}

// A re-check of somebody of whom nothing changed finds no change: neither in the
// groups that everybody has for having signed in, nor in the password.
func TestADRecheckOfSomebodyUnchanged(t *testing.T) {
	dc := servers.Samba(t)
	d := open(t, adServiceConfig(dc))
	for _, account := range []realserver.Account{dc.Juan, dc.Maria, dc.Munoz} {
		id := d.expectIdentity(t, account.Username, account.Password)
		in := ldap.SignedIn{At: time.Now(), PasswordSet: id.PasswordSet, Groups: id.Groups}
		states, err := d.Recheck(context.Background(), []string{id.ID})
		if err != nil {
			t.Fatal(err)
		}
		if reason := states[0].Reason(in); reason != "" {
			t.Errorf("%s: %s", account.Username, reason)
		}
		now := states[0].Update(in)
		if !ldap.SameGroups(now.Groups, in.Groups) || now.PasswordSet != in.PasswordSet {
			t.Errorf("%s: %+v became %+v", account.Username, in, now)
		}
	}
}
