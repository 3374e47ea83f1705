package realserver

import (
	"fmt"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

const (
	ds389Base    = "dc=fabrica,dc=test"
	ds389People  = "ou=people," + ds389Base
	ds389GroupOU = "ou=groups," + ds389Base
	ds389Service = "cn=caddy," + ds389Base
	ds389Rules   = "cn=nsPwPolicyContainer," + ds389People
	ds389Grace   = "cn=grace," + ds389Rules
	ds389Reset   = "cn=reset," + ds389Rules
)

// DS389Accounts are the people of the directory. Three wrong passwords lock
// each, until an administrator unlocks it.
type DS389Accounts struct {
	// Nerea is in good state and in Engineering.
	Nerea Account
	// Clumsy is in good state; tests lock it.
	Clumsy Account
	// Locked is locked by 3 wrong passwords since the server was filled: a bind
	// gives 19 with any password.
	Locked Account
	// Inactive has nsAccountLock: a bind gives 53 with any password.
	Inactive Account
	// MustChange binds with success, and every later request gives 53.
	MustChange Account
	// PasswordExpired's password is from 2020; no grace is left.
	PasswordExpired Account
	// Grace's password is from 2020 too, but some sign-ins are left.
	Grace Account
	// Service may search, read and nothing else; its Username is empty.
	Service Account
}

// DS389Groups are DNs of groups.
type DS389Groups struct {
	Engineering string // cn ingenieria, a groupOfNames; itself a member of Staff
	Staff       string // cn plantilla; the server's own memberOf is nested
	Unique      string // cn unicos, a groupOfUniqueNames with Nerea
}

func ds389Groups() DS389Groups {
	return DS389Groups{
		Engineering: "cn=ingenieria," + ds389GroupOU,
		Staff:       "cn=plantilla," + ds389GroupOU,
		Unique:      "cn=unicos," + ds389GroupOU,
	}
}

func ds389Accounts() DS389Accounts {
	return DS389Accounts{
		Nerea:           ds389Person("nerea", "Contraseña-de-Nerea-1", "Nerea", "Muñoz"),
		Clumsy:          ds389Person("torpe", "Clave-de-Torpe-2", "Teo", "Torpe"),
		Locked:          ds389Person("bloqueada", "Clave-de-Bloqueada-3", "Berta", "Bloqueada"),
		Inactive:        ds389Person("inactiva", "Clave-de-Inactiva-4", "Ines", "Inactiva"),
		MustChange:      ds389Person("debecambiar", "Clave-de-DebeCambiar-5", "Diego", "Debecambiar"),
		PasswordExpired: ds389Person("expirada", "Clave-de-Expirada-6", "Elena", "Expirada"),
		Grace:           ds389Person("gracia", "Clave-de-Gracia-7", "Gloria", "Gracia"),
		Service:         Account{DN: ds389Service, Password: "Clave-de-Servicio-8"},
	}
}

func ds389Person(uid, password, first, last string) Account {
	a := slapdPerson(uid, password, first, last)
	a.DN, a.Email = "uid="+uid+","+ds389People, uid+"@fabrica.test"
	return a
}

func (s *DS389) fill() error {
	conn, err := s.dialAdmin()
	if err != nil {
		return fmt.Errorf("connecting as the administrator: %w", err)
	}
	defer conn.Close()

	const long = "20200101000000Z"
	entries := []struct {
		dn    string
		entry attributes
	}{
		{ds389Base, attributes{"objectClass": {"domain"}, "dc": {"fabrica"}, "aci": {
			`(targetattr != "userPassword")(version 3.0; acl "service"; allow (read, search, compare) userdn = "ldap:///` +
				ds389Service + `";)`,
		}}},
		{ds389People, attributes{"objectClass": {"organizationalUnit"}}},
		{ds389GroupOU, attributes{"objectClass": {"organizationalUnit"}}},
		{ds389Service, attributes{
			"objectClass":  {"organizationalRole", "simpleSecurityObject"},
			"userPassword": {s.Service.Password},
		}},
		{ds389Rules, attributes{"objectClass": {"nsContainer"}}},
		{ds389Grace, attributes{
			"objectClass": {"ldapsubentry", "passwordPolicy"},
			"passwordExp": {"on"}, "passwordMaxAge": {"8640000"}, "passwordGraceLimit": {"1000"},
		}},
		// Not for everybody: after every reset by an administrator it wants a
		// new password.
		{ds389Reset, attributes{
			"objectClass": {"ldapsubentry", "passwordPolicy"}, "passwordMustChange": {"on"},
		}},
		{s.Nerea.DN, s.Nerea.attributes()},
		{s.Clumsy.DN, s.Clumsy.attributes()},
		{s.Locked.DN, s.Locked.attributes()},
		{s.Inactive.DN, s.Inactive.attributes()},
		{s.MustChange.DN, s.MustChange.attributes()},
		{s.PasswordExpired.DN, s.PasswordExpired.attributes()},
		{s.Grace.DN, s.Grace.attributes()},
		{s.Engineering, groupOfNames(s.Nerea.DN)},
		{s.Staff, groupOfNames(s.Engineering)},
		{s.Unique, attributes{"objectClass": {"groupOfUniqueNames"}, "uniqueMember": {s.Nerea.DN}}},
	}
	for _, e := range entries {
		if err := add(conn, e.dn, e.entry); err != nil {
			return err
		}
	}
	// In this order: a password is judged by the policy that holds when it is
	// set.
	states := []struct{ dn, attribute, value string }{
		{s.Inactive.DN, "nsAccountLock", "true"},
		{s.PasswordExpired.DN, "passwordExpirationTime", long},
		{s.Grace.DN, "pwdPolicySubentry", ds389Grace},
		{s.Grace.DN, "passwordExpirationTime", long},
		{s.MustChange.DN, "pwdPolicySubentry", ds389Reset},
		{s.MustChange.DN, "userPassword", s.MustChange.Password},
	}
	for _, state := range states {
		change := ldap.NewModifyRequest(state.dn, nil)
		change.Replace(state.attribute, []string{state.value})
		if err := conn.Modify(change); err != nil {
			return fmt.Errorf("setting %s of %q: %w", state.attribute, state.dn, err)
		}
	}
	for range 3 {
		if err := s.TryBind(s.Locked.DN, "wrong"); !refused(err) {
			return fmt.Errorf("locking %q: binding with a wrong password gave %v", s.Locked.Username, err)
		}
	}
	return nil
}

// NewAccount adds a person in good state whose names start with name and are
// nobody else's, until the test ends.
func (s *DS389) NewAccount(t testing.TB, name string) Account {
	t.Helper()
	username := unique(name)
	a := ds389Person(username, "Clave-De-Prueba-"+username, "Prueba", username)
	s.addForTest(t, a.DN, a.attributes())
	return a
}

// SetPassword is an administrator's reset.
func (s *DS389) SetPassword(t testing.TB, a Account, password string) {
	t.Helper()
	s.Set(t, a.DN, "userPassword", password)
}

// Disable is what an administrator does to those who left.
func (s *DS389) Disable(t testing.TB, a Account) {
	t.Helper()
	s.Set(t, a.DN, "nsAccountLock", "true")
}

// Enable ends what Disable did.
func (s *DS389) Enable(t testing.TB, a Account) {
	t.Helper()
	s.Set(t, a.DN, "nsAccountLock")
}
