package integration

import (
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
)

// Rows 7 to 11.
func TestADAccountStates(t *testing.T) {
	dc := servers.Samba(t)
	d := open(t, adConfig(dc))
	tests := []struct {
		what    string
		account realserver.Account
		right   ldap.Reason // with the right password
		wrong   ldap.Reason
	}{
		{"disabled", dc.Disabled, ldap.ReasonAccountDisabled, ldap.ReasonBadCredentials},
		{"account expired", dc.AccountExpired, ldap.ReasonAccountExpired, ldap.ReasonBadCredentials},
		{"logon hours", dc.LogonHours, ldap.ReasonLogonHours, ldap.ReasonBadCredentials},
		{"workstation", dc.Workstation, ldap.ReasonWorkstation, ldap.ReasonBadCredentials},
		{"password expired", dc.PasswordExpired, ldap.ReasonPasswordExpired, ldap.ReasonBadCredentials},
		{"password older than its own policy allows", dc.WeeklyPassword, ldap.ReasonPasswordExpired, ldap.ReasonBadCredentials},
		{"must change password", dc.MustChange, ldap.ReasonPasswordMustChange, ldap.ReasonBadCredentials},
		// The directory says so whatever the password is.
		{"locked", dc.Locked, ldap.ReasonAccountLocked, ldap.ReasonAccountLocked},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			d.expectRefused(t, test.account.Username, test.account.Password, test.right)
			d.expectRefused(t, test.account.Username, "wrong", test.wrong)
		})
	}
}

// Rows 4 to 6.
func TestADRefusals(t *testing.T) {
	dc := servers.Samba(t)
	d := open(t, adConfig(dc))
	right := dc.Juan.Password
	tests := []struct {
		what, name, password string
		want                 ldap.Reason
	}{
		{"wrong password", "juan", "wrong", ldap.ReasonBadCredentials},
		{"password in another case", "juan", strings.ToUpper(right), ldap.ReasonBadCredentials},
		{"password with a space", "juan", right + " ", ldap.ReasonBadCredentials},
		{"unknown user", "nadie", "wrong", ldap.ReasonBadCredentials},
		{"unknown domain", "juan@wrong.test", right, ldap.ReasonBadCredentials},
		{"unknown short domain", `NOPE\juan`, right, ldap.ReasonBadCredentials},
		{"somebody else's password", "juan", dc.Maria.Password, ldap.ReasonBadCredentials},
		{"accent left out", "munoz", dc.Munoz.Password, ldap.ReasonBadCredentials},
		{"empty password", "juan", "", ldap.ReasonNameInvalid},
		{"right password and a NUL, which Samba cuts off", "juan", right + "\x00x", ldap.ReasonNameInvalid},
		{"NUL in the name, which Samba cuts off", "juan\x00x", right, ldap.ReasonNameInvalid},
		{"password not UTF-8", "juan", right + "\xff", ldap.ReasonNameInvalid},
		{"asterisk", "ju*", right, ldap.ReasonNameInvalid},
		{"filter", "juan)(objectClass=*", right, ldap.ReasonNameInvalid},
		{"parenthesis, which a user name may have", "juan)", right, ldap.ReasonBadCredentials},
		{"DN", dc.Juan.DN, right, ldap.ReasonNameInvalid},
		{"empty name", "", right, ldap.ReasonNameInvalid},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			d.expectRefused(t, test.name, test.password, test.want)
		})
	}
}

// One sign-in that fails costs the person one of the tries that the domain
// grants before it locks the account. (Row 4.)
func TestADOneWrongPasswordIsOneBind(t *testing.T) {
	dc := servers.Samba(t)
	config := adConfig(dc)
	// Two addresses of the same controller: the second must not be tried.
	config.Servers = []string{dc.URL, strings.Replace(dc.URL, "127.0.0.1", "localhost", 1)}
	d := open(t, config)
	counted := func() int { return dc.BadPwdCount(t, dc.Clumsy) }
	d.expectIdentity(t, dc.Clumsy.Username, dc.Clumsy.Password)
	if n := counted(); n != 0 {
		t.Fatalf("badPwdCount is %d before the test, want 0", n)
	}
	d.expectRefused(t, dc.Clumsy.Username, "wrong", ldap.ReasonBadCredentials)
	if n := counted(); n != 1 {
		t.Errorf("badPwdCount is %d after one wrong password, want 1", n)
	}
	d.expectIdentity(t, dc.Clumsy.Username, dc.Clumsy.Password)
	if n := counted(); n != 0 {
		t.Errorf("badPwdCount is %d after the right password, want 0", n)
	}
}

// Row 11: whatever the third wrong password brings about, the fourth attempt
// says so, and the right password does not help.
func TestADThreeWrongPasswordsLockTheAccount(t *testing.T) {
	dc := servers.Samba(t)
	dc.SetLockoutThreshold(t, 3)
	account := dc.NewAccount(t, "cerrojo")
	d := open(t, adConfig(dc))
	for range 3 {
		d.expectRefused(t, account.Username, "wrong", ldap.ReasonBadCredentials)
	}
	d.expectRefused(t, account.Username, account.Password, ldap.ReasonAccountLocked)
	d.expectRefused(t, account.Username, "wrong", ldap.ReasonAccountLocked)
	dc.Unlock(t, account)
	d.expectIdentity(t, account.Username, account.Password)
}
