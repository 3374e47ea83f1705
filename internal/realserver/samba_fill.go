package realserver

import (
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"
)

// fill puts people, groups and password rules into the empty domain.
func (s *Samba) fill() error {
	conn, err := s.dialAdmin()
	if err != nil {
		return fmt.Errorf("connecting as Administrator: %w", err)
	}
	defer conn.Close()

	// The suffix that Eve's name needs; Windows refuses unlisted ones.
	suffix := ldap.NewModifyRequest("CN=Partitions,CN=Configuration,"+sambaBase, nil)
	suffix.Add("uPNSuffixes", []string{"other.example"})
	if err := conn.Modify(suffix); err != nil {
		return fmt.Errorf("adding the UPN suffix: %w", err)
	}
	for _, ou := range []string{sambaPeople, sambaGroup, sambaOther} {
		if err := add(conn, ou, attributes{"objectClass": {"organizationalUnit"}}); err != nil {
			return err
		}
	}
	for _, person := range s.people() {
		if err := addPerson(conn, person.Account, person.extra); err != nil {
			return err
		}
	}
	if err := s.addGroups(conn); err != nil {
		return err
	}
	if err := s.addSpecial(conn); err != nil {
		return err
	}
	if err := s.addPasswordSettings(conn); err != nil {
		return err
	}
	if err := s.lock(); err != nil {
		return err
	}
	return s.agePasswords(map[string]time.Time{
		s.PasswordExpired.DN: time.Date(2020, 11, 15, 0, 0, 0, 0, time.UTC),
		s.WeeklyPassword.DN:  time.Now().Add(-8 * 24 * time.Hour),
	})
}

type attributes map[string][]string

type personEntry struct {
	Account
	extra attributes
}

// people lists who is added, in an order in which managers come first.
func (s *Samba) people() []personEntry {
	a := s.SambaAccounts
	return []personEntry{
		{a.Maria, nil}, {a.Juan, nil}, {a.Munoz, nil}, {a.NoUPN, nil}, {a.TwinA, nil}, {a.TwinB, nil},
		{a.Victim, nil}, {a.Eve, nil}, {a.CrossA, nil}, {a.CrossB, nil},
		{a.PasswordExpired, nil}, {a.WeeklyPassword, nil}, {a.Clumsy, nil}, {a.Locked, nil}, {a.Service, nil},
		{a.Disabled, attributes{"userAccountControl": {"514"}}},
		{a.MustChange, attributes{"pwdLastSet": {"0"}}},
		// 100-nanosecond steps since 1601: some day of 2020.
		{a.AccountExpired, attributes{"accountExpires": {"132500000000000000"}}},
		{a.LogonHours, attributes{"logonHours": {string(make([]byte, 21))}}},
		{a.Workstation, attributes{"userWorkstations": {"OTHERPC"}}},
	}
}

func addPerson(conn *ldap.Conn, a Account, extra attributes) error {
	return add(conn, a.DN, personAttributes(a, extra))
}

func personAttributes(a Account, extra attributes) attributes {
	entry := attributes{
		"objectClass":        {"user"},
		"sAMAccountName":     {a.Username},
		"userAccountControl": {"512"},
		"unicodePwd":         {quotedUTF16(a.Password)},
		"sn":                 {a.LastName},
		"displayName":        {a.Name},
	}
	optional := map[string]string{
		"givenName": a.FirstName, "mail": a.Email, "userPrincipalName": a.UPN,
		"title": a.Title, "manager": a.Manager,
	}
	for name, value := range optional {
		if value != "" {
			entry[name] = []string{value}
		}
	}
	for name, values := range extra {
		entry[name] = values
	}
	return entry
}

// Values of groupType.
const (
	globalSecurity = "-2147483646"
	distribution   = "2"
)

func groupAttributes(name, kind string, members ...string) attributes {
	entry := attributes{"objectClass": {"group"}, "sAMAccountName": {name}, "groupType": {kind}}
	if len(members) > 0 {
		entry["member"] = members
	}
	return entry
}

func (s *Samba) addGroups(conn *ldap.Conn) error {
	const global = globalSecurity
	g := s.SambaGroups
	group := func(dn, name, kind string, members ...string) error {
		return add(conn, dn, groupAttributes(name, kind, members...))
	}
	if err := group(g.Engineering, "Ingeniería", global, s.Juan.DN); err != nil {
		return err
	}
	if err := group(g.Staff, "staff", global, g.Engineering, s.Maria.DN); err != nil {
		return err
	}
	if err := group(g.RnD, "R&D Compras", global, s.Maria.DN); err != nil {
		return err
	}
	if err := group(g.Newsletter, "boletin", distribution, s.Juan.DN); err != nil {
		return err
	}
	if err := group(g.Outsiders, "externos", global); err != nil {
		return err
	}
	member := g.Engineering
	for i, dn := range g.Levels {
		if err := group(dn, fmt.Sprintf("nivel-%02d", i+1), global, member); err != nil {
			return err
		}
		member = dn
	}
	cycle := ldap.NewModifyRequest(g.Levels[0], nil)
	cycle.Add("member", []string{g.Levels[len(g.Levels)-1]})
	if err := conn.Modify(cycle); err != nil {
		return fmt.Errorf("closing the cycle of groups: %w", err)
	}
	return nil
}

// addPasswordSettings makes two fine-grained policies. The domain itself locks
// nobody, and its passwords live for 42 days. (Samba takes an age of one day or
// less for "never".)
func (s *Samba) addPasswordSettings(conn *ldap.Conn) error {
	const halfHour, week, never = "-18000000000", "-6048000000000", "-9223372036854775808"
	policy := func(name, precedence, threshold, maxAge string, people ...string) error {
		return add(conn, "CN="+name+","+passwordSettings, attributes{
			"objectClass":                              {"msDS-PasswordSettings"},
			"msDS-PasswordSettingsPrecedence":          {precedence},
			"msDS-PasswordReversibleEncryptionEnabled": {"FALSE"},
			"msDS-PasswordHistoryLength":               {"0"},
			"msDS-PasswordComplexityEnabled":           {"FALSE"},
			"msDS-MinimumPasswordLength":               {"1"},
			"msDS-MinimumPasswordAge":                  {"0"},
			"msDS-MaximumPasswordAge":                  {maxAge},
			"msDS-LockoutThreshold":                    {threshold},
			"msDS-LockoutObservationWindow":            {halfHour},
			"msDS-LockoutDuration":                     {halfHour},
			"msDS-PSOAppliesTo":                        people,
		})
	}
	if err := policy("bloqueo", "10", "3", never, s.Clumsy.DN, s.Locked.DN); err != nil {
		return err
	}
	return policy("semanal", "20", "0", week, s.WeeklyPassword.DN)
}

// lock uses up the three wrong passwords of the account that is to be locked.
func (s *Samba) lock() error {
	for range 3 {
		if err := s.TryBind(s.Locked.UPN, "wrong"); !refused(err) {
			return fmt.Errorf("locking %q: binding with a wrong password gave %v", s.Locked.Username, err)
		}
	}
	return nil
}

func add(conn *ldap.Conn, dn string, entry attributes) error {
	request := ldap.NewAddRequest(dn, nil)
	for name, values := range entry {
		request.Attribute(name, values)
	}
	if err := conn.Add(request); err != nil {
		return fmt.Errorf("adding %q: %w", dn, err)
	}
	return nil
}

// quotedUTF16 is the form of unicodePwd (MS-ADTS 3.1.1.3.1.5).
func quotedUTF16(password string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(`"` + password + `"`)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return string(b)
}
