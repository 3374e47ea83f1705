package caddyauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// refusalFloor is how long after a request's start the answer to a refused
// sign-in leaves, so that nobody learns from the time which name exists or why
// it was refused: directories answer within 1 to 20 ms, depending on that.
const refusalFloor = 300 * time.Millisecond

// messageLoginMethod is what existing clients of the sign-in API know.
const messageLoginMethod = "Método no permitido. Se requiere POST."

// serveRoute answers a request to one of the sign-in routes. The address rule
// was applied before.
func (s *site) serveRoute(w http.ResponseWriter, r *http.Request, q *request, which route) error {
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
	default:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			return s.refuseSession(w, q, codeMethodNotAllowed)
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
	creds, refused := s.read(w, r, q, read)
	form := s.signInForm(creds)
	if refused != "" {
		form.Code = string(refused)
		return s.refuseForm(w, r, q, refused, form)
	}

	ctx := r.Context()
	identity, err := s.app.directory.SignIn(ctx, creds.username, creds.password)
	if err != nil {
		return s.refuseIdentity(w, r, q, creds, form, err)
	}

	sessions, err := s.app.sessions(ctx)
	if err == nil {
		err = s.startSession(ctx, r, q, sessions, identity)
	}
	if err != nil {
		s.app.logStoreError("starting a session", err)
		s.app.audit.signIn(r, q, auditSignIn{result: resultUnavailable, reason: string(codeStoreUnavailable), user: identity.Username, directory: identity.Directory})
		form.Code = string(codeStoreUnavailable)
		return s.refuseForm(w, r, q, codeStoreUnavailable, form)
	}

	if s.answersWithPage(r) {
		return s.redirectAfterSignIn(w, creds.next, q)
	}
	return writeJSON(w, http.StatusOK, signInOK{
		Status: "ok", Message: "Login exitoso", FirstName: identity.FirstName, LastName: identity.LastName,
	})
}

// read reads the credentials, of a bounded number of requests at once.
func (s *site) read(w http.ResponseWriter, r *http.Request, q *request, read credentialReader) (credentials, code) {
	select {
	case s.app.reading <- struct{}{}:
		defer func() { <-s.app.reading }()
		return read(w, r)
	default:
		s.app.audit.signIn(r, q, auditSignIn{result: resultUnavailable, reason: "busy", directory: s.app.directoryLabel})
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

// signInOK is what existing clients read after a sign-in.
type signInOK struct {
	Status    string `json:"status"`
	Message   string `json:"message"`
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
}

// startSession stores the session and queues its cookies. Whatever session the
// client had before ends in the same step: a token planted before the sign-in
// is worth nothing after it.
func (s *site) startSession(ctx context.Context, r *http.Request, q *request, sessions *sessionstore.Sessions, identity *ldap.Identity) error {
	// Where the client claims several sessions, none of them is to live on.
	for _, token := range q.cookies.doubled {
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
	token, session, err := sessions.SignIn(ctx, userOf(identity), clientIPText(r), s.app.limits, replaces)
	if err != nil {
		return err
	}
	if replaced != nil {
		s.app.audit.sessionEnd(replaced, "replaced")
	}
	q.cookies = sentCookies{present: true, valid: true, token: token, csrf: session.CSRF}
	q.lookedUp, q.touched, q.result, q.session = true, true, sessionstore.Live, session
	idle, _ := session.Left()
	cookies := &s.app.cookies
	q.setCookie(cookies.setSession(token, idle, q.tls))
	q.setCookie(cookies.setCSRF(session.CSRF, q.tls))
	viewOf(session).setPlaceholders(replacerOf(r))
	s.app.audit.signIn(r, q, auditSignIn{result: resultOK, user: identity.Username, directory: identity.Directory, session: session.ID})
	return nil
}

// endSession ends one session that a request did not ask to end.
func (s *site) endSession(ctx context.Context, sessions *sessionstore.Sessions, token sessionstore.Token, reason string) error {
	ended, err := sessions.End(ctx, token)
	if err == nil && ended != nil {
		s.app.audit.sessionEnd(ended, reason)
	}
	return err
}

// userOf makes the session's user of what the directory proved.
func userOf(identity *ldap.Identity) sessionstore.User {
	user := sessionstore.User{
		Directory: identity.Directory, ID: identity.ID, Username: identity.Username, DN: identity.DN,
		FirstName: identity.FirstName, LastName: identity.LastName, DisplayName: identity.DisplayName,
		Email: identity.Email, UPN: identity.UPN, Title: identity.Title, Manager: identity.Manager,
		Groups: make([]sessionstore.Group, len(identity.Groups)),
	}
	for i, group := range identity.Groups {
		user.Groups[i] = sessionstore.Group(group)
	}
	return user
}

// refuseIdentity answers when the directory said no, or nothing. All of its
// reasons to say no look alike to the client, in bytes and in time.
func (s *site) refuseIdentity(w http.ResponseWriter, r *http.Request, q *request, creds credentials, form pages.Page, err error) error {
	var refused *ldap.RefusedError
	if !errors.As(err, &refused) {
		reason := ldap.ReasonDirectoryUnavailable
		var unavailable *ldap.UnavailableError
		if errors.As(err, &unavailable) {
			reason = unavailable.Reason
		}
		if reason != ldap.ReasonCancelled {
			s.app.logger.Error("the directory could not decide on a sign-in", zap.String("reason", string(reason)), zap.Error(err))
		}
		attempt := auditSignIn{result: resultUnavailable, reason: string(reason), directory: s.app.directoryLabel}
		if unavailable != nil && unavailable.Sent {
			// The directory may have counted a wrong password.
			attempt.user = creds.username
		}
		s.app.audit.signIn(r, q, attempt)
		form.Code = string(codeDirectoryUnavailable)
		return s.refuseForm(w, r, q, codeDirectoryUnavailable, form)
	}
	s.app.audit.signIn(r, q, auditSignIn{
		result: resultRefused, reason: string(refused.Reason),
		user: auditedName(refused, creds.username), directory: s.app.directoryLabel,
	})
	waitUntil(r.Context(), q.start.Add(refusalTime(time.Since(q.start))))
	form.Code = string(codeInvalidCredentials)
	return s.refuseForm(w, r, q, codeInvalidCredentials, form)
}

// refusalTime is when, after a request's start, the answer to a refused sign-in
// leaves that was ready after so long: at the floor, or where the directory is
// slower at the next multiple of it, so that its time shows in steps only.
func refusalTime(ready time.Duration) time.Duration {
	steps := (ready + refusalFloor - 1) / refusalFloor
	return max(steps, 1) * refusalFloor
}

// waitUntil returns at a time, or when the client goes away.
func waitUntil(ctx context.Context, when time.Time) {
	left := time.Until(when)
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// refuseForm answers a sign-in that did not succeed: to a person with the form
// again.
func (s *site) refuseForm(w http.ResponseWriter, r *http.Request, q *request, c code, form pages.Page) error {
	if s.answersWithPage(r) {
		// An earlier session goes on, and its token with it.
		if live, err := q.lookup(r.Context(), false); err != nil || !live {
			form.CSRFToken = s.anonymousCSRF(q)
		}
	}
	return s.refuseSignIn(w, r, q, c, "", form)
}
