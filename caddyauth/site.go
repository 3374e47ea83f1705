package caddyauth

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
)

// site is what the two handlers have in common: the app, the policy that holds
// here, and the sign-in routes.
type site struct {
	app    *App
	policy policy
	paths  signInPaths
	logger *zap.Logger
}

// pathsOf returns the sign-in paths that hold for a request: an ldap_login's
// that ran before, else our own.
func (s *site) pathsOf(q *request) *signInPaths {
	if q.paths != nil {
		return q.paths
	}
	return &s.paths
}

// begin takes over a request: it wraps the writer and lets trusted origins read
// whatever this handler answers itself.
func (s *site) begin(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *request) {
	q := s.app.requestOf(r)
	w = q.wrap(w)
	q.answer.page, q.answer.varies = wantsPage(r), s.policy.origins.any()
	return w, q
}

// own marks the request's answer as ours, or as one of a gated path.
func (s *site) own(r *http.Request, q *request) {
	q.answer.gated, q.answer.cors = true, s.policy.trustedOrigin(r)
}

// tooEarly answers what came in TLS early data, which an attacker can send
// again and whose address is not proven, where that matters (RFC 8470). The
// client repeats it by itself when the handshake is done.
func (s *site) tooEarly(w http.ResponseWriter, r *http.Request, q *request) bool {
	if r.TLS == nil || r.TLS.HandshakeComplete {
		return false
	}
	if s.policy.ips == nil && !isUnsafe(r) && s.pathsOf(q).route(q.original) == noRoute {
		return false
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusTooEarly)
	return true
}

// admit applies the address rule, which comes before everything but the
// stripping.
func (s *site) admit(r *http.Request) bool {
	allowed, chosenByClient := s.policy.ipAllowed(r)
	if chosenByClient && s.app.warnedIP.CompareAndSwap(false, true) {
		s.logger.Error("trusted_ips: refusing all requests through trusted_proxies: without trusted_proxies_strict the client chooses its own address; set trusted_proxies_strict")
	}
	return allowed
}

// warnOfLooseProxies says, once, that the throttle counts by an address which
// the client chooses. The account's own limit holds all the same.
func (s *site) warnOfLooseProxies(r *http.Request) {
	if addressIsClients(r) && s.app.warnedSource.CompareAndSwap(false, true) {
		s.logger.Warn("throttle source: behind trusted_proxies without trusted_proxies_strict clients choose their own address, and with it whom their wrong passwords count for; set trusted_proxies_strict")
	}
}

// writePage writes a page for a person. What the page shows of the session
// comes from the request's own lookup.
func (s *site) writePage(w http.ResponseWriter, r *http.Request, q *request, status int, page pages.Page) error {
	paths := s.pathsOf(q)
	page.SignInPath, page.LogoutPath, page.SessionsPath = paths.page, paths.logout, paths.sessions
	if q.lookedUp && q.session.Session != nil && q.session.Alive() {
		user := q.session.User
		page.User, page.DisplayName, page.CSRFToken = user.Username, user.DisplayName, q.session.CSRF
	}
	if page.PasswordURL == "" && (page.Kind == pages.SignIn || page.Kind == pages.SignedIn) {
		page.PasswordURL = s.app.passwordURL()
	}
	page.LanguagePath = languagePath(page.Kind, paths)
	s.explainTo(&page, q, status)
	return s.app.pages.Write(w, s.readerOf(r, q), status, page)
}

// refuseIP answers a client whose address may not use the site.
func (s *site) refuseIP(w http.ResponseWriter, r *http.Request, q *request) error {
	s.own(r, q)
	s.app.audit.forbidden(r, q, codeIPNotAllowed)
	q.keepCookie = true // what this client sent is not looked at
	return s.refuseGate(w, r, q, codeIPNotAllowed)
}

// replacerOf returns the request's placeholders.
func replacerOf(r *http.Request) *caddy.Replacer {
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	return repl
}
