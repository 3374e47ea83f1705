package caddyauth

import (
	"fmt"

	"github.com/caddyauth/caddy-ldap/ldap"
)

// loginHints is how much a refused sign-in says of the account. A directory
// names an account's state only to whoever has its password, except for a
// locked one; so a hint tells a guesser that the guess was right, and the owner
// what to do.
type loginHints string

const (
	hintsOff      loginHints = "off"
	hintsPassword loginHints = "password"
	hintsAll      loginHints = "all"
)

// hints returns the option login_hints with its default. Whoever passes over
// the error says nothing.
func (d *Directory) hints() (loginHints, error) {
	switch hints := loginHints(d.LoginHints); hints {
	case "":
		return hintsPassword, nil
	case hintsOff, hintsPassword, hintsAll:
		return hints, nil
	}
	return hintsOff, fmt.Errorf("login_hints: %q is not known: use off, password or all", d.LoginHints)
}

// answer returns the code for a directory's no, and the state that the answer
// names beside it, if any. Reasons that are not known here are the plain 401,
// and so is a locked account: the directory says that one to any password, and
// an answer of its own would tell strangers which accounts exist.
func (h loginHints) answer(reason ldap.Reason) (c code, detail string) {
	if h != hintsPassword && h != hintsAll {
		return codeInvalidCredentials, ""
	}
	switch reason {
	case ldap.ReasonPasswordExpired:
		return codePasswordExpired, ""
	case ldap.ReasonPasswordMustChange:
		return codePasswordMustChange, ""
	case ldap.ReasonAccountDisabled, ldap.ReasonAccountExpired, ldap.ReasonLogonHours,
		ldap.ReasonWorkstation, ldap.ReasonTokenTooBig, ldap.ReasonTooManyGroups:
		if h == hintsAll {
			detail = string(reason)
		}
		return codeAccountRestricted, detail
	}
	return codeInvalidCredentials, ""
}

// asksNewPassword tells whether a new password cures a refusal, so that the
// answer links to where it is set.
func (c code) asksNewPassword() bool {
	return c == codePasswordExpired || c == codePasswordMustChange
}
