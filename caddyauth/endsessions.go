package caddyauth

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

const (
	// freshEnough is how long ago the sign-in may be of somebody who ends
	// sessions: a browser that was left open must not lock its owner out
	// everywhere else.
	freshEnough = 15 * time.Minute

	// endOthers, in the place of a session's id, means all but the one that asks.
	endOthers = "others"

	reasonEndedByUser = "ended_by_user"
)

// endSessions ends one of the user's sessions, or all others. What it refuses
// ends nothing.
func (s *site) endSessions(w http.ResponseWriter, r *http.Request, q *request) error {
	which, unreadable, refused := s.readEnding(w, r, q)
	if !q.session.Alive() {
		// It ended while the client took its time with the body.
		q.result = sessionstore.Unknown
		return s.askToSignIn(w, r, q)
	}
	if refused == "" && q.session.Age() > freshEnough {
		refused = codeReauthenticationRequired
	}
	if refused != "" {
		s.app.audit.forbidden(r, q, refused)
		return s.refuseGate(w, r, q, refused)
	}
	if unreadable != "" {
		return s.refuseGate(w, r, q, unreadable)
	}

	ended, err := s.endOwn(r.Context(), q.session, which)
	for _, session := range ended {
		if session.User.Username == "" {
			session = &sessionstore.Session{ID: session.ID, User: q.session.User} // its record could not be read
		}
		s.app.audit.sessionEndedBy(r, q, session, reasonEndedByUser)
	}
	if err != nil {
		// They may live on, so nothing else may be said.
		s.app.logStoreError(q, "ending sessions of a user", err)
		return s.refuseGate(w, r, q, codeStoreUnavailable)
	}
	signedOut := which == q.session.ID
	if signedOut {
		q.setCookie(s.app.cookies.deleteSession(q.tls))
		q.signedOut()
		clearSiteData(w.Header())
	}
	switch {
	case !wantsPage(r):
		return writeJSON(w, http.StatusOK, struct {
			Status string `json:"status"`
			Ended  int    `json:"ended"`
		}{"ok", len(ended)})
	case signedOut:
		return s.writePage(w, r, q, http.StatusOK, pages.Page{Kind: pages.SignedOut})
	}
	return redirect(w, s.pathsOf(q).sessions)
}

// readEnding reads which session is to end. refused: the request does not show
// that a page of this site, or of a trusted origin, made it. That comes before
// unreadable, which is about the body: the token may be in it, so it is read
// first, within the bounds of a sign-in's.
func (s *site) readEnding(w http.ResponseWriter, r *http.Request, q *request) (which string, unreadable, refused code) {
	if !s.policy.originAllowed(r) {
		return "", "", codeOriginNotTrusted
	}
	which, unreadable = readEnd(w, r)
	if s.policy.csrf == csrfToken && !csrfTokenSent(r, q.session.CSRF) {
		return "", "", codeCSRFFailed
	}
	return which, unreadable, ""
}

// readEnd reads the body and puts it back, for the token in a form.
func readEnd(w http.ResponseWriter, r *http.Request) (which string, unreadable code) {
	mediaType, _ := contentType(r)
	if mediaType != "application/json" && mediaType != "application/x-www-form-urlencoded" {
		r.Body = http.NoBody
		return "", codeUnsupportedMediaType
	}
	body, unreadable := readBody(w, r)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if unreadable != "" {
		return "", unreadable
	}
	if mediaType == "application/json" {
		values, _ := jsonStrings(body, "end")
		which = values["end"]
	} else {
		values := make(url.Values)
		for name, value := range formFields(string(body)) {
			values.Add(name, value)
		}
		which = only(values["end"])
	}
	if which == "" {
		return "", codeInvalidJSON
	}
	return which, ""
}

// endOwn ends the session of h's user with that id, or all but h. An id of
// anybody else's, or of nobody's, ends none and looks the same.
func (s *site) endOwn(ctx context.Context, h sessionstore.Handle, which string) ([]*sessionstore.Session, error) {
	sessions, err := s.app.sessions(ctx)
	if err != nil {
		return nil, err
	}
	if which == endOthers {
		return sessions.EndUser(ctx, h.User.Directory, h.User.ID, h)
	}
	ended, err := sessions.EndOwn(ctx, h, which)
	if err != nil || ended == nil {
		return nil, err
	}
	return []*sessionstore.Session{ended}, nil
}
