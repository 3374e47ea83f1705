package caddyauth

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// ownSessions is the route where people see their sessions and end them.
func (s *site) ownSessions(w http.ResponseWriter, r *http.Request, q *request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, OPTIONS")
		return s.refuseGate(w, r, q, codeMethodNotAllowed)
	}
	live, err := q.lookup(r.Context(), true)
	switch {
	case err != nil:
		s.app.logStoreError(q, "reading a session", err)
		return s.refuseGate(w, r, q, codeStoreUnavailable)
	case !live:
		return s.askToSignIn(w, r, q)
	case q.overdue():
		return s.refuseGate(w, r, q, codeDirectoryUnavailable)
	}
	q.answer.renew = true
	q.showUser(r, viewOf(q.session), "")
	if r.Method == http.MethodPost {
		return s.endSessions(w, r, q)
	}
	return s.listSessions(w, r, q)
}

// listedSession is a session in the JSON of the list.
type listedSession struct {
	ID       string `json:"id"`
	Current  bool   `json:"current"`
	Created  string `json:"created"`
	LastSeen string `json:"last_seen"`
	ClientIP string `json:"client_ip"`

	timeLeft
}

// listSessions shows the user's sessions, the newest sign-in first.
func (s *site) listSessions(w http.ResponseWriter, r *http.Request, q *request) error {
	entries, err := s.entriesOf(r.Context(), q.session)
	if err != nil {
		s.app.logStoreError(q, "listing the sessions of a user", err)
		return s.refuseGate(w, r, q, codeStoreUnavailable)
	}
	if wantsPage(r) {
		page := pages.Page{Kind: pages.Sessions, Next: s.pathsOf(q).home, Sessions: make([]pages.Session, 0, len(entries))}
		for _, entry := range entries {
			page.Sessions = append(page.Sessions, pages.Session{
				ID: entry.ID, Current: entry.ID == q.session.ID, ClientIP: entry.ClientIP, Created: entry.Created, LastSeen: entry.Seen,
			})
		}
		return s.writePage(w, r, q, http.StatusOK, page)
	}
	list := make([]listedSession, 0, len(entries))
	for _, entry := range entries {
		list = append(list, listedSession{
			ID: entry.ID, Current: entry.ID == q.session.ID, ClientIP: entry.ClientIP,
			Created:  entry.Created.UTC().Format(time.RFC3339),
			LastSeen: entry.Seen.UTC().Format(time.RFC3339),
			timeLeft: timeLeftOf(entry.IdleLeft, entry.AbsoluteLeft),
		})
	}
	return writeJSON(w, http.StatusOK, struct {
		Status   string          `json:"status"`
		Sessions []listedSession `json:"sessions"`
	}{"ok", list})
}

// entriesOf returns the newest sessions of a session's user, as many as anybody
// may have, the newest first.
func (s *site) entriesOf(ctx context.Context, session sessionstore.Handle) ([]sessionstore.Entry, error) {
	sessions, err := s.app.sessions(ctx)
	if err != nil {
		return nil, err
	}
	var entries []sessionstore.Entry
	query := sessionstore.ListQuery{Directory: session.User.Directory, UserID: session.User.ID, Limit: mostPerUser}
	for {
		page, next, err := sessions.List(ctx, query, s.app.limits)
		if err != nil {
			return nil, err
		}
		entries = append(entries, page...)
		if surplus := len(entries) - mostPerUser; surplus > 0 {
			entries = slices.Delete(entries, 0, surplus) // the oldest come first
		}
		if query.After = next; next == "" {
			slices.Reverse(entries)
			return entries, nil
		}
	}
}
