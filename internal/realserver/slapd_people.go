package realserver

import (
	"fmt"

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
	// Deep is in Levels[0], and through it in all twelve; Middle is in
	// Levels[4], and through it in eight. Both are in Unique through Levels[4].
	Deep, Middle Account
	// Service may search, read and nothing else; its Username is empty.
	Service Account
}

// SlapdGroups are DNs of groups.
type SlapdGroups struct {
	Engineering string // cn ingenieria; itself a member of Staff
	Staff       string // cn plantilla
	Posix       string // cn unix, a posixGroup with memberUid

	// Levels are cn nivel-01 … nivel-12, each in the next. The last two are in
	// each other, so that a walk up from any of them meets a cycle.
	Levels [12]string
	Unique string // cn unicos, a groupOfUniqueNames, which gives nobody a memberOf
}

func slapdGroups() SlapdGroups {
	g := SlapdGroups{
		Engineering: "cn=ingenieria," + slapdGroupOU,
		Staff:       "cn=plantilla," + slapdGroupOU,
		Posix:       "cn=unix," + slapdGroupOU,
		Unique:      "cn=unicos," + slapdGroupOU,
	}
	for i := range g.Levels {
		g.Levels[i] = fmt.Sprintf("cn=nivel-%02d,%s", i+1, slapdGroupOU)
	}
	return g
}

func slapdAccounts() SlapdAccounts {
	a := SlapdAccounts{
		Lucia:   slapdPerson("lucia", "Contraseña-de-Lucía-1", "Lucía", "Núñez Peña"),
		Pedro:   slapdPerson("pedro", "Clave-de-Pedro-2", "Pedro", "Jefe"),
		Odd:     slapdPerson("raro", "Clave-de-Raro-3", "Rita", `Rara, S.A. + C\A`),
		Alone:   slapdPerson("solo", "Clave-de-Solo-4", "Sol", "Sola"),
		Deep:    slapdPerson("profunda", "Clave-de-Profunda-7", "Petra", "Profunda"),
		Middle:  slapdPerson("media", "Clave-de-Media-8", "Marta", "Media"),
		Service: Account{DN: slapdService, Password: "Clave-de-Servicio-5"},
	}
	a.Lucia.Title, a.Lucia.Manager = "Ingeniera", a.Pedro.DN
	a.Odd.DN = "cn=" + ldap.EscapeDN(a.Odd.Name) + "," + slapdPeople
	a.Odd.Email = ""
	return a
}

func slapdPerson(uid, password, first, last string) Account {
	return Account{
		Username: uid, Password: password, DN: "uid=" + uid + "," + slapdPeople,
		FirstName: first, LastName: last, Name: first + " " + last, Email: uid + "@empresa.test",
	}
}

// attributes of an inetOrgPerson.
func (a Account) attributes() attributes {
	entry := attributes{
		"objectClass": {"inetOrgPerson"}, "uid": {a.Username}, "cn": {a.Name}, "displayName": {a.Name},
		"givenName": {a.FirstName}, "sn": {a.LastName}, "userPassword": {a.Password},
	}
	for name, value := range map[string]string{"mail": a.Email, "title": a.Title, "manager": a.Manager} {
		if value != "" {
			entry[name] = []string{value}
		}
	}
	return entry
}

// fill is done over LDAP, not with slapadd: the memberof overlay keeps memberOf
// only for changes that it sees.
func (s *Slapd) fill(options SlapdOptions) error {
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
	for _, a := range []Account{s.Pedro, s.Lucia, s.Odd, s.Alone, s.Deep, s.Middle} {
		if err := add(conn, a.DN, a.attributes()); err != nil {
			return err
		}
	}
	if err := s.addGroups(conn); err != nil {
		return err
	}
	if options.PasswordPolicy {
		return s.addPolicies(conn)
	}
	return nil
}

func groupOfNames(members ...string) attributes {
	return attributes{"objectClass": {"groupOfNames"}, "member": members}
}

func (s *Slapd) addGroups(conn *ldap.Conn) error {
	type group struct {
		dn    string
		entry attributes
	}
	groups := []group{
		{s.Engineering, groupOfNames(s.Lucia.DN, s.Odd.DN)},
		{s.Staff, groupOfNames(s.Pedro.DN, s.Engineering)},
		{s.Posix, attributes{"objectClass": {"posixGroup"}, "gidNumber": {"2000"}, "memberUid": {s.Lucia.Username}}},
	}
	lower := s.Deep.DN
	for i, dn := range s.Levels {
		members := []string{lower}
		if i == 4 {
			members = append(members, s.Middle.DN)
		}
		groups = append(groups, group{dn, groupOfNames(members...)})
		lower = dn
	}
	groups = append(groups, group{s.Unique, attributes{
		"objectClass": {"groupOfUniqueNames"}, "uniqueMember": {s.Levels[4]},
	}})
	for _, group := range groups {
		if err := add(conn, group.dn, group.entry); err != nil {
			return err
		}
	}
	last := len(s.Levels) - 1
	cycle := ldap.NewModifyRequest(s.Levels[last-1], nil)
	cycle.Add("member", []string{s.Levels[last]})
	if err := conn.Modify(cycle); err != nil {
		return fmt.Errorf("closing the cycle of groups: %w", err)
	}
	return nil
}
