package caddyauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// messageLoginMethod is what existing clients of the sign-in API know.
const messageLoginMethod = "Método no permitido. Se requiere POST."

// serveRoute answers a request to one of the sign-in routes. The address rule
// was applied before.
func (s *site) serveRoute(w http.ResponseWriter, r *http.Request, q *request, which route) error {
	q.answer.unwatch() // of a gate that stands before an ldap_login
	return q.promptly(w, func() error { return s.answerRoute(w, r, q, which) })
}

func (s *site) answerRoute(w http.ResponseWriter, r *http.Request, q *request, which route) error {
	if r.Method == http.MethodOptions {
		if q.answer.cors != "" && isPreflight(r) {
			allowPreflight(w.Header(), r)
		}
		return writeJSON(w, http.StatusOK, struct {
			Status string `json:"status"`
		}{"ok"})
	}
	switch which {
	case apiRoute:
		if r.Method != http.MethodPost {
			return s.refuseMethod(w, r, q, "POST, OPTIONS", messageLoginMethod)
		}
		return s.signIn(w, r, q, readJSONCredentials)
	case pageRoute:
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			return s.signInPage(w, r, q)
		case http.MethodPost:
			return s.signIn(w, r, q, readCredentials)
		}
		return s.refuseMethod(w, r, q, "GET, HEAD, POST, OPTIONS", "")
	case logoutRoute:
		if r.Method != http.MethodGet && r.Method != http.MethodPost {
			return s.refuseMethod(w, r, q, "GET, POST, OPTIONS", "")
		}
		return s.signOut(w, r, q)
	case sessionsRoute:
		return s.ownSessions(w, r, q)
	default:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			return s.refuseSession(w, r, q, codeMethodNotAllowed)
		}
		return s.showSession(w, r, q)
	}
}

func (s *site) refuseMethod(w http.ResponseWriter, r *http.Request, q *request, allow, message string) error {
	w.Header().Set("Allow", allow)
	return s.refuseSignIn(w, r, q, codeMethodNotAllowed, message, refusalPage(codeMethodNotAllowed))
}

// signIn proves who the client is and gives it a session.
func (s *site) signIn(w http.ResponseWriter, r *http.Request, q *request, read credentialReader) error {
	if refused := s.mayNotSignIn(r, q); refused != "" {
		s.app.audit.forbidden(r, q, refused)
		return s.refuseSignIn(w, r, q, refused, "", refusalPage(refused))
	}
	q.signing = new(signingIn)
	creds, refused := s.read(w, r, q, read)
	q.signing.credentialsAt = time.Now()
	form := s.signInForm(creds)
	if refused != "" {
		form.Code = string(refused)
		return s.refuseForm(w, r, q, refused, form)
	}

	ctx := r.Context()
	defer q.signing.place.leave()
	p := s.prove(ctx, r, q, creds)
	if p.err != nil {
		return s.refuseProof(w, r, q, creds, form, p)
	}

	sessions, err := s.app.sessions(ctx)
	if err == nil {
		err = s.startSession(ctx, r, q, sessions, p)
	}
	if err != nil {
		return s.refuseForStore(w, r, q, form, p, err)
	}
	q.signing.place.leave()
	s.keepNewest(ctx, q, sessions)
	return s.welcome(w, r, q, creds.next, p)
}

// read reads the credentials, of a bounded number of requests at once.
func (s *site) read(w http.ResponseWriter, r *http.Request, q *request, read credentialReader) (credentials, code) {
	select {
	case s.app.reading <- struct{}{}:
		defer func() { <-s.app.reading }()
		return read(w, r)
	default:
		s.app.audit.signIn(r, q, auditSignIn{result: resultUnavailable, reason: reasonBusy})
		q.explain().reason = reasonBusy
		return credentials{}, codeDirectoryUnavailable
	}
}

// mayNotSignIn returns why a sign-in is refused before anything is read of it.
func (s *site) mayNotSignIn(r *http.Request, q *request) code {
	switch {
	case !s.policy.originAllowed(r):
		return codeOriginNotTrusted
	case !s.policy.secureEnough(r, q):
		return codeHTTPSRequired
	}
	return ""
}

// answersWithPage tells whether a person waits for the answer of a sign-in
// route. The API and the session route have one form of answer, and so has
// whoever posts JSON to the page.
func (s *site) answersWithPage(r *http.Request) bool {
	switch s.paths.route(originalURL(r)) {
	case apiRoute, sessionRoute:
		return false
	case pageRoute:
		if mediaType, _ := contentType(r); mediaType == "application/json" {
			return false
		}
	}
	return wantsPage(r)
}

// startSession stores the session and queues its cookies. Whatever session the
// client had before ends in the same step: a token planted before the sign-in
// is worth nothing after it.
func (s *site) startSession(ctx context.Context, r *http.Request, q *request, sessions *sessionstore.Sessions, p proof) error {
	// Where the client claims several sessions, none of them is to live on.
	for _, token := range q.cookies.doubled() {
		if err := s.endSession(ctx, sessions, token, "replaced"); err != nil {
			return err
		}
	}
	var replaces *sessionstore.Token
	var replaced *sessionstore.Session
	if q.cookies.valid {
		replaces = &q.cookies.token
		live, err := q.lookup(ctx, false)
		if err != nil {
			return err
		}
		if live {
			replaced = q.session.Session
		}
	}
	token, session, err := sessions.SignIn(ctx, s.app.userOf(p.identity), clientIPText(r), s.app.limits, replaces)
	if replaced != nil && (err == nil || errors.Is(err, sessionstore.ErrGivenUp)) {
		s.app.audit.sessionEnd(replaced, "replaced")
	}
	if err != nil {
		return err
	}
	q.cookies = sentCookies{present: true, valid: true, token: token, csrf: session.CSRF}
	q.lookedUp, q.touched, q.result, q.session = true, true, sessionstore.Live, session
	idle, _ := session.Left()
	cookies := &s.app.cookies
	q.setCookie(cookies.setSession(token, idle, q.tls))
	q.setCookie(cookies.setCSRF(session.CSRF, q.tls))
	if p.device != "" {
		q.setCookie(cookies.setDevice(p.device, q.tls))
	}
	q.showUser(r, viewOf(session), "")
	s.app.audit.signIn(r, q, auditSignIn{result: resultOK, user: session.User.Username, directory: session.User.Directory, session: session.ID})
	return nil
}

// keepNewest ends the oldest sessions of whoever has too many. The sign-in is
// stored: a failure here does not take it back.
func (s *site) keepNewest(ctx context.Context, q *request, sessions *sessionstore.Sessions) {
	ended, err := sessions.KeepNewest(ctx, q.session, s.app.perUser)
	for _, session := range ended {
		s.app.audit.sessionEnd(session, "per_user")
	}
	if err != nil {
		s.app.logStoreError(q, "ending the oldest sessions of a user", err)
	}
}

// endSession ends one session that a request did not ask to end.
func (s *site) endSession(ctx context.Context, sessions *sessionstore.Sessions, token sessionstore.Token, reason string) error {
	ended, err := sessions.End(ctx, token)
	if err == nil && ended != nil {
		s.app.audit.sessionEnd(ended, reason)
	}
	return err
}
