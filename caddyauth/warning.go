package caddyauth

import (
	"time"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
	"github.com/caddyauth/caddy-ldap/ldap"
)

// warningPasswordExpires is the one warning that a sign-in can carry.
const warningPasswordExpires = "password_expires"

// signInOKOf is the JSON of a sign-in that succeeded.
func signInOKOf(identity *ldap.Identity) signInOK {
	ok := signInOK{
		Status: "ok", Message: "Login exitoso", FirstName: identity.FirstName, LastName: identity.LastName,
	}
	warning := identity.Warning
	if warning == nil {
		return ok
	}
	ok.Warning = warningPasswordExpires
	if left := warning.GraceSignIns; left >= 0 {
		ok.GraceSignIns = &left
	}
	if warning.ExpiresIn > 0 {
		ok.ExpiresIn = max(int64(warning.ExpiresIn/time.Second), 1)
	}
	return ok
}

// warningPage is the page for whoever signed in with an expired password, the
// last sign-in of those left included: nothing else would tell them before they
// are locked out. A password that merely will expire interrupts nobody.
func warningPage(warning *ldap.PasswordWarning, target, passwordURL string) (page pages.Page, ok bool) {
	if warning == nil || warning.GraceSignIns < 0 {
		return pages.Page{}, false
	}
	return pages.Page{
		Kind: pages.PasswordWarning, Next: target, PasswordURL: passwordURL, GraceSignIns: warning.GraceSignIns,
	}, true
}
