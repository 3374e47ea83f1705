package caddyauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// auditor writes one line for each sign-in, sign-out, session end or change and
// forbidden request, on the logger ldap_auth.audit. The keys are closed: event,
// result, reason, user, directory, session, client_ip, host, path, ms. There
// is no password, token or CSRF secret in any of them, and the path is without
// its query. What strangers choose is made printable: JSON leaves line
// separators, C1 controls and what turns the direction of text as they are, and
// whoever reads the log would see other lines than those that were written.
type auditor struct {
	logger *zap.Logger
}

// Results of an audit line.
const (
	resultOK          = "ok"
	resultRefused     = "refused"
	resultUnavailable = "unavailable"
)

// Reasons of a sign-in that no directory was asked about.
const (
	reasonThrottled = "throttled"
	reasonBusy      = string(ldap.ReasonBusy)
)

// auditSignIn is what is known of one attempt.
type auditSignIn struct {
	result, reason, user, directory, session string
}

func (a auditor) signIn(r *http.Request, q *request, s auditSignIn) {
	metrics.signedIn(s.result)
	a.write("sign_in", s.result, s.reason, s.user, s.directory, s.session, r, q)
}

func (a auditor) signOut(r *http.Request, q *request, session *sessionstore.Session) {
	metrics.sessionEnded(reasonSignOut)
	a.write("sign_out", resultOK, "", session.User.Username, session.User.Directory, session.ID, r, q)
}

func (a auditor) forbidden(r *http.Request, q *request, reason code) {
	var user, directory, id string
	if q.lookedUp && q.session.Session != nil {
		user, directory, id = q.session.User.Username, q.session.User.Directory, q.session.Session.ID
	}
	a.write("forbidden", resultRefused, string(reason), user, directory, id, r, q)
}

// sessionEnd records an end that no request asked for. session is nil where the
// record could not be read.
func (a auditor) sessionEnd(session *sessionstore.Session, reason string) {
	metrics.sessionEnded(reason)
	a.session("session_end", session, reason)
}

// sessionEndedBy records the end that a request asked for of a session other
// than by signing out of it.
func (a auditor) sessionEndedBy(r *http.Request, q *request, session *sessionstore.Session, reason string) {
	metrics.sessionEnded(reason)
	a.write("session_end", resultOK, reason, session.User.Username, session.User.Directory, session.ID, r, q)
}

// sessionChange records a session that goes on with other groups.
func (a auditor) sessionChange(session *sessionstore.Session, reason string) {
	a.session("session_change", session, reason)
}

func (a auditor) session(event string, session *sessionstore.Session, reason string) {
	fields := []zap.Field{zap.String("event", event), zap.String("result", resultOK), zap.String("reason", reason)}
	if session != nil {
		fields = append(fields,
			zap.String("user", session.User.Username),
			zap.String("directory", session.User.Directory),
			zap.String("session", session.ID),
			zap.String("client_ip", session.ClientIP))
	}
	a.logger.Info(event, fields...)
}

func (a auditor) write(event, result, reason, user, directory, session string, r *http.Request, q *request) {
	fields := make([]zap.Field, 0, 10)
	fields = append(fields, zap.String("event", event), zap.String("result", result))
	for _, optional := range [...]struct{ key, value string }{
		{"reason", reason}, {"user", user}, {"directory", directory}, {"session", session},
	} {
		if optional.value != "" {
			fields = append(fields, zap.String(optional.key, optional.value))
		}
	}
	fields = append(fields,
		zap.String("client_ip", clientIPText(r)),
		zap.String("host", hostOnly(r.Host)),
		zap.String("path", printable(q.original.Path)),
		zap.Int64("ms", time.Since(q.start).Milliseconds()))
	a.logger.Info(event, fields...)
}

// auditedName is the user of a refused sign-in: the directory's spelling where
// it found the entry, else what was typed. A name that the directory said it
// does not know, or that is none, is left out: it may be a password in the
// wrong field. Active Directory does not say, so that there the name is what
// somebody typed, and the docs say so.
func (app *App) auditedName(refused *ldap.RefusedError, typed, label string) string {
	if refused.Username != "" {
		return app.fullName(refused.Username, label)
	}
	switch refused.Reason {
	case ldap.ReasonUserUnknown, ldap.ReasonNameInvalid:
		return ""
	}
	return printable(typed)
}

// logStoreError is the operator's line for a failed store. A client that went
// away is none. q is nil where no request is concerned.
func (app *App) logStoreError(q *request, doing string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	metrics.storeFailed()
	own := newReference
	if q != nil {
		own = q.reference
	}
	due, reference := app.store.outages.line(err, time.Now(), own)
	if q != nil {
		q.explain().reference = reference
	}
	if due {
		app.logger.Error("session store failed", zap.String("doing", doing), zap.Error(err), zap.String("ref", reference))
	}
}
