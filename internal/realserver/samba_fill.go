package realserver

import (
	"encoding/binary"
	"fmt"
	"os/exec"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"
)

// fill puts people, groups and password rules into the empty domain whose
// smb.conf is config.
func (s *Samba) fill(config string) error {
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
	for _, ou := range []string{sambaPeople, sambaGroup} {
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
	if err := s.addLockoutRule(conn); err != nil {
		return err
	}
	if err := s.lock(); err != nil {
		return err
	}
	return s.age(config)
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
		{a.PasswordExpired, nil}, {a.Clumsy, nil}, {a.Locked, nil}, {a.Service, nil},
		{a.Disabled, attributes{"userAccountControl": {"514"}}},
		{a.MustChange, attributes{"pwdLastSet": {"0"}}},
		// 100-nanosecond steps since 1601: some day of 2020.
		{a.AccountExpired, attributes{"accountExpires": {"132500000000000000"}}},
		{a.LogonHours, attributes{"logonHours": {string(make([]byte, 21))}}},
		{a.Workstation, attributes{"userWorkstations": {"OTHERPC"}}},
	}
}

func addPerson(conn *ldap.Conn, a Account, extra attributes) error {
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
	return add(conn, a.DN, entry)
}

func (s *Samba) addGroups(conn *ldap.Conn) error {
	const global, distribution = "-2147483646", "2"
	g := s.SambaGroups
	group := func(dn, name, kind string, members ...string) error {
		entry := attributes{"objectClass": {"group"}, "sAMAccountName": {name}, "groupType": {kind}}
		if len(members) > 0 {
			entry["member"] = members
		}
		return add(conn, dn, entry)
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

// addLockoutRule makes a fine-grained policy: three wrong passwords lock for 30
// minutes. The domain itself locks nobody.
func (s *Samba) addLockoutRule(conn *ldap.Conn) error {
	const halfHour, never = "-18000000000", "-9223372036854775808"
	return add(conn, lockoutPSO, attributes{
		"objectClass":                              {"msDS-PasswordSettings"},
		"msDS-PasswordSettingsPrecedence":          {"10"},
		"msDS-PasswordReversibleEncryptionEnabled": {"FALSE"},
		"msDS-PasswordHistoryLength":               {"0"},
		"msDS-PasswordComplexityEnabled":           {"FALSE"},
		"msDS-MinimumPasswordLength":               {"1"},
		"msDS-MinimumPasswordAge":                  {"0"},
		"msDS-MaximumPasswordAge":                  {never},
		"msDS-LockoutThreshold":                    {"3"},
		"msDS-LockoutObservationWindow":            {halfHour},
		"msDS-LockoutDuration":                     {halfHour},
		"msDS-PSOAppliesTo":                        {s.Clumsy.DN, s.Locked.DN},
	})
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

// age makes a password older than the domain's 42 days. Over LDAP a pwdLastSet
// may only become 0 or now, so this goes through Samba's own database, as its
// upgrade from older domains does.
func (s *Samba) age(config string) error {
	const script = `
import sys, ldb
from samba import dsdb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB

config, dn = sys.argv[1:]
lp = LoadParm()
lp.load(config)
message = ldb.Message()
sam = SamDB(session_info=system_session(), lp=lp)
message.dn = ldb.Dn(sam, dn)
message["pwdLastSet"] = ldb.MessageElement("132500000000000000", ldb.FLAG_MOD_REPLACE, "pwdLastSet")
sam.modify(message, controls=["local_oid:%s:0" % dsdb.DSDB_CONTROL_BYPASS_PASSWORD_HASH_OID])
`
	// Debian's Python: another one that is first in PATH has no Samba modules.
	out, err := exec.Command("/usr/bin/python3", "-c", script, config, s.PasswordExpired.DN).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ageing the password of %q: %w\n%s", s.PasswordExpired.Username, err, out)
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
