package caddyauth

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// signInForm is the form as it was sent, without the password.
func (s *site) signInForm(creds credentials) pages.Page {
	return pages.Page{Kind: pages.SignIn, Username: creds.username, Next: s.nextOf(creds.next)}
}

// signInPage shows the form, or who is signed in already: never a redirect,
// which could loop between a site that refuses and a page that sends back.
func (s *site) signInPage(w http.ResponseWriter, r *http.Request, q *request) error {
	if !s.policy.secureEnough(r, q) {
		s.prepareRefusal(w, r, q, http.StatusForbidden)
		return s.writePage(w, r, q, http.StatusForbidden, refusalPage(codeHTTPSRequired))
	}
	live, err := q.lookup(r.Context(), false)
	if err != nil {
		s.app.logStoreError(q, "reading a session", err)
		s.prepareRefusal(w, r, q, http.StatusServiceUnavailable)
		return s.writePage(w, r, q, http.StatusServiceUnavailable, refusalPage(codeStoreUnavailable))
	}
	page := pages.Page{Kind: pages.SignIn, Next: s.nextOf(r.URL.Query().Get("next"))}
	if live {
		page.Kind = pages.SignedIn
		if page.Next == "" {
			page.Next = s.pathsOf(q).home
		}
		return s.writePage(w, r, q, http.StatusOK, page)
	}
	q.forgetStale(r.Context())
	page.CSRFToken = s.anonymousCSRF(q)
	return s.writePage(w, r, q, http.StatusOK, page)
}

// anonymousCSRF returns the token of a client without a session, and sets its
// cookie unless the client has a well-formed one.
func (s *site) anonymousCSRF(q *request) string {
	if wellFormedCSRF(q.cookies.csrf) {
		return q.cookies.csrf
	}
	// Nothing checks it: a sign-in is protected by the origin gate, and brings
	// a token of its own.
	secret := sessionstore.NewCSRF()
	q.cookies.csrf = secret
	q.setCookie(q.app.cookies.setCSRF(secret, q.tls))
	return secret
}

// nextOf returns a validated target, or "": a sign-in route is none, the one
// to sign out least of all, but for the list of sessions. What stands after # is
// the browser's business alone: one that is not valid costs nobody the target.
func (s *site) nextOf(next string) string {
	target := s.policy.nextTarget(next)
	if whole, _, ok := strings.Cut(next, "#"); target == "" && ok {
		target = s.policy.nextTarget(whole)
	}
	if next = target; next == "" {
		return ""
	}
	if u, err := url.Parse(next); err != nil || !s.paths.leadsOn(&url.URL{Path: u.Path}) {
		return ""
	}
	return next
}

// targetAfterSignIn is where the browser goes on.
func (s *site) targetAfterSignIn(next string, q *request) string {
	if target := s.nextOf(next); target != "" {
		return target
	}
	return s.pathsOf(q).home
}

// askToSignIn refuses for want of a session: a browser is led to the sign-in
// page and back, every other client is told so.
func (s *site) askToSignIn(w http.ResponseWriter, r *http.Request, q *request) error {
	if !isNavigation(r) {
		return s.refuseGate(w, r, q, codeAuthenticationRequired)
	}
	metrics.refused(codeAuthenticationRequired)
	q.forgetStale(r.Context())
	target := s.pathsOf(q).page
	if next := q.original.RequestURI(); isLocalTarget(next) {
		target += "?next=" + url.QueryEscape(next)
	}
	return redirect(w, target)
}

// redirect answers 303: whatever the method was, the target is fetched with
// GET.
func redirect(w http.ResponseWriter, target string) error {
	h := w.Header()
	h.Set("Location", escapeNonASCII(target))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	addVary(h, "Cookie")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// escapeNonASCII percent-encodes what a Location header cannot hold.
func escapeNonASCII(s string) string {
	if isASCII(s) {
		return s
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		if c := s[i]; c < 0x80 {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}
