package integration

import (
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
)

// Rows 28, 29 and 31.
func TestPolicyAccountStates(t *testing.T) {
	s := realserver.NewSlapd(t, realserver.SlapdOptions{PasswordPolicy: true})
	d := open(t, openldapConfig(s))
	tests := []struct {
		what         string
		account      realserver.Account
		right, wrong ldap.Reason
	}{
		// The bind itself succeeds: only the control says no.
		{"must change", s.MustChange, ldap.ReasonPasswordMustChange, ldap.ReasonBadCredentials},
		{"password expired", s.PasswordExpired, ldap.ReasonPasswordExpired, ldap.ReasonBadCredentials},
		{"locked by wrong passwords", s.Locked, ldap.ReasonAccountLocked, ldap.ReasonAccountLocked},
		{"locked by an administrator", s.AdminLocked, ldap.ReasonAccountLocked, ldap.ReasonAccountLocked},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			d.expectRefused(t, test.account.Username, test.account.Password, test.right)
			d.expectRefused(t, test.account.Username, "wrong", test.wrong)
		})
	}
	t.Run("three wrong passwords", func(t *testing.T) {
		for range 3 {
			d.expectRefused(t, s.Clumsy.Username, "wrong", ldap.ReasonBadCredentials)
		}
		d.expectRefused(t, s.Clumsy.Username, s.Clumsy.Password, ldap.ReasonAccountLocked)
	})
	// A connection on which slapd had let somebody in for nothing but a new
	// password serves nobody after it.
	t.Run("somebody else afterwards", func(t *testing.T) {
		d.expectRefused(t, s.MustChange.Username, s.MustChange.Password, ldap.ReasonPasswordMustChange)
		if lucia := d.expectIdentity(t, "lucia", s.Lucia.Password); lucia.Warning != nil {
			t.Errorf("lucia is warned: %+v", lucia.Warning)
		}
	})
}

func TestPolicyWarnings(t *testing.T) {
	s := realserver.NewSlapd(t, realserver.SlapdOptions{PasswordPolicy: true})
	d := open(t, openldapConfig(s))
	t.Run("three sign-ins left after the password expired", func(t *testing.T) {
		for left := 2; left >= 0; left-- {
			warning := d.expectIdentity(t, s.Grace.Username, s.Grace.Password).Warning
			if warning == nil || warning.GraceSignIns != left {
				t.Errorf("the warning is %+v, want %d sign-ins left", warning, left)
			}
		}
		d.expectRefused(t, s.Grace.Username, s.Grace.Password, ldap.ReasonPasswordExpired)
	})
	t.Run("password that will expire", func(t *testing.T) {
		warning := d.expectIdentity(t, s.Warned.Username, s.Warned.Password).Warning
		const day = 24 * time.Hour
		if warning == nil || warning.GraceSignIns >= 0 || warning.ExpiresIn < 49*day || warning.ExpiresIn > 51*day {
			t.Errorf("the warning is %+v, want 50 days", warning)
		}
	})
}
