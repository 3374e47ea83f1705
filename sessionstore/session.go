package sessionstore

import (
	"errors"
	"fmt"
	"time"
)

// User is the person whom a session belongs to, as the directory proved it at
// sign-in. Directory and ID together are the key of the user record.
type User struct {
	Directory, ID                                                string
	Username, DN                                                 string
	FirstName, LastName, DisplayName, Email, UPN, Title, Manager string

	// PasswordSet is when the password was last set, as the directory spells
	// it; "": unknown. A re-check that finds another value knows that the
	// password has changed since the sign-in. It is compared, never read.
	PasswordSet string

	// Groups are what access is decided by.
	Groups []Group
}

// Group is one group of a user. ID decides; Name and DN are filled where the
// configuration referred to the group at sign-in.
type Group struct {
	ID, Name, DN string
}

// Session is the server-side record of one signed-in browser or client. A
// *Session is never changed: a re-check that finds other groups puts another
// one in its place (Sessions.Regroup). The last-seen time lives beside it.
type Session struct {
	// ID is a short public name, safe to list and log; neither token nor key.
	ID string

	User User

	// CSRF is the secret that unsafe requests must show: 32 of [A-Za-z0-9].
	CSRF string

	// Created is when the user signed in, in UTC.
	Created time.Time

	// Limits that were in force at sign-in. The shorter of these and of the
	// limits in force today holds.
	Limits Limits

	// ClientIP that signed in.
	ClientIP string
}

// Limits bound how long a session lives.
type Limits struct {
	// Idle is how long a session lives without a request. Required at sign-in.
	Idle time.Duration

	// Absolute is how long a session lives after sign-in, whatever happens.
	// Zero: no limit.
	Absolute time.Duration
}

// RenewalStep is how often the cookie is re-sent and the last-seen time
// stored: a 60th of the idle timeout, at least 1 s, at most 60 s.
func (l Limits) RenewalStep() time.Duration {
	return min(max(l.Idle/60, time.Second), time.Minute)
}

// shorter returns the stricter of two limits. A limit that one of them does
// not set is decided by the other.
func (l Limits) shorter(other Limits) Limits {
	if other.Idle > 0 && (l.Idle <= 0 || other.Idle < l.Idle) {
		l.Idle = other.Idle
	}
	if other.Absolute > 0 && (l.Absolute <= 0 || other.Absolute < l.Absolute) {
		l.Absolute = other.Absolute
	}
	return l
}

// check refuses limits under which a session would never have lived, or would
// never end.
func (l Limits) check() error {
	if l.Idle <= 0 {
		return fmt.Errorf("idle timeout %q is not positive", l.Idle)
	}
	if l.Absolute < 0 {
		return fmt.Errorf("absolute timeout %q is negative", l.Absolute)
	}
	return nil
}

// check refuses a session that must not be stored and, on the way back, a
// record that cannot be one: a session of nobody, without a CSRF secret or
// without an end would let somebody in whom no sign-in stands for.
func (s *Session) check() error {
	switch {
	case s.ID == "":
		return errors.New("session without an id")
	case s.User.Directory == "" || s.User.ID == "":
		return fmt.Errorf("session of no user: directory %q, id %q", s.User.Directory, s.User.ID)
	case len(s.CSRF) != csrfLength:
		return fmt.Errorf("CSRF secret of %d characters, want %d", len(s.CSRF), csrfLength)
	}
	return s.Limits.check()
}

// size is about how many bytes the session takes in memory, with its entry.
func (s *Session) size() int64 {
	const entryAndMap, group = 600, 48
	u := &s.User
	n := entryAndMap + len(s.ID) + len(s.CSRF) + len(s.ClientIP) +
		len(u.Directory) + len(u.ID) + len(u.Username) + len(u.DN) +
		len(u.FirstName) + len(u.LastName) + len(u.DisplayName) + len(u.Email) +
		len(u.UPN) + len(u.Title) + len(u.Manager) + len(u.PasswordSet)
	for _, g := range u.Groups {
		n += group + len(g.ID) + len(g.Name) + len(g.DN)
	}
	return int64(n)
}
