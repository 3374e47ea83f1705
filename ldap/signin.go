package ldap

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// attempt is one sign-in on its way.
type attempt struct {
	typed    string // normalised
	password string

	// sent is set before the password leaves: from then on no other server is
	// asked, and nothing is repeated, whatever happens.
	sent bool
}

// SignIn proves the identity of the person who typed username and password.
//
// The error is a *RefusedError when the person is refused, else an
// *UnavailableError. Names and passwords that no directory should see (empty,
// over-long, not UTF-8, with NUL or control characters) are refused without
// any traffic. SignIn ends within 10 s, or at once when ctx does.
func (d *Directory) SignIn(ctx context.Context, username, password string) (*Identity, error) {
	typed, err := normalizeName(username)
	if err == nil {
		err = checkPassword(password)
	}
	if err == nil && d.knownKind() == KindAD {
		_, err = parseADName(typed, d.config.Label)
	}
	if err != nil {
		return nil, &RefusedError{Reason: ReasonNameInvalid, Err: err}
	}
	bounded, cancel := d.bounded(ctx)
	defer cancel()
	if err := d.takeSlot(bounded); err != nil {
		return nil, verdictOn(ctx, bounded, server{}, err)
	}
	defer func() { <-d.slots }()

	a := &attempt{typed: typed, password: password}
	for i, s := range d.servers {
		id, err := d.signInAt(bounded, s, a)
		if err == nil {
			return id, nil
		}
		verdict := verdictOn(ctx, bounded, s, err)
		var u *UnavailableError
		if errors.As(verdict, &u) {
			u.Sent = a.sent
		}
		another := u != nil && u.Reason == ReasonDirectoryUnavailable
		if i == len(d.servers)-1 || a.sent || !another || bounded.Err() != nil {
			return nil, verdict
		}
	}
	return nil, &UnavailableError{Reason: ReasonDirectoryUnavailable, Err: errors.New("no servers")}
}

// takeSlot waits a little for one of the sign-ins under way to end.
func (d *Directory) takeSlot(ctx context.Context) error {
	timer := time.NewTimer(d.limits.slot)
	defer timer.Stop()
	select {
	case d.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errBusy
	}
}

// signInAt tries one server.
func (d *Directory) signInAt(ctx context.Context, s server, a *attempt) (*Identity, error) {
	c, err := d.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	defer c.close()
	kind, err := d.kindOf(c)
	if err != nil {
		return nil, err
	}
	if kind == KindAD {
		return d.signInAD(c, a)
	}
	if d.service == nil {
		return nil, &UnavailableError{Reason: ReasonDirectoryUnavailable, Err: errors.New("the server is no Active Directory, and without a service account nobody can be found on it: add bind <dn> <password>")}
	}
	return d.signInGeneric(ctx, c, a)
}

// verdictOn makes the error that SignIn returns. Who went away, the client or
// the time, decides the reason where either did: the error that broke the work
// off says only that a socket was closed.
func verdictOn(parent, bounded context.Context, s server, err error) error {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused
	}
	verdict := &UnavailableError{Reason: searchReason(err), Server: s.url, Err: err}
	var u *UnavailableError
	if errors.As(err, &u) {
		verdict.Reason, verdict.Err = u.Reason, u.Err
	}
	switch {
	case errors.Is(parent.Err(), context.Canceled):
		verdict.Reason, verdict.Err = ReasonCancelled, fmt.Errorf("%w: %w", context.Canceled, verdict.Err)
	case bounded.Err() != nil:
		verdict.Reason, verdict.Err = ReasonDirectoryUnavailable, fmt.Errorf("%w: %w", context.Cause(bounded), verdict.Err)
	}
	return verdict
}

// bindUser sends the one bind of a sign-in. username is the directory's
// spelling where an entry is known already.
func (a *attempt) bindUser(c *connection, name, username string) error {
	a.sent = true
	err := c.bind(name, a.password)
	if err == nil {
		return nil
	}
	o := bindOutcome(err)
	if o.refused {
		return &RefusedError{Reason: o.reason, Username: username, Err: err}
	}
	return &UnavailableError{Reason: o.reason, Err: err}
}
