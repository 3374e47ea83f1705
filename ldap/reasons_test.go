package ldap

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"
)

func TestReasonsOfBinds(t *testing.T) {
	ad := func(data string) error {
		return goldap.NewError(49, fmt.Errorf("80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data %s, v4563\x00", data))
	}
	code := func(n uint16) error { return goldap.NewError(n, errors.New("")) }
	tests := []struct {
		what    string
		err     error
		reason  Reason
		refused bool
	}{
		{"52e", ad("52e"), ReasonBadCredentials, true},
		{"52E, Samba's ending", goldap.NewError(49, errors.New("80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52E, v1db1 ")), ReasonBadCredentials, true},
		{"525", ad("525"), ReasonUserUnknown, true},
		{"57", ad("57"), ReasonAmbiguousUser, true},
		{"530", ad("530"), ReasonLogonHours, true},
		{"531", ad("531"), ReasonWorkstation, true},
		{"532", ad("532"), ReasonPasswordExpired, true},
		{"533", ad("533"), ReasonAccountDisabled, true},
		{"568", ad("568"), ReasonTokenTooBig, true},
		{"701", ad("701"), ReasonAccountExpired, true},
		{"773", ad("773"), ReasonPasswordMustChange, true},
		{"775", ad("775"), ReasonAccountLocked, true},
		{"a code of the future", ad("999"), ReasonBadCredentials, true},
		{"49 without a diagnostic", code(49), ReasonBadCredentials, true},
		{"19 constraint violation", code(19), ReasonAccountLocked, true},
		{"48 inappropriate authentication", code(48), ReasonNoPassword, true},
		{"53 unwilling to perform", code(53), ReasonRefused, true},
		{"53 of 389-ds, which looks at no password", goldap.NewError(53, errors.New("Account inactivated. Contact system administrator.")), ReasonRefused, true},
		{"34 invalid DN", code(34), ReasonNameForm, true},
		{"32 no such object", code(32), ReasonRefused, true},
		{"a result of the future", code(130), ReasonRefused, true},
		{"8 stronger authentication", code(8), ReasonTLSRequired, false},
		{"13 confidentiality", code(13), ReasonTLSRequired, false},
		{"1 operations error", code(1), ReasonDirectoryUnavailable, false},
		{"3 time limit", code(3), ReasonDirectoryUnavailable, false},
		{"10 referral", code(10), ReasonDirectoryUnavailable, false},
		{"51 busy", code(51), ReasonDirectoryUnavailable, false},
		{"52 unavailable", code(52), ReasonDirectoryUnavailable, false},
		{"80 other", code(80), ReasonDirectoryUnavailable, false},
		{"network", code(200), ReasonDirectoryUnavailable, false},
		{"not LDAP at all", errors.New("unable to read LDAP response packet: EOF"), ReasonDirectoryUnavailable, false},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			if got := bindOutcome(wireError("binding", test.err), noPolicy()); got.reason != test.reason || got.refused != test.refused {
				t.Errorf("got %+v, want %s, refused %v", got, test.reason, test.refused)
			}
		})
	}
	if got := serviceBindReason(wireError("binding", code(49))); got != ReasonServiceAccountRejected {
		t.Errorf("49 for the service account: %s", got)
	}
	if got := serviceBindReason(wireError("binding", code(52))); got != ReasonDirectoryUnavailable {
		t.Errorf("52 for the service account: %s", got)
	}
}

func TestReasonsOfPasswordPolicies(t *testing.T) {
	said := func(err int) policyAnswer { return policyAnswer{grace: -1, expires: -1, err: err} }
	mustChange := policyAnswer{grace: -1, expires: -1, err: -1, mustChange: true}
	grace := policyAnswer{grace: 0, expires: -1, err: -1, mustChange: true}
	tests := []struct {
		what   string
		code   uint16
		policy policyAnswer
		want   outcome
	}{
		{"success", 0, noPolicy(), outcome{}},
		{"success with an old password", 0, policyAnswer{grace: -1, expires: 60, err: -1}, outcome{}},
		{"success with an expired password, the last time", 0, grace, outcome{}},
		{"success after a reset", 0, said(policyChangeAfterReset), outcome{ReasonPasswordMustChange, true}},
		{"success after a reset, with sign-ins left", 0, policyAnswer{grace: 3, expires: -1, err: policyChangeAfterReset}, outcome{ReasonPasswordMustChange, true}},
		{"success after a reset, 389-ds in its last branch", 0, mustChange, outcome{ReasonPasswordMustChange, true}},
		{"success and expired", 0, said(policyPasswordExpired), outcome{ReasonPasswordExpired, true}},
		{"success and locked", 0, said(policyAccountLocked), outcome{ReasonAccountLocked, true}},
		{"expired", 49, said(policyPasswordExpired), outcome{ReasonPasswordExpired, true}},
		{"locked", 49, said(policyAccountLocked), outcome{ReasonAccountLocked, true}},
		{"wrong", 49, noPolicy(), outcome{ReasonBadCredentials, true}},
		{"wrong, and a warning", 49, policyAnswer{grace: 1, expires: 1, err: -1}, outcome{ReasonBadCredentials, true}},
		{"wrong or locked, the older control", 49, mustChange, outcome{ReasonBadCredentials, true}},
		{"refused after a reset", 49, said(policyChangeAfterReset), outcome{ReasonBadCredentials, true}},
		{"19 and expired", 19, said(policyPasswordExpired), outcome{ReasonAccountLocked, true}},
		{"53 and expired", 53, said(policyPasswordExpired), outcome{ReasonRefused, true}},
		{"53 and locked: 389-ds, inactivated", 53, said(policyAccountLocked), outcome{ReasonAccountLocked, true}},
		{"busy and locked", 51, said(policyAccountLocked), outcome{ReasonDirectoryUnavailable, false}},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			var err error
			if test.code != 0 {
				err = wireError("binding", goldap.NewError(test.code, errors.New("")))
			}
			if got := bindOutcome(err, test.policy); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// A client that sends wrong passwords must not learn an account's state: the
// reasons below are told to clients, and these answers come without the right
// password.
func TestAnyPasswordRevealsNothing(t *testing.T) {
	revealing := []Reason{
		ReasonPasswordExpired, ReasonPasswordMustChange, ReasonAccountDisabled, ReasonAccountExpired,
		ReasonLogonHours, ReasonWorkstation, ReasonTokenTooBig,
	}
	texts := []string{
		"", "Account inactivated. Contact system administrator.", "Exceed password retry limit. Please try later.",
		"Entry permanently locked.\n", "Account (Kerberos principal) is expired", "password expired!", "Too many failed logins.\n",
	}
	for code := uint16(1); code < 130; code++ {
		for _, text := range texts {
			for _, p := range []policyAnswer{noPolicy(), {grace: -1, expires: -1, err: policyAccountLocked}, {grace: -1, expires: -1, err: -1, mustChange: true}} {
				got := bindOutcome(wireError("binding", goldap.NewError(code, errors.New(text))), p)
				if got == (outcome{}) || slices.Contains(revealing, got.reason) {
					t.Errorf("result %d, %q, %+v: %+v", code, text, p, got)
				}
			}
		}
	}
}

func TestReasonsOfSearches(t *testing.T) {
	for code, want := range map[uint16]Reason{
		32: ReasonBaseDN, 50: ReasonBaseDN, 34: ReasonBaseDN, 10: ReasonBaseDN,
		8: ReasonTLSRequired, 13: ReasonTLSRequired,
		1: ReasonDirectoryUnavailable, 51: ReasonDirectoryUnavailable, 80: ReasonDirectoryUnavailable, 200: ReasonDirectoryUnavailable,
	} {
		if got := searchReason(wireError("searching", goldap.NewError(code, errors.New("x")))); got != want {
			t.Errorf("result %d: %s, want %s", code, got, want)
		}
	}
}

func TestReasonsOfSearchesOnConnectionsThatLostTheirIdentity(t *testing.T) {
	for diagnostic, want := range map[string]Reason{
		"000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind must be completed on the connection., data 0, v4563\x00": ReasonConnUnbound,
		"00002020: Operation unavailable without authentication": ReasonConnUnbound,
		"00002120: LdapErr": ReasonDirectoryUnavailable,
		"100002020":         ReasonDirectoryUnavailable,
	} {
		if got := searchReason(wireError("searching", goldap.NewError(1, errors.New(diagnostic)))); got != want {
			t.Errorf("%s: %s, want %s", diagnostic, got, want)
		}
	}
}

// The client's own limit has a code of the transport range: taken for one, a
// duplicate would make every server look dead.
func TestTooManyEntriesIsNoTransportError(t *testing.T) {
	for _, err := range []error{goldap.ErrSizeLimitExceeded, goldap.NewError(4, errors.New("size limit"))} {
		if got := wireError("searching", err); got != errTooMany {
			t.Errorf("wireError(%v) = %v", err, got)
		}
	}
}

func TestServerTextsBecomeOneLine(t *testing.T) {
	got := wireError("binding", goldap.NewError(49, errors.New("a\nlevel=ERROR msg=forged\x00\xff")))
	if want := "binding: result 49 (Invalid Credentials): a level=ERROR msg=forged ?"; got.Error() != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
