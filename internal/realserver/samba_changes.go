package realserver

import (
	"strconv"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// NewAccount adds a person in good state whose names start with name and are
// nobody else's, until the test ends.
func (s *Samba) NewAccount(t testing.TB, name string) Account {
	t.Helper()
	username := unique(name)
	a := sambaPerson(username, "Clave-De-Prueba-"+username, "Prueba", username)
	s.Create(t, a)
	return a
}

// Create adds the person a until the test ends. After a Delete it is the same
// name with another objectGUID and SID: somebody else.
func (s *Samba) Create(t testing.TB, a Account) {
	t.Helper()
	s.addForTest(t, a.DN, personAttributes(a, nil))
}

// NewGroup adds a security group with these direct members until the test ends
// and returns its DN. Its CN and sAMAccountName are the same.
func (s *Samba) NewGroup(t testing.TB, name string, members ...Account) string {
	t.Helper()
	name = unique(name)
	var dns []string
	for _, member := range members {
		dns = append(dns, member.DN)
	}
	dn := "CN=" + ldap.EscapeDN(name) + "," + sambaGroup
	s.addForTest(t, dn, groupAttributes(name, globalSecurity, dns...))
	return dn
}

// accountDisable is a bit of userAccountControl (MS-ADTS 2.2.16).
const accountDisable = 2

// Disable is what an administrator does to those who left.
func (s *Samba) Disable(t testing.TB, a Account) {
	t.Helper()
	s.setControl(t, a, func(flags int) int { return flags | accountDisable })
}

// Enable ends what Disable did.
func (s *Samba) Enable(t testing.TB, a Account) {
	t.Helper()
	s.setControl(t, a, func(flags int) int { return flags &^ accountDisable })
}

func (s *Samba) setControl(t testing.TB, a Account, change func(int) int) {
	t.Helper()
	const attribute = "userAccountControl"
	flags, err := strconv.Atoi(s.Attributes(t, a.DN, attribute).GetAttributeValue(attribute))
	if err != nil {
		t.Fatalf("reading %s of %q: %v", attribute, a.DN, err)
	}
	s.Set(t, a.DN, attribute, strconv.Itoa(change(flags)))
}

// SetPassword is an administrator's reset, which sets pwdLastSet to now.
func (s *Samba) SetPassword(t testing.TB, a Account, password string) {
	t.Helper()
	s.Set(t, a.DN, "unicodePwd", quotedUTF16(password))
}

// RequirePasswordChange makes the account's next sign-in one that must set a
// new password.
func (s *Samba) RequirePasswordChange(t testing.TB, a Account) {
	t.Helper()
	s.Set(t, a.DN, "pwdLastSet", "0")
}

// AgePassword makes the password of a one that was set at that time. It starts
// a Python, which costs about a second.
func (s *Samba) AgePassword(t testing.TB, a Account, set time.Time) {
	t.Helper()
	if err := s.agePasswords(map[string]time.Time{a.DN: set}); err != nil {
		t.Fatal(err)
	}
}

// ExpireAccount sets when the account ends; the zero time means never.
func (s *Samba) ExpireAccount(t testing.TB, a Account, when time.Time) {
	t.Helper()
	value := "0"
	if !when.IsZero() {
		value = fileTime(when)
	}
	s.Set(t, a.DN, "accountExpires", value)
}

// Unlock ends a lockout, as an administrator does.
func (s *Samba) Unlock(t testing.TB, a Account) {
	t.Helper()
	s.Set(t, a.DN, "lockoutTime", "0")
}

// Rename gives the entry of a another CN and returns the account with its new
// DN.
func (s *Samba) Rename(t testing.TB, a Account, cn string) Account {
	t.Helper()
	_, parent := splitDN(t, a.DN)
	return s.moved(t, a, "CN="+ldap.EscapeDN(cn), parent)
}

// Move puts the entry of a below parent, a DN such as OtherOU, and returns the
// account with its new DN.
func (s *Samba) Move(t testing.TB, a Account, parent string) Account {
	t.Helper()
	rdn, _ := splitDN(t, a.DN)
	return s.moved(t, a, rdn, parent)
}

// SetUsername changes sAMAccountName and userPrincipalName, as for somebody who
// has married, and returns the account with them.
func (s *Samba) SetUsername(t testing.TB, a Account, username string) Account {
	t.Helper()
	a.Username, a.UPN = username, username+"@"+s.Domain
	s.Set(t, a.DN, "sAMAccountName", a.Username)
	s.Set(t, a.DN, "userPrincipalName", a.UPN)
	return a
}

// BadPwdCount is how many wrong passwords the controller counts for a.
func (s *Samba) BadPwdCount(t testing.TB, a Account) int {
	t.Helper()
	n, err := strconv.Atoi(s.Attributes(t, a.DN, "badPwdCount").GetAttributeValue("badPwdCount"))
	if err != nil {
		t.Fatalf("reading badPwdCount of %q: %v", a.DN, err)
	}
	return n
}

// SetLockoutThreshold has the domain lock accounts after n wrong passwords, 0
// never, until the test ends.
func (s *Samba) SetLockoutThreshold(t testing.TB, n int) {
	t.Helper()
	const attribute = "lockoutThreshold"
	before := s.Attributes(t, s.BaseDN, attribute).GetAttributeValue(attribute)
	t.Cleanup(func() { s.Set(t, s.BaseDN, attribute, before) })
	s.Set(t, s.BaseDN, attribute, strconv.Itoa(n))
}
