package ldap

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// Bits of userAccountControl and msDS-User-Account-Control-Computed (MS-ADTS
// 2.2.16, 3.1.1.4.5.17).
const (
	uacLockedOut         = 0x10
	uacPasswordNoExpiry  = 0x10000
	uacSmartcardRequired = 0x40000
	uacPasswordExpired   = 0x800000
)

// stateAttributes are what an entry says of its account beside what is read of
// every person. Servers leave out what they do not have.
var stateAttributes = []string{
	"userAccountControl", "accountExpires", "msDS-User-Account-Control-Computed", "msDS-UserPasswordExpiryTimeComputed",
	"lockoutTime", "pwdLastSet", "logonHours", "userWorkstations",
	"pwdAccountLockedTime", "pwdReset", "pwdChangedTime", "pwdStartTime", "pwdEndTime", "pwdPolicySubentry",
	"nsAccountLock", "accountUnlockTime", "passwordExpirationTime",
}

// stateError is an account that no password signs in, as its entry shows.
type stateError struct {
	reason Reason // of the bind with the right password
	what   string
}

func (e *stateError) Error() string { return e.what }

// accountState reads what would refuse the right password. What is not certain,
// like a lock that may be over, is a warning: the bind decides.
func (k *check) accountState(s *CheckStep) error {
	if len(k.entries) == 0 {
		s.Skipped = true
		s.Detail = "there is no entry to look at before the bind"
		return nil
	}
	var clear []string
	for _, e := range k.entries {
		found, err := k.service.search(e.DN, goldap.ScopeBaseObject, 1, "(objectClass=*)", stateAttributes...)
		if err != nil {
			return fmt.Errorf("reading entry %q: %w", printable(e.DN), err)
		}
		if len(found) != 1 {
			return errors.New("reading entry " + strconv.Quote(printable(e.DN)) + ": it is gone")
		}
		detail, warnings, state := k.d.readState(k.service, k.kind, found[0], time.Now())
		s.Warnings = append(s.Warnings, warnings...)
		if state != nil && len(k.entries) > 1 {
			s.Warnings = append(s.Warnings, fmt.Sprintf("%q: %s", printable(e.DN), state.what))
			continue
		}
		if state != nil {
			return state
		}
		clear = append(clear, detail)
	}
	s.Detail = strings.Join(slices.Compact(clear), "; ")
	return nil
}

// readState judges an account by its entry: first what comes with any password.
func (d *Directory) readState(c searcher, kind Kind, e *goldap.Entry, now time.Time) (detail string, warnings []string, state *stateError) {
	if kind == KindAD {
		return d.readADState(e, now)
	}
	return d.readPlainState(c, kind, e, now)
}

func (d *Directory) readADState(e *goldap.Entry, now time.Time) (detail string, warnings []string, state *stateError) {
	control, controlErr := strconv.ParseInt(value(e, "userAccountControl"), 10, 64)
	computed, computedErr := strconv.ParseInt(value(e, "msDS-User-Account-Control-Computed"), 10, 64)
	if controlErr != nil {
		warnings = append(warnings, "the service account may not read userAccountControl: neither this nor re-checks can see that an account is disabled")
	}
	if computedErr != nil {
		warnings = append(warnings, "msDS-User-Account-Control-Computed cannot be read: whether the account is locked, or its password expired, shows at the bind only")
	}
	lockedSince, hasLock := fileTime(value(e, "lockoutTime"))
	if computed&uacLockedOut != 0 {
		return "", warnings, &stateError{ReasonAccountLocked, "the account is locked" + since(lockedSince, hasLock) + ": any password gets data 775"}
	}
	if computedErr != nil && hasLock {
		warnings = append(warnings, "lockoutTime is set"+since(lockedSince, true)+": the account may be locked (data 775)")
	}
	expires, hasExpiry := fileTime(value(e, "accountExpires"))
	switch d.accountReason(KindAD, e) {
	case ReasonAccountDisabled:
		return "", warnings, &stateError{ReasonAccountDisabled, fmt.Sprintf("the account is disabled (userAccountControl %d): the right password gets data 533", control)}
	case ReasonAccountExpired:
		return "", warnings, &stateError{ReasonAccountExpired, "the account has expired" + on(expires, hasExpiry) + " (accountExpires): the right password gets data 701"}
	}
	exempt := control&(uacPasswordNoExpiry|uacSmartcardRequired) != 0
	expired := computed&uacPasswordExpired != 0
	if value(e, "pwdLastSet") == "0" && (expired || computedErr != nil && !exempt) {
		return "", warnings, &stateError{ReasonPasswordMustChange, "the password must be changed before the first sign-in (pwdLastSet 0): the right password gets data 773"}
	}
	passwordEnds, hasEnd := fileTime(value(e, "msDS-UserPasswordExpiryTimeComputed"))
	if expired {
		return "", warnings, &stateError{ReasonPasswordExpired, "the password has expired" + on(passwordEnds, hasEnd) + ": the right password gets data 532"}
	}
	if machines := value(e, "userWorkstations"); machines != "" {
		warnings = append(warnings, fmt.Sprintf("userWorkstations allows %q only: unless the domain controllers are among them, the right password gets data 531", printable(machines)))
	}
	if hours := e.GetEqualFoldRawAttributeValues("logonHours"); len(hours) == 1 && !withinHours(hours[0], now) {
		return "", warnings, &stateError{ReasonLogonHours, "logonHours allows no sign-in at this hour: the right password gets data 530"}
	}
	var clear []string
	if controlErr == nil {
		clear = append(clear, fmt.Sprintf("enabled (userAccountControl %d)", control))
	}
	if hasExpiry {
		clear = append(clear, "the account expires on "+expires.UTC().Format(time.DateOnly))
	}
	if computedErr == nil {
		clear = append(clear, "not locked", "password not expired")
	}
	if hasEnd && passwordEnds.Year() < 9999 && !exempt {
		clear = append(clear, "the password expires on "+passwordEnds.UTC().Format(time.DateOnly))
	}
	if len(clear) == 0 {
		clear = append(clear, "nothing readable speaks against a sign-in")
	}
	return strings.Join(clear, ", "), warnings, nil
}

// withinHours reads logonHours: a bit for each hour of the week, from Sunday
// 0 h UTC on. Of any other length, it allows all hours.
func withinHours(hours []byte, now time.Time) bool {
	if len(hours) != 21 {
		return true
	}
	now = now.UTC()
	hour := int(now.Weekday())*24 + now.Hour()
	return hours[hour/8]&(1<<(hour%8)) != 0
}

// readPlainState reads the attributes of OpenLDAP's password policies and of
// 389-ds.
func (d *Directory) readPlainState(c searcher, kind Kind, e *goldap.Entry, now time.Time) (detail string, warnings []string, state *stateError) {
	if d.accountReason(kind, e) == ReasonAccountDisabled {
		if strings.EqualFold(value(e, "nsAccountLock"), "true") {
			return "", nil, &stateError{ReasonAccountLocked, "the account is inactivated (nsAccountLock): any password is refused"}
		}
		return "", nil, &stateError{ReasonAccountLocked, "an administrator has locked the account (pwdAccountLockedTime): any password is refused"}
	}
	for _, limit := range []struct {
		attribute, what string
		out             func(at time.Time) bool
	}{
		{"pwdStartTime", "the account is not valid before", now.Before},
		{"pwdEndTime", "the account has expired on", func(at time.Time) bool { return !now.Before(at) }},
	} {
		if at, ok := generalizedTime(value(e, limit.attribute)); ok && limit.out(at) {
			return "", nil, &stateError{ReasonAccountLocked, fmt.Sprintf("%s %s UTC (%s): any password is refused", limit.what, at.UTC().Format(time.DateTime), limit.attribute)}
		}
	}
	policy := readPolicyEntry(c, value(e, "pwdPolicySubentry"))
	if at, ok := generalizedTime(value(e, "pwdAccountLockedTime")); ok {
		switch ends := at.Add(policy.lockout); {
		case policy.known && policy.lockout == 0:
			return "", nil, &stateError{ReasonAccountLocked, "wrong passwords have locked the account" + since(at, true) + " until an administrator unlocks it: any password is refused"}
		case policy.known && now.Before(ends):
			return "", nil, &stateError{ReasonAccountLocked, "wrong passwords have locked the account" + since(at, true) + " until " + ends.UTC().Format(time.DateTime) + " UTC: any password is refused"}
		case !policy.known:
			warnings = append(warnings, "wrong passwords have locked the account"+since(at, true)+" (pwdAccountLockedTime): the lock may be over, its policy cannot be read")
		}
	}
	if at, ok := generalizedTime(value(e, "accountUnlockTime")); ok && (at.Unix() == 0 || now.Before(at)) {
		return "", warnings, &stateError{ReasonAccountLocked, "wrong passwords have locked the account (accountUnlockTime): any password is refused"}
	}
	if strings.EqualFold(value(e, "pwdReset"), "TRUE") {
		return "", warnings, &stateError{ReasonPasswordMustChange, "the password was reset and must be changed (pwdReset)"}
	}
	if at, ok := generalizedTime(value(e, "pwdChangedTime")); ok && policy.maxAge > 0 && now.After(at.Add(policy.maxAge)) {
		if policy.grace == 0 {
			return "", warnings, &stateError{ReasonPasswordExpired, "the password has expired on " + at.Add(policy.maxAge).UTC().Format(time.DateTime) + " UTC (pwdChangedTime and pwdMaxAge)"}
		}
		warnings = append(warnings, "the password has expired: it is refused unless grace sign-ins are left")
	}
	if at, ok := generalizedTime(value(e, "passwordExpirationTime")); ok && now.After(at) {
		warnings = append(warnings, "the password has expired"+on(at, true)+" (passwordExpirationTime): it is refused unless grace sign-ins are left")
	}
	return "nothing readable speaks against a sign-in", warnings, nil
}

// policyEntry is what a password policy says of locks and of age.
type policyEntry struct {
	known           bool
	lockout, maxAge time.Duration
	grace           int
}

// readPolicyEntry reads the policy that an entry names. A default policy is
// named by no entry, and many may not be read.
func readPolicyEntry(c searcher, dn string) policyEntry {
	if !isDN(dn) {
		return policyEntry{}
	}
	found, err := c.search(dn, goldap.ScopeBaseObject, 1, "(objectClass=*)", "pwdLockoutDuration", "pwdMaxAge", "pwdGraceAuthNLimit")
	if err != nil || len(found) != 1 {
		return policyEntry{}
	}
	seconds := func(name string) time.Duration {
		n, err := strconv.ParseInt(value(found[0], name), 10, 32)
		if err != nil || n < 0 {
			return 0
		}
		return time.Duration(n) * time.Second
	}
	return policyEntry{
		known: true, lockout: seconds("pwdLockoutDuration"), maxAge: seconds("pwdMaxAge"),
		grace: int(seconds("pwdGraceAuthNLimit") / time.Second),
	}
}

// generalizedTime reads a time of RFC 4517 3.3.13 in UTC, with or without a
// fraction of a second.
func generalizedTime(text string) (time.Time, bool) {
	at, err := time.Parse("20060102150405Z", text)
	return at, err == nil
}

func since(at time.Time, known bool) string { return moment(" since ", at, known) }

func on(at time.Time, known bool) string { return moment(" on ", at, known) }

func moment(preposition string, at time.Time, known bool) string {
	if !known {
		return ""
	}
	return preposition + at.UTC().Format(time.DateTime) + " UTC"
}
