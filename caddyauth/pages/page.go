// Package pages writes the HTML pages of the sign-in: one layout, one inline
// style sheet, one small script that nothing depends on, no further request, in
// Spanish, English, Portuguese, French and German.
//
// Names that a person typed or the directory supplied are only ever text. A
// page shows nothing of the request but the next address, which the caller has
// validated: not its path, not its Referer, not its cookies.
package pages

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind says which page to write. Its value names the page's template, and its
// title in the catalogue.
type Kind string

const (
	// SignIn is the form for name and password, with an alert if Code is set.
	SignIn Kind = "sign_in"
	// SignedIn is the sign-in address seen with a live session: who is signed
	// in, the link to go on, the sign-out button, and the form to switch user.
	SignedIn Kind = "signed_in"
	// SignedOut confirms a sign-out.
	SignedOut Kind = "signed_out"
	// Forbidden is a 403: group_required, csrf_failed, origin_not_trusted,
	// ip_not_allowed or path_ambiguous.
	Forbidden Kind = "forbidden"
	// HTTPSRequired refuses a sign-in over plain HTTP. It has no form, so that
	// nobody types a password into it.
	HTTPSRequired Kind = "https_required"
	// Unavailable is a 503: directory_unavailable or store_unavailable.
	Unavailable Kind = "unavailable"
	// PasswordWarning is the answer to a sign-in with a password that has
	// expired, where the directory lets it pass a few more times.
	PasswordWarning Kind = "password_warning"
	// Reauthenticate asks somebody who is signed in to do so again before they
	// go on, with the form and their name in it.
	Reauthenticate Kind = "reauthenticate"
	// Sessions lists the sessions of somebody, with buttons that end them.
	Sessions Kind = "sessions"
	// SessionEnded answers a form that was sent without a session: nothing of it
	// was processed. The link to sign in opens another tab, so that what was
	// typed is one step back in this one.
	SessionEnded Kind = "session_ended"
	// Refused is every other refusal of a navigation: method_not_allowed,
	// body_too_large, unsupported_media_type or invalid_json.
	Refused Kind = "refused"
)

// kinds returns every page there is.
func kinds() []Kind {
	return []Kind{SignIn, SignedIn, SignedOut, Forbidden, HTTPSRequired, Unavailable, PasswordWarning, Reauthenticate, Sessions, SessionEnded, Refused}
}

// Page is what a page shows.
type Page struct {
	Kind Kind

	// Code is the reason, by the codes of the JSON refusals
	// (invalid_credentials, csrf_failed, ...). Empty on SignIn and SignedIn
	// means no error. A code without a text of its own gets the general one.
	Code string

	// Detail is the state of the account that account_restricted names:
	// account_disabled, account_expired, logon_hours, workstation, token_too_big
	// or too_many_groups. Any other, and empty, gets the text for all of them.
	Detail string

	// Reference finds the operator's log line of a failure. Empty leaves it out.
	Reference string

	// Needs are the groups that group_required is about: of each line of them,
	// one is needed. Groups are by the names that people know.
	Needs [][]string

	// RetryMinutes is when to try again, for too_many_attempts; less than 1
	// counts as 1.
	RetryMinutes int64

	// GraceSignIns is how many sign-ins are left, for PasswordWarning; less
	// than 1 is none.
	GraceSignIns int

	// SignInPath is where the sign-in form posts to and where the links to it
	// lead. Empty leaves both out. It is a path without query.
	SignInPath string

	// LogoutPath is where the sign-out button posts to. Empty leaves it out.
	LogoutPath string

	// SessionsPath is where the list of sessions is, and where its buttons post
	// to. Empty leaves the link and the buttons out.
	SessionsPath string

	// LanguagePath is where the list of languages leads, with ?lang=<code> and,
	// if there is one, the next address. Empty leaves the list out.
	LanguagePath string

	// Sessions are those of the list, in its order.
	Sessions []Session

	// CSRFToken is the value of csrfmiddlewaretoken in every form. Empty leaves
	// the field out.
	CSRFToken string

	// Next is where to go on to: the next address or, without one, the home
	// address. A path, or an absolute http or https address of a trusted origin,
	// whose origin then joins form-action. The caller has validated it; nothing
	// here decides whether an address is trusted. Empty, or more than 4 KiB: the
	// page carries none.
	Next string

	// Username is the name as it was typed, kept in the form after an error.
	// What cannot be a user name (over 256 bytes, control characters, not UTF-8)
	// is dropped, not cut: a cut name would be another one.
	Username string

	// PasswordURL is where people change or reset their password, linked below
	// the form, or in the alert if a new password is what it asks for. Empty leaves the link out. It comes from the configuration.
	PasswordURL string

	// User is the Username of the live session; empty means no session.
	User string

	// DisplayName is the full name of the session's user, if known.
	DisplayName string
}

// Session is a row of the list of sessions.
type Session struct {
	// ID is what the button posts as `end`. The field has `others` for all but
	// the current one.
	ID string

	// Current marks the one that asks. It has no button of its own: ending it is
	// to sign out.
	Current bool

	// ClientIP signed in.
	ClientIP string

	// Created is when, and LastSeen when it was last used.
	Created, LastSeen time.Time
}

const (
	maxNext     = 4096 // bytes
	maxUsername = 256  // bytes; the form's maxlength
	maxShown    = 128  // runes of a directory's name
)

// bounded returns the page with every text from outside cut to a size and
// content that a page can carry.
func (p Page) bounded() Page {
	if len(p.Next) > maxNext {
		p.Next = ""
	}
	if !keepable(p.Username) {
		p.Username = ""
	}
	p.User = shown(p.User)
	p.DisplayName = shown(p.DisplayName)
	p.Reference = shown(p.Reference)
	p.Sessions = slices.Clone(p.Sessions)
	for i := range p.Sessions {
		p.Sessions[i].ClientIP = shown(p.Sessions[i].ClientIP)
	}
	if p.DisplayName == p.User {
		p.DisplayName = ""
	}
	return p
}

func keepable(name string) bool {
	return len(name) <= maxUsername && utf8.ValidString(name) && strings.IndexFunc(name, unicode.IsControl) < 0
}

// shown makes a directory's name safe to stand within a sentence. The <bdi>
// around it isolates right-to-left text, but a name that closes the isolate
// itself and opens an override would turn the rest of the sentence around: the
// embedding, override and isolate marks become U+FFFD, as do controls. The
// direction marks that Arabic and Hebrew names do use stay.
func shown(name string) string {
	runes := 0
	for i := range name {
		if runes == maxShown {
			name = name[:i] + "…"
			break
		}
		runes++
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r >= '\u202A' && r <= '\u202E' || r >= '\u2066' && r <= '\u2069' {
			return unicode.ReplacementChar
		}
		return r
	}, name)
}
