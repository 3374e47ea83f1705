package caddyauth

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
)

const (
	// languageCookie is the language that somebody picked from a page's list. It
	// is no secret, and is only ever compared to the languages that there are.
	languageCookie    = "ldap_language"
	languageCookieAge = 180 * 24 * time.Hour

	// languageParameter picks a language, in the query of the sign-in page and
	// of the list of sessions.
	languageParameter = "lang"
)

// readerOf is what a request says of the language of whoever reads its page. A
// language that was picked just now goes for the next pages too.
func (s *site) readerOf(r *http.Request, q *request) pages.Reader {
	reader := pages.Reader{AcceptLanguage: strings.Join(r.Header["Accept-Language"], ",")}
	for name, value := range cookiePairs(q.cookies.line) {
		if name == languageCookie && slices.Contains(pages.Languages(), value) {
			reader.Chosen = value
			break
		}
	}
	picked := s.pickedLanguage(r, q)
	if picked == "" || picked == reader.Chosen {
		return reader
	}
	reader.Chosen = picked
	if !q.keepCookie { // else what this client sent is not looked at
		q.setCookie(s.app.cookies.setLanguage(picked, q.tls))
	}
	return reader
}

// pickedLanguage is the one in the query. Other paths have queries of their own.
func (s *site) pickedLanguage(r *http.Request, q *request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return ""
	}
	switch s.pathsOf(q).route(q.original) {
	case pageRoute, sessionsRoute:
	default:
		return ""
	}
	if picked := r.URL.Query().Get(languageParameter); slices.Contains(pages.Languages(), picked) {
		return picked
	}
	return ""
}

// languagePath is where a page's list of languages leads: to the page itself, or
// nowhere where asking for it again would do something, or something else.
func languagePath(kind pages.Kind, paths *signInPaths) string {
	switch kind {
	case pages.SignIn, pages.SignedIn, pages.HTTPSRequired:
		return paths.page
	case pages.Sessions:
		return paths.sessions
	}
	return ""
}
