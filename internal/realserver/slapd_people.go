package realserver

import (
	"fmt"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

const (
	slapdBase    = "dc=empresa,dc=test"
	slapdPeople  = "ou=personas," + slapdBase
	slapdGroupOU = "ou=grupos," + slapdBase
	slapdAdmin   = "cn=admin," + slapdBase
	slapdService = "cn=caddy,ou=services," + slapdBase
)

// SlapdAccounts are the people of the directory.
type SlapdAccounts struct {
	// Lucia has non-ASCII names, a non-ASCII password and every attribute; she
	// is in Engineering and in the posixGroup.
	Lucia Account
	// Pedro is Lucia's manager, in Staff only.
	Pedro Account
	// Odd has a comma, a plus sign and a backslash in the name that its DN is
	// made of, and no mail.
	Odd Account
	// Alone is in no group.
	Alone Account
	// Service may search, read and nothing else; its Username is empty.
	Service Account
}

// SlapdGroups are DNs of groups.
type SlapdGroups struct {
	Engineering string // cn ingenieria; itself a member of Staff
	Staff       string // cn plantilla
	Posix       string // cn unix, a posixGroup with memberUid
}

func slapdGroups() SlapdGroups {
	return SlapdGroups{
		Engineering: "cn=ingenieria," + slapdGroupOU,
		Staff:       "cn=plantilla," + slapdGroupOU,
		Posix:       "cn=unix," + slapdGroupOU,
	}
}

func slapdAccounts() SlapdAccounts {
	person := func(uid, password, first, last string) Account {
		return Account{
			Username: uid, Password: password, DN: "uid=" + uid + "," + slapdPeople,
			FirstName: first, LastName: last, Name: first + " " + last, Email: uid + "@empresa.test",
		}
	}
	a := SlapdAccounts{
		Lucia:   person("lucia", "Contraseña-de-Lucía-1", "Lucía", "Núñez Peña"),
		Pedro:   person("pedro", "Clave-de-Pedro-2", "Pedro", "Jefe"),
		Odd:     person("raro", "Clave-de-Raro-3", "Rita", `Rara, S.A. + C\A`),
		Alone:   person("solo", "Clave-de-Solo-4", "Sol", "Sola"),
		Service: Account{DN: slapdService, Password: "Clave-de-Servicio-5"},
	}
	a.Lucia.Title, a.Lucia.Manager = "Ingeniera", a.Pedro.DN
	a.Odd.DN = "cn=" + ldap.EscapeDN(a.Odd.Name) + "," + slapdPeople
	a.Odd.Email = ""
	return a
}

// fill is done over LDAP, not with slapadd: the memberof overlay keeps memberOf
// only for changes that it sees.
func (s *Slapd) fill() error {
	conn, err := s.dialAdmin()
	if err != nil {
		return fmt.Errorf("connecting as the administrator: %w", err)
	}
	defer conn.Close()

	root := attributes{"objectClass": {"dcObject", "organization"}, "dc": {"empresa"}, "o": {"Empresa"}}
	if err := add(conn, slapdBase, root); err != nil {
		return err
	}
	for _, ou := range []string{slapdPeople, slapdGroupOU, "ou=services," + slapdBase} {
		if err := add(conn, ou, attributes{"objectClass": {"organizationalUnit"}}); err != nil {
			return err
		}
	}
	service := attributes{
		"objectClass":  {"organizationalRole", "simpleSecurityObject"},
		"userPassword": {s.Service.Password},
	}
	if err := add(conn, s.Service.DN, service); err != nil {
		return err
	}
	for _, a := range []Account{s.Pedro, s.Lucia, s.Odd, s.Alone} {
		entry := attributes{
			"objectClass": {"inetOrgPerson"}, "uid": {a.Username}, "cn": {a.Name}, "displayName": {a.Name},
			"givenName": {a.FirstName}, "sn": {a.LastName}, "userPassword": {a.Password},
		}
		for name, value := range map[string]string{"mail": a.Email, "title": a.Title, "manager": a.Manager} {
			if value != "" {
				entry[name] = []string{value}
			}
		}
		if err := add(conn, a.DN, entry); err != nil {
			return err
		}
	}
	groups := []struct {
		dn    string
		entry attributes
	}{
		{s.Engineering, attributes{"objectClass": {"groupOfNames"}, "member": {s.Lucia.DN, s.Odd.DN}}},
		{s.Staff, attributes{"objectClass": {"groupOfNames"}, "member": {s.Pedro.DN, s.Engineering}}},
		{s.Posix, attributes{"objectClass": {"posixGroup"}, "gidNumber": {"2000"}, "memberUid": {s.Lucia.Username}}},
	}
	for _, group := range groups {
		if err := add(conn, group.dn, group.entry); err != nil {
			return err
		}
	}
	return nil
}

// SetPassword replaces the password of the entry dn.
func (s *Slapd) SetPassword(t testing.TB, dn, password string) {
	t.Helper()
	change := ldap.NewModifyRequest(dn, nil)
	change.Replace("userPassword", []string{password})
	if err := s.Admin(t).Modify(change); err != nil {
		t.Fatalf("changing the password of %q: %v", dn, err)
	}
}
