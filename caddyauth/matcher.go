package caddyauth

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// SessionGroup matches requests with a live session whose user is in one of
// the groups. It guards nothing by itself: require_session does.
type SessionGroup struct {
	// The groups, each by name, DN or SID.
	Groups []string `json:"groups,omitempty"`

	app    *App
	groups groupLine
}

// CaddyModule returns the Caddy module information.
func (SessionGroup) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.session_group",
		New: func() caddy.Module { return new(SessionGroup) },
	}
}

// Provision tells the app which groups the matcher names.
func (m *SessionGroup) Provision(ctx caddy.Context) error {
	var err error
	if m.app, err = appOf(ctx, "session_group"); err != nil {
		return err
	}
	if len(m.Groups) == 0 {
		return errors.New("session_group: name at least one group")
	}
	if m.groups, err = compileGroupLine(m.Groups); err != nil {
		return fmt.Errorf("session_group: %w", err)
	}
	if err := m.app.useGroups(m.groups, true); err != nil {
		return fmt.Errorf("session_group: %w", err)
	}
	return nil
}

// MatchWithError implements caddyhttp.RequestMatcherWithError. A store that
// cannot say is an error, which ends the request with 503: taking it for "not
// in the group" could open a route that is meant for everybody else.
func (m *SessionGroup) MatchWithError(r *http.Request) (bool, error) {
	q := m.app.requestOf(r)
	live, err := q.lookup(r.Context(), false)
	if err != nil {
		m.app.logStoreError(q, "reading a session", err)
		if q.answer != nil {
			q.answer.Header().Set("Retry-After", retryAfter)
		}
		return false, caddyhttp.Error(http.StatusServiceUnavailable, fmt.Errorf("session_group: reading the session: %w", err))
	}
	if !live {
		return false, nil
	}
	if q.overdue() {
		if q.answer != nil {
			q.answer.Header().Set("Retry-After", retryAfter)
		}
		return false, caddyhttp.Error(http.StatusServiceUnavailable, errors.New("session_group: the directory could not be asked about the account for too long"))
	}
	return q.directory.groups.meets(viewOf(q.session).memberships, m.groups), nil
}

// Interface guards
var (
	_ caddy.Provisioner                 = (*SessionGroup)(nil)
	_ caddyhttp.RequestMatcherWithError = (*SessionGroup)(nil)
)
