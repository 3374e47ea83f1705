package pages

import (
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"
)

// view is what the templates see: the bounded page, in one language.
type view struct {
	Page
	Language  string
	Style     template.CSS
	Script    template.JS
	texts     texts
	languages *languages
	branding  branding
}

// Text returns the catalogue's text. A missing one is an error, which stops the
// page, instead of a hole in it.
func (v view) Text(key string) (string, error) {
	text, ok := v.texts[key]
	if !ok {
		return "", fmt.Errorf("looking up the text %q: not in the catalogue of %q", key, v.Language)
	}
	return text, nil
}

// Title is the page's name, for its heading and the window.
func (v view) Title() (string, error) {
	return v.Text("title." + string(v.Kind))
}

// WindowTitle is the title of the window: what went wrong is heard first, and
// tabs of several sites can be told apart.
func (v view) WindowTitle() (string, error) {
	title, err := v.Title()
	if err != nil {
		return "", err
	}
	if v.Code != "" && (v.Kind == SignIn || v.Kind == SignedIn) {
		prefix, err := v.Text("error")
		if err != nil {
			return "", err
		}
		title = prefix + " " + title
	}
	if v.branding.title != "" {
		title += " – " + v.branding.title
	}
	return title, nil
}

// Reason is the text of the code, or of the state that an account_restricted
// names. Codes and states grow with the product; one that has no
// text yet must not cost the user the page.
func (v view) Reason() (string, error) {
	if v.Code == "account_restricted" {
		if text, ok := v.texts["state."+v.Detail]; ok {
			return text, nil
		}
	}
	if text, ok := v.texts["code."+v.Code]; ok {
		return text, nil
	}
	return v.Text("code.other")
}

// sentence is a text around a name. They are kept apart so that the name can
// stand in an element of its own wherever the language puts it.
type sentence struct{ Before, After string }

// SignedInAs is the sentence that names the session's user.
func (v view) SignedInAs() (sentence, error) { return v.around("signed_in_as", "{user}") }

// around is the text of a key around a placeholder.
func (v view) around(key, placeholder string) (sentence, error) {
	text, err := v.Text(key)
	if err != nil {
		return sentence{}, err
	}
	before, after, ok := strings.Cut(text, placeholder)
	if !ok {
		return sentence{}, fmt.Errorf("reading the text %q of %q: no %s in %q", key, v.Language, placeholder, text)
	}
	return sentence{before, after}, nil
}

// SignInURL is the sign-in address, with next. It is empty where signing in
// would not help: from a refused address, or over a connection that would carry
// the password in clear.
func (v view) SignInURL() string {
	if v.SignInPath == "" || v.Code == "ip_not_allowed" || v.Code == "https_required" {
		return ""
	}
	if v.Next == "" {
		return v.SignInPath
	}
	return v.SignInPath + "?next=" + url.QueryEscape(v.Next)
}

// CredentialsRefused marks the fields as wrong: only when they are. A directory
// that is down says nothing about what was typed.
func (v view) CredentialsRefused() bool {
	return v.Code == "invalid_credentials"
}

// NewPasswordURL is where a new password is set, if that is what the reason asks
// for: the way on then stands with the reason, and not below the form.
func (v view) NewPasswordURL() string {
	if v.Code == "password_expired" || v.Code == "password_must_change" {
		return v.PasswordURL
	}
	return ""
}

// FocusUsername and FocusPassword choose the field where typing goes on. With a
// live session it is neither: the way on comes first on that page.
func (v view) FocusUsername() bool {
	return !v.FocusPassword() && (v.Kind == SignIn || v.Code != "")
}

// FocusPassword is so where the name is there already: after an error, or where
// the user is known.
func (v view) FocusPassword() bool {
	return (v.Code != "" || v.Kind == Reauthenticate) && v.Username != ""
}

// OtherSessions tells whether the list has more than the current session.
func (v view) OtherSessions() bool {
	return slices.ContainsFunc(v.Sessions, func(s Session) bool { return !s.Current })
}

// Stamp is a time for programs, and Clock for people: the same in every
// language, and in UTC, because nothing on the page knows the reader's zone.
func (v view) Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Clock is a time for people; see Stamp.
func (v view) Clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
