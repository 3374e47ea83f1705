package caddyauth

import (
	"net/http"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// signOut ends the request's session. The record is gone, durably, before the
// answer. What the origin gate or the token check refuses deletes nothing, not
// even the cookie, which would be a sign-out too.
//
// A client that sends several session cookies means one of them, and nobody
// can tell which: all of them end, or an acknowledged sign-out would leave one
// alive.
func (s *site) signOut(w http.ResponseWriter, r *http.Request, q *request) error {
	if !s.policy.originAllowed(r) {
		s.app.audit.forbidden(r, q, codeOriginNotTrusted)
		return s.refuseSignOut(w, r, q, codeOriginNotTrusted)
	}
	tokens := q.cookies.tokens()
	if len(tokens) > 0 {
		refused, err := s.endAll(r, q, tokens)
		if err != nil {
			// The sessions may live on, so nothing else may be said.
			s.app.logStoreError(q, "ending a session", err)
			return s.refuseSignOut(w, r, q, codeStoreUnavailable)
		}
		if refused {
			s.app.audit.forbidden(r, q, codeCSRFFailed)
			return s.refuseSignOut(w, r, q, codeCSRFFailed)
		}
	}
	if q.cookies.present {
		q.setCookie(s.app.cookies.deleteSession(q.tls))
	}
	q.signedOut()
	clearSiteData(w.Header())
	if wantsPage(r) {
		return s.writePage(w, r, q, http.StatusOK, pages.Page{Kind: pages.SignedOut})
	}
	return writeJSON(w, http.StatusOK, struct {
		Status  string `json:"status"`
		Message string `json:"message"`
	}{"ok", "Sesión cerrada"})
}

// clearSiteData has the browser drop what it keeps of a site, over TLS: pages in
// its cache, which the next person at this machine could go back to, and what
// applications stored. Cookies are deleted by name: others of the host are not
// ours. A refused sign-out never says this, or any site could have it done.
func clearSiteData(h http.Header) { h.Set("Clear-Site-Data", `"cache","storage"`) }

// endAll ends the sessions of tokens. refused: a POST does not show the token
// of one that lives, and none was ended.
func (s *site) endAll(r *http.Request, q *request, tokens []sessionstore.Token) (refused bool, err error) {
	ctx := r.Context()
	sessions, err := s.app.sessions(ctx)
	if err != nil {
		return false, err
	}
	if r.Method == http.MethodPost && s.policy.csrf == csrfToken {
		for _, token := range tokens {
			session, result, err := sessions.Lookup(ctx, token, s.app.limits, false)
			if err != nil {
				return false, err
			}
			if result == sessionstore.Live && !csrfTokenSent(r, session.CSRF) {
				q.lookedUp, q.session, q.result = true, session, result // for the audit log and the page
				return true, nil
			}
		}
	}
	for _, token := range tokens {
		ended, err := sessions.End(ctx, token)
		if err != nil {
			return false, err
		}
		if ended != nil {
			replacerOf(r).Set("http.auth.user.id", ended.User.Username)
			s.app.audit.signOut(r, q, ended)
		}
	}
	return false, nil
}

// refuseSignOut refuses without touching the session or its cookie.
func (s *site) refuseSignOut(w http.ResponseWriter, r *http.Request, q *request, c code) error {
	q.keepCookie = true
	return s.refuseSignIn(w, r, q, c, "", refusalPage(c))
}
