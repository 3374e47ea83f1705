package caddyauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// adminSession is a live session in an answer. It has nothing of the token, of
// the store's key or of the CSRF secret.
type adminSession struct {
	ID        string    `json:"id"`
	User      string    `json:"user"`
	Directory string    `json:"directory"`
	UserID    string    `json:"user_id"`
	Name      string    `json:"name"`
	ClientIP  string    `json:"client_ip"`
	Created   time.Time `json:"created"`
	LastSeen  time.Time `json:"last_seen"`

	timeLeft
}

func adminSessionOf(e sessionstore.Entry) adminSession {
	return adminSession{
		ID: e.ID, User: e.User.Username, Directory: e.User.Directory, UserID: e.User.ID, Name: e.User.DisplayName,
		ClientIP: e.ClientIP, Created: wholeSecond(e.Created), LastSeen: wholeSecond(e.Seen),
		timeLeft: timeLeftOf(e.IdleLeft, e.AbsoluteLeft),
	}
}

// adminSessionPage is a page of the listing of sessions.
type adminSessionPage struct {
	Sessions []adminSession `json:"sessions"`
	Next     string         `json:"next,omitempty"`
}

// full tells whether there is no room for another session.
func (p *adminSessionPage) full(call *adminCall) bool { return len(p.Sessions) >= call.query.limit }

// fill adds sessions of a user, or of all, until the page is full or there are
// no more; then next is empty.
func (p *adminSessionPage) fill(ctx context.Context, call *adminCall, directory, id, after string) (next string, err error) {
	for !p.full(call) {
		query := sessionstore.ListQuery{Directory: directory, UserID: id, After: after, Limit: call.query.limit - len(p.Sessions)}
		found, next, err := call.sessions.List(ctx, query, call.app.limits)
		if err != nil {
			return "", err
		}
		for _, entry := range found {
			p.Sessions = append(p.Sessions, adminSessionOf(entry))
		}
		if after = next; next == "" {
			break
		}
	}
	return after, nil
}

func listSessions(ctx context.Context, call *adminCall) (any, error) {
	const of = "sessions"
	from, err := call.place(ctx, of)
	if err != nil {
		return nil, err
	}
	page := &adminSessionPage{Sessions: []adminSession{}}
	rest, more, err := call.fillPage(ctx, page, from)
	if err != nil {
		return nil, err
	}
	if more {
		if page.Next, err = call.cursor(ctx, of, rest); err != nil {
			return nil, err
		}
	}
	return page, nil
}

// fillPage fills a page from a place on, and returns the place of the rest, if
// there may be one. The sessions of some users are listed user by user.
func (call *adminCall) fillPage(ctx context.Context, page *adminSessionPage, from listPlace) (rest listPlace, more bool, err error) {
	if call.query.user == "" && call.query.directory == "" {
		rest.Sessions, err = page.fill(ctx, call, "", "", from.Sessions)
		return rest, rest.Sessions != "", err
	}
	for found, err := range call.users(ctx, from) {
		if err != nil {
			return listPlace{}, false, err
		}
		if page.full(call) {
			return found.at, true, nil
		}
		rest = found.at
		if rest.Sessions, err = page.fill(ctx, call, rest.Directory, rest.ID, rest.Sessions); err != nil {
			return listPlace{}, false, err
		}
		if rest.Sessions != "" {
			return rest, true, nil
		}
	}
	return listPlace{}, false, nil
}

func showOne(ctx context.Context, call *adminCall) (any, error) {
	entry, ok, err := call.sessions.Show(ctx, call.id, call.app.limits)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, adminError(http.StatusNotFound, errors.New(noSuchSession))
	}
	return adminSessionOf(entry), nil
}

// adminEnded is the answer to an end, which is on disk by then.
type adminEnded struct {
	Ended int `json:"ended"`

	// Sessions are those that were ended, where the request did not name one.
	Sessions []adminEndedSession `json:"sessions,omitzero"`
}

// adminEndedSession is a session that was.
type adminEndedSession struct {
	ID        string    `json:"id"`
	User      string    `json:"user"`
	Directory string    `json:"directory"`
	UserID    string    `json:"user_id"`
	ClientIP  string    `json:"client_ip"`
	Created   time.Time `json:"created"`
}

// reasonEndedByOperator is the audit log's reason.
const reasonEndedByOperator = "ended_by_operator"

func endOne(ctx context.Context, call *adminCall) (any, error) {
	ended, err := call.sessions.EndID(ctx, call.id)
	if err != nil {
		return nil, err
	}
	if ended == nil {
		return nil, adminError(http.StatusNotFound, errors.New(noSuchSession))
	}
	call.auditEnds(ended)
	return adminEnded{Ended: 1}, nil
}

func endUser(ctx context.Context, call *adminCall) (any, error) {
	if call.query.user == "" {
		return nil, adminError(http.StatusBadRequest, errors.New("user is missing: say whose sessions are to end"))
	}
	user, err := call.oneUser(ctx)
	if err != nil {
		return nil, err
	}
	ended, err := call.sessions.EndUser(ctx, user.Directory, user.ID, sessionstore.Handle{})
	if err != nil {
		return nil, err
	}
	call.auditEnds(ended...)
	answer := adminEnded{Ended: len(ended), Sessions: []adminEndedSession{}}
	for _, s := range ended {
		answer.Sessions = append(answer.Sessions, adminEndedSession{
			ID: s.ID, User: s.User.Username, Directory: s.User.Directory, UserID: s.User.ID,
			ClientIP: s.ClientIP, Created: wholeSecond(s.Created),
		})
	}
	return answer, nil
}

// maxNamed bounds the users that an error names.
const maxNamed = 10

// oneUser returns the user that the query means: by the ID, else by the user
// name, else by the email. Several of one kind are an error: nobody's sessions
// are to end because somebody else has the same name. One of a weaker kind is
// nobody: else whoever chooses an email could keep others' sessions from ending.
func (call *adminCall) oneUser(ctx context.Context) (*sessionstore.UserRecord, error) {
	var users []*sessionstore.UserRecord
	best := noMatch
	for found, err := range call.users(ctx, listPlace{}) {
		if err != nil {
			return nil, err
		}
		if found.by > best {
			best, users = found.by, nil
		}
		if found.by == best && len(users) <= maxNamed {
			users = append(users, found.user)
		}
	}
	switch len(users) {
	case 0:
		return nil, adminError(http.StatusNotFound, errors.New(noSuchUser))
	case 1:
		return users[0], nil
	}
	var named []string
	for _, user := range users[:min(len(users), maxNamed)] {
		named = append(named, fmt.Sprintf("directory %q user %q", user.Directory, user.ID))
	}
	text := strings.Join(named, "; ")
	if len(users) > maxNamed {
		text += "; and more"
	}
	return nil, adminError(http.StatusConflict, fmt.Errorf("several users match, name one by directory and user: %s", text))
}

// auditEnds writes a line for each session. The newest configuration does: a
// reload may have closed the logs of the one that the request began with.
func (call *adminCall) auditEnds(ended ...*sessionstore.Session) {
	app, err := activeApp()
	if err != nil {
		app = call.app
	}
	for _, session := range ended {
		app.audit.sessionEnd(session, reasonEndedByOperator)
	}
}
