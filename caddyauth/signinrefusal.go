package caddyauth

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/throttle"
)

// refuseProof answers a sign-in that proved nobody.
func (s *site) refuseProof(w http.ResponseWriter, r *http.Request, q *request, creds credentials, form pages.Page, p proof) error {
	var blocked *throttle.BlockedError
	var refused *ldap.RefusedError
	var store storeError
	switch {
	case errors.As(p.err, &blocked):
		return s.refuseThrottled(w, r, q, form, p, blocked)
	case errors.As(p.err, &store), errors.Is(p.err, throttle.ErrClosed):
		return s.refuseForStore(w, r, q, form, p, p.err)
	case errors.As(p.err, &refused):
		return s.refuseIdentity(w, r, q, creds, form, p, refused)
	}
	return s.refuseForDirectory(w, r, q, creds, form, p)
}

// refuseForDirectory answers when the directory could not decide.
func (s *site) refuseForDirectory(w http.ResponseWriter, r *http.Request, q *request, creds credentials, form pages.Page, p proof) error {
	attempt := auditSignIn{result: resultUnavailable, reason: string(ldap.ReasonDirectoryUnavailable), directory: p.directory.Label()}
	var unavailable *ldap.UnavailableError
	switch {
	case errors.As(p.err, &unavailable):
		attempt.reason = string(unavailable.Reason)
		if unavailable.Sent {
			// The directory may have counted a wrong password.
			attempt.user = printable(creds.username)
		}
	case errors.Is(p.err, throttle.ErrBusy):
		attempt.reason = reasonBusy
	case errors.Is(p.err, context.Canceled):
		attempt.reason = string(ldap.ReasonCancelled)
	}
	switch attempt.reason {
	case string(ldap.ReasonCancelled), reasonBusy: // anybody can cause these, as often as they like
		q.explain().reason = attempt.reason
	default:
		s.app.logger.Error("the directory could not decide on a sign-in",
			zap.String("directory", attempt.directory), zap.String("reason", attempt.reason), zap.Error(p.err), q.logged())
	}
	s.app.audit.signIn(r, q, attempt)
	form.Code = string(codeDirectoryUnavailable)
	return s.refuseForm(w, r, q, codeDirectoryUnavailable, form)
}

// refuseForStore answers when the sign-in could not be counted, or its session
// not be kept.
func (s *site) refuseForStore(w http.ResponseWriter, r *http.Request, q *request, form pages.Page, p proof, err error) error {
	s.app.logStoreError(q, "starting a session", err)
	attempt := auditSignIn{result: resultUnavailable, reason: string(codeStoreUnavailable), directory: p.directory.Label()}
	if errors.Is(err, context.Canceled) {
		attempt.reason = string(ldap.ReasonCancelled)
	}
	if p.identity != nil {
		attempt.user = s.app.userOf(p.identity).Username
	}
	s.app.audit.signIn(r, q, attempt)
	form.Code = string(codeStoreUnavailable)
	return s.refuseForm(w, r, q, codeStoreUnavailable, form)
}

// refuseIdentity answers when the directory said no. Its reasons look alike to
// the client, in bytes, unless login_hints names them, and always in time.
func (s *site) refuseIdentity(w http.ResponseWriter, r *http.Request, q *request, creds credentials, form pages.Page, p proof, refused *ldap.RefusedError) error {
	s.app.audit.signIn(r, q, auditSignIn{
		result: resultRefused, reason: string(refused.Reason),
		user: s.app.auditedName(refused, creds.username, p.directory.Label()), directory: p.directory.Label(),
	})
	q.holdBack(r.Context(), p)
	c, detail := p.directory.hints.answer(refused.Reason)
	form.Code, form.Detail = string(c), detail
	if c.asksNewPassword() {
		form.PasswordURL = p.directory.configured.PasswordURL
	}
	return s.refuseForm(w, r, q, c, form)
}

// refuseThrottled answers a sign-in that was not tried because of too many
// others before it: at once, unless it took a look-up to know. The audit line names nobody: nothing has shown that what
// was typed is a name, and not a password in the wrong field.
func (s *site) refuseThrottled(w http.ResponseWriter, r *http.Request, q *request, form pages.Page, p proof, blocked *throttle.BlockedError) error {
	s.app.audit.signIn(r, q, auditSignIn{result: resultRefused, reason: reasonThrottled, directory: p.directory.Label()})
	if p.heldBack {
		q.holdBack(r.Context(), p)
	}
	w.Header().Set("Retry-After", strconv.FormatInt(roundUp(blocked.RetryAfter, time.Second), 10))
	form.Code = string(codeTooManyAttempts)
	form.RetryMinutes = roundUp(blocked.RetryAfter, time.Minute)
	return s.refuseForm(w, r, q, codeTooManyAttempts, form)
}

// roundUp returns how many whole units cover a time, at least one: whoever
// comes back after so long does not come too early.
func roundUp(d, unit time.Duration) int64 {
	units := d / unit
	if d%unit > 0 {
		units++
	}
	return max(int64(units), 1)
}

// refuseForm answers a sign-in that did not succeed: to a person with the form
// again.
func (s *site) refuseForm(w http.ResponseWriter, r *http.Request, q *request, c code, form pages.Page) error {
	q.signing.place.leave()
	if s.answersWithPage(r) {
		// An earlier session goes on, and its token with it.
		if live, err := q.lookup(r.Context(), false); err != nil || !live {
			form.CSRFToken = s.anonymousCSRF(q)
		}
	}
	return s.refuseSignIn(w, r, q, c, "", form)
}
