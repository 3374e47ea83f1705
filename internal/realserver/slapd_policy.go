package realserver

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// SlapdPolicyAccounts are people whom the ppolicy overlay treats differently,
// in a server with SlapdOptions.PasswordPolicy.
type SlapdPolicyAccounts struct {
	// MustChange has pwdReset TRUE: the bind succeeds, and only the control in
	// its answer says that nothing but a new password is allowed.
	MustChange Account
	// PasswordExpired's password is from 2020; no grace is left.
	PasswordExpired Account
	// Grace's password is from 2020 too, but three sign-ins are left.
	Grace Account
	// Warned's password ends in 50 days, and the policy warns of it.
	Warned Account
	// Clumsy is locked by 3 wrong passwords, as everybody is by the default
	// policy; tests lock it.
	Clumsy Account
	// Locked is locked by 3 wrong passwords since the server was filled.
	Locked Account
	// AdminLocked was locked by an administrator, for ever.
	AdminLocked Account
}

func slapdPolicyAccounts() SlapdPolicyAccounts {
	return SlapdPolicyAccounts{
		MustChange:      slapdPerson("debecambiar", "Clave-DebeCambiar-11", "Diego", "Debecambiar"),
		PasswordExpired: slapdPerson("expirada", "Clave-Expirada-12", "Elena", "Expirada"),
		Grace:           slapdPerson("gracia", "Clave-Gracia-13", "Gloria", "Gracia"),
		Warned:          slapdPerson("avisada", "Clave-Avisada-14", "Ada", "Avisada"),
		Clumsy:          slapdPerson("torpe", "Clave-Torpe-15", "Teo", "Torpe"),
		Locked:          slapdPerson("bloqueada", "Clave-Bloqueada-16", "Berta", "Bloqueada"),
		AdminLocked:     slapdPerson("cerrada", "Clave-Cerrada-17", "Celia", "Cerrada"),
	}
}

const (
	slapdPolicyOU      = "ou=policies," + slapdBase
	slapdPolicyDefault = "cn=default," + slapdPolicyOU
	slapdPolicyReset   = "cn=reset," + slapdPolicyOU
	slapdPolicyGrace   = "cn=grace," + slapdPolicyOU
	slapdPolicyWarning = "cn=warning," + slapdPolicyOU
)

// lockedForEver is the value of pwdAccountLockedTime that no time ends
// (draft-behera-ldap-password-policy, section 5.3.3).
const lockedForEver = "000001010000Z"

// relaxRules lets the administrator write what the server keeps itself
// (draft-zeilenga-ldap-relax).
func relaxRules() ldap.Control {
	return ldap.NewControlString("1.3.6.1.4.1.4203.666.5.12", true, "")
}

func (s *Slapd) addPolicies(conn *ldap.Conn) error {
	if err := add(conn, slapdPolicyOU, attributes{"objectClass": {"organizationalUnit"}}); err != nil {
		return err
	}
	const days100, days99 = "8640000", "8553600"
	policies := map[string]attributes{
		slapdPolicyDefault: {
			"pwdMaxAge":  {days100},
			"pwdLockout": {"TRUE"}, "pwdMaxFailure": {"3"}, "pwdLockoutDuration": {"0"},
		},
		// pwdReset counts only where a policy says so, and there every reset by
		// an administrator sets it: hence not in the default.
		slapdPolicyReset:   {"pwdMustChange": {"TRUE"}},
		slapdPolicyGrace:   {"pwdMaxAge": {days100}, "pwdGraceAuthNLimit": {"3"}},
		slapdPolicyWarning: {"pwdMaxAge": {days100}, "pwdExpireWarning": {days99}},
	}
	for dn, policy := range policies {
		policy["objectClass"] = []string{"device", "pwdPolicy"}
		policy["pwdAttribute"] = []string{"userPassword"}
		if err := add(conn, dn, policy); err != nil {
			return err
		}
	}

	const long = "20200101000000Z"
	days50 := time.Now().UTC().Add(-50 * 24 * time.Hour).Format("20060102150405Z")
	people := []struct {
		Account
		policy string // empty: the default
		state  attributes
	}{
		{s.MustChange, slapdPolicyReset, attributes{"pwdReset": {"TRUE"}}},
		{s.PasswordExpired, "", attributes{"pwdChangedTime": {long}}},
		{s.Grace, slapdPolicyGrace, attributes{"pwdChangedTime": {long}}},
		{s.Warned, slapdPolicyWarning, attributes{"pwdChangedTime": {days50}}},
		{s.Clumsy, "", nil},
		{s.Locked, "", nil},
		{s.AdminLocked, "", attributes{"pwdAccountLockedTime": {lockedForEver}}},
	}
	for _, person := range people {
		entry := person.attributes()
		if person.policy != "" {
			entry["pwdPolicySubentry"] = []string{person.policy}
		}
		if err := add(conn, person.DN, entry); err != nil {
			return err
		}
		for name, values := range person.state {
			change := ldap.NewModifyRequest(person.DN, []ldap.Control{relaxRules()})
			change.Replace(name, values)
			if err := conn.Modify(change); err != nil {
				return fmt.Errorf("setting %s of %q: %w", name, person.DN, err)
			}
		}
	}
	for range 3 {
		if err := s.TryBind(s.Locked.DN, "wrong"); !refused(err) {
			return fmt.Errorf("locking %q: binding with a wrong password gave %v", s.Locked.Username, err)
		}
	}
	return nil
}

// Lock does to a what an administrator can, with a password policy.
func (s *Slapd) Lock(t testing.TB, a Account) {
	t.Helper()
	s.setState(t, a, "pwdAccountLockedTime", lockedForEver)
}

// Unlock ends Lock and the lock that wrong passwords have caused.
func (s *Slapd) Unlock(t testing.TB, a Account) {
	t.Helper()
	s.setState(t, a, "pwdAccountLockedTime")
}

// RequirePasswordChange makes the account's next sign-in one that must set a
// new password, with a password policy.
func (s *Slapd) RequirePasswordChange(t testing.TB, a Account) {
	t.Helper()
	s.setState(t, a, "pwdPolicySubentry", slapdPolicyReset)
	s.setState(t, a, "pwdReset", "TRUE")
}

func (s *Slapd) setState(t testing.TB, a Account, name string, values ...string) {
	t.Helper()
	change := ldap.NewModifyRequest(a.DN, []ldap.Control{relaxRules()})
	change.Replace(name, values)
	s.modify(t, change)
}
