package caddyauth

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// requestVar is the name of the request variable that holds our *request. A
// variable, not a context value, because matchers cannot pass a request on.
const requestVar = "ldap_auth.request"

// request is what our handlers and matchers share of one request. The first of
// them makes it, strips what clients must not send and takes the session cookie
// out of the Cookie header; later ones use this, never the header.
type request struct {
	app      *App
	start    time.Time
	original *url.URL
	cookies  sentCookies
	signing  *signingIn // what a sign-in has more, nil for other requests

	// paths are those of an ldap_login that ran before, nil without one.
	paths *signInPaths

	explanation *explanation // of a refusal, mostly nil

	result    sessionstore.Result
	session   sessionstore.Handle
	directory *configuredDirectory // of the session, when that is live
	lookupErr error

	shown       *sessionstore.User // whom the placeholders are about
	shownGroups string

	tls, lookedUp, touched bool

	// asked: the answer depends on whether there is a session.
	asked bool

	// keepCookie: this answer must not touch the session cookie.
	keepCookie bool

	// answer is the writer of what comes behind; first is where it starts, so
	// that it costs no memory of its own.
	answer *answer
	first  answer
}

// requestOf returns the shared state of r, making it on first contact.
func (app *App) requestOf(r *http.Request) *request {
	if q, ok := caddyhttp.GetVar(r.Context(), requestVar).(*request); ok && q.app == app {
		return q
	}
	q := &request{app: app, start: time.Now(), original: originalURL(r), tls: overTLS(r)}
	app.stripper.strip(r)
	stripClaims(r)
	stripConnection(r.Header)
	stripUpgrade(r)
	// Before any header is set: that keeps the header map small.
	q.cookies = app.cookies.takeCookies(r.Header, q.tls)
	caddyhttp.SetVar(r.Context(), requestVar, q)
	return q
}

// Format keeps the state, with its token, out of logs and placeholders that
// print request variables.
func (q *request) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(requestVar)) }

// String is for Caddy's replacer, which prefers it to Format.
func (q *request) String() string { return requestVar }

// lookup finds the request's session, once. touch starts its idle timer again.
// A request without a well-formed session cookie never asks the store.
//
// The error means that nothing is known (503), never that there is no session.
func (q *request) lookup(ctx context.Context, touch bool) (live bool, err error) {
	q.asked = true
	if !q.cookies.valid {
		return false, nil
	}
	if !q.lookedUp || touch && !q.touched && q.result == sessionstore.Live {
		q.lookedUp, q.touched = true, touch
		q.session, q.result, q.lookupErr = q.find(ctx, touch)
	}
	return q.lookupErr == nil && q.result == sessionstore.Live, q.lookupErr
}

func (q *request) find(ctx context.Context, touch bool) (sessionstore.Handle, sessionstore.Result, error) {
	sessions, err := q.app.sessions(ctx)
	if err != nil {
		return sessionstore.Handle{}, sessionstore.Unknown, err
	}
	session, result, err := sessions.Lookup(ctx, q.cookies.token, q.app.limits, touch)
	if err != nil {
		return sessionstore.Handle{}, sessionstore.Unknown, err
	}
	switch result {
	case sessionstore.Live:
		// A session that a directory proved which is configured no more proves
		// nothing here. Its record stays: it may be valid elsewhere.
		if q.directory = q.app.directoryOf(session.User.Directory); q.directory == nil {
			return sessionstore.Handle{}, sessionstore.Unknown, nil
		}
	case sessionstore.Expired:
		q.app.audit.sessionEnd(session.Session, "expired")
	case sessionstore.Invalid:
		q.app.audit.sessionEnd(nil, "invalid_record")
	}
	return session, result, nil
}

// signedOut drops what is known of the sessions that were just ended: nothing
// of them is to be shown or renewed.
func (q *request) signedOut() {
	q.cookies = sentCookies{csrf: q.cookies.csrf, line: q.cookies.line}
	q.lookedUp, q.result, q.session, q.lookupErr = false, sessionstore.Unknown, sessionstore.Handle{}, nil
}

// forgetStale makes the client forget a session cookie that is of no use any
// more.
func (q *request) forgetStale(ctx context.Context) {
	if q.staleCookie(ctx) {
		q.setCookie(q.app.cookies.deleteSession(q.tls))
	}
}

// staleCookie tells whether the session cookie is of no use any more. It is not
// where a sign-in just replaced it: the answer to a request that
// crossed the sign-in would take the new cookie away.
func (q *request) staleCookie(ctx context.Context) bool {
	if !q.cookies.present || q.keepCookie || q.cookies.several {
		// Of several, deleting takes the one that we have set and leaves what a
		// neighbour has planted, which would be the only one then.
		return false
	}
	if !q.cookies.valid {
		return true
	}
	if !q.lookedUp || q.lookupErr != nil || q.result == sessionstore.Live {
		return false
	}
	sessions, ok := q.app.openSessions()
	return ok && !sessions.Replaced(ctx, q.cookies.token)
}

// stripConnection does what a proxy does with the Connection header, before
// anything here sets one that a client could name in it: it removes the headers
// that concern this connection only (RFC 9110 section 7.6.1), and leaves options
// alone that name none. Headers that mean something to the gate or to every
// recipient stay: they are for no connection alone, and what is decided by them
// reaches the application as it was decided by.
func stripConnection(h http.Header) {
	values, ok := h["Connection"]
	if !ok || len(values) == 1 && isConnectionOption(values[0]) {
		return
	}
	var kept []string
	for _, value := range values {
		for option := range strings.SplitSeq(value, ",") {
			switch option = trimOWS(option); {
			case option == "":
			case isConnectionOption(option):
				kept = append(kept, option)
			case !isReservedHeader(foldHeader(option)):
				h.Del(option)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Connection")
		return
	}
	h["Connection"] = []string{strings.Join(kept, ", ")}
}

func isConnectionOption(option string) bool {
	for _, known := range [...]string{"keep-alive", "close", "upgrade", "te"} {
		if strings.EqualFold(option, known) {
			return true
		}
	}
	return false
}

// stripUpgrade removes offers to leave HTTP for anything but a WebSocket: what
// follows such an upgrade (h2c above all) would run past every later check.
func stripUpgrade(r *http.Request) {
	h := r.Header
	delete(h, "Http2-Settings")
	if _, ok := h["Upgrade"]; !ok || isWebSocketUpgrade(r) {
		return
	}
	delete(h, "Upgrade")
	if values, ok := h["Connection"]; ok {
		offers := newStripper([]string{"upgrade"})
		offers.stripTokens(h, "Connection", values)
	}
}

// Interface guards
var (
	_ fmt.Formatter = (*request)(nil)
	_ fmt.Stringer  = (*request)(nil)
)
