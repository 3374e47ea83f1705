package ldap

import (
	"context"
	"errors"
	"fmt"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// Check is asked before a password is sent for an account whose ID (see
// Identity.ID) a look-up has found; where a name stands for several, once for
// each. An error ends the sign-in, and SignIn returns it as it is.
type Check func(ctx context.Context, id string) error

// attempt is one sign-in on its way.
type attempt struct {
	typed    string // normalised
	password string
	checks   []Check

	// sent is set before the password leaves: from then on no other server is
	// asked, and nothing is repeated, whatever happens.
	sent bool

	// judged is told what became of the bind. nil: nobody.
	judged func(name string, err error)
}

// account is what a look-up as the service account found for a typed name,
// before the password is sent.
type account struct {
	kind    Kind
	base    string
	entries []*goldap.Entry // on AD two are possible
	at      *host           // the server that answered: another may not know them yet

	// Off AD, the groups of the one entry, or why they are none. They are read
	// before the bind, so that who was right has nothing left to wait for.
	groups    []Group
	groupsErr error
}

// SignIn proves the identity of the person who typed username and password.
//
// The error is a *RefusedError when the person is refused, that of a check, or
// an *UnavailableError. Names and passwords that no directory should see
// (empty, over-long, not UTF-8, with NUL or control characters) are refused
// without any traffic. SignIn ends within Config.Timeout, or at once when ctx
// does.
func (d *Directory) SignIn(ctx context.Context, username, password string, checks ...Check) (*Identity, error) {
	typed, err := normalizeName(username)
	if err == nil {
		err = checkPassword(password)
	}
	if err == nil && d.knownKind() == KindAD {
		_, err = d.parseADName(typed)
	}
	if err != nil {
		return nil, &RefusedError{Reason: ReasonNameInvalid, Err: err}
	}
	bounded, cancel := d.bounded(ctx)
	defer cancel()
	a := &attempt{typed: typed, password: password, checks: checks}
	id, err := d.prove(bounded, a)
	if err != nil {
		return nil, verdictOn(ctx, bounded, a, err)
	}
	return id, nil
}

// prove looks the person up where a service account can, and then has the
// password judged.
func (d *Directory) prove(ctx context.Context, a *attempt) (*Identity, error) {
	found, err := d.lookUpAccount(ctx, a.typed)
	var refused *RefusedError
	if errors.As(err, &refused) {
		// Where sign-ins have to wait, or none is possible, this one has to as
		// well: else the answer would tell which names exist.
		if err := d.pool.passBy(ctx, signInLane); err != nil {
			return nil, poolError(err)
		}
	}
	if err != nil {
		return nil, err
	}
	var at *host
	if found != nil {
		at = found.at
		// Before there is a connection to hold: a check may wait.
		if err := d.mayBind(ctx, a, found); err != nil {
			return nil, err
		}
	}
	l, err := d.lease(ctx, signInLane, at, new([]*host))
	if err != nil {
		return nil, err
	}
	defer l.drop()
	a.judged = func(name string, err error) { d.pool.judged(l.grant.host, name, err) }
	kind := d.learnKind(l.connection)
	if found != nil && (found.kind == KindAD) != (kind == KindAD) {
		// What was found on one kind cannot be judged on the other.
		err := fmt.Errorf("one server of the directory is of the kind %q, another one %q", found.kind, kind)
		l.end(nil)
		return nil, &UnavailableError{Reason: ReasonDirectoryUnavailable, Server: l.server.url, Err: err}
	}
	if kind == KindAD {
		id, err := d.signInAD(l.connection, a, found)
		l.end(err)
		return id, atServer(l.server, err)
	}
	if found == nil {
		l.end(nil)
		return nil, &UnavailableError{Reason: ReasonDirectoryUnavailable, Server: l.server.url, Err: errors.New("the server is no Active Directory, and without a service account nobody can be found on it: add bind <dn> <password>")}
	}
	policy, err := d.judge(l, a, found)
	if err != nil {
		return nil, err
	}
	return d.describe(found, policy)
}

// lookUpAccount is findAccount where there is a service account that can look
// people up, and else nil: AD needs none to prove somebody.
func (d *Directory) lookUpAccount(ctx context.Context, typed string) (*account, error) {
	if d.service == nil {
		return nil, nil
	}
	found, err := d.findAccount(ctx, typed, true)
	var unavailable *UnavailableError
	switch {
	case !errors.As(err, &unavailable):
		if d.blind.Swap(false) {
			d.config.Logger.Info("service account can look people up again", "directory", d.config.Label)
		}
		return found, err
	case d.knownKind() != KindAD, unavailable.Reason == ReasonBusy, over(ctx):
		return nil, err
	}
	if !d.blind.Swap(true) {
		d.config.Logger.Warn("service account cannot look people up: signing in without it",
			"directory", d.config.Label, "error", err.Error())
	}
	return nil, nil
}

// verdictOn makes the error that SignIn returns. Who went away, the client or
// the time, decides the reason where either did: the error that broke the work
// off says only that a socket was closed.
func verdictOn(parent, bounded context.Context, a *attempt, err error) error {
	var stopped *stoppedError
	if errors.As(err, &stopped) {
		return stopped.err
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused
	}
	verdict := &UnavailableError{Reason: searchReason(err), Err: err}
	var u *UnavailableError
	if errors.As(err, &u) {
		verdict.Reason, verdict.Server, verdict.Err = u.Reason, u.Server, u.Err
	}
	switch {
	case errors.Is(parent.Err(), context.Canceled):
		verdict.Reason, verdict.Err = ReasonCancelled, fmt.Errorf("%w: %w", context.Canceled, verdict.Err)
	case bounded.Err() != nil:
		verdict.Reason, verdict.Err = ReasonDirectoryUnavailable, fmt.Errorf("%w: %w", context.Cause(bounded), verdict.Err)
	}
	verdict.Sent = a.sent
	return verdict
}

// stoppedError carries the error of a Check past those of the directory.
type stoppedError struct{ err error }

func (e *stoppedError) Error() string { return e.err.Error() }

// lastMoment is the part of one operation's time that must be left for a bind.
const lastMoment = 5

var errTooLate = errors.New("too little time is left to wait for the answer to a password")

// mayBind asks the checks about whom the name stands for.
func (d *Directory) mayBind(ctx context.Context, a *attempt, found *account) error {
	for _, e := range found.entries {
		id, err := identifier(e, d.attributes(found.kind).ID)
		if err != nil {
			continue // nobody becomes an identity with it
		}
		for _, check := range a.checks {
			if err := check(ctx, id); err != nil {
				return &stoppedError{err}
			}
		}
	}
	return nil
}

// bindUser sends the one bind of a sign-in. username is the directory's
// spelling where an entry is known already.
//
// It is not sent in the last moment: an answer that nobody waits for is a guess
// that the directory counts, and nobody else.
func (a *attempt) bindUser(c *connection, name, username string, withPolicy bool) (policyAnswer, error) {
	if deadline, ok := c.ctx.Deadline(); ok && time.Until(deadline) < c.operation/lastMoment {
		return noPolicy(), &UnavailableError{Reason: ReasonBusy, Server: c.server.url, Err: errTooLate}
	}
	a.sent = true
	policy, err := c.bind(name, a.password, withPolicy)
	if a.judged != nil {
		a.judged(name, err)
	}
	o := bindOutcome(err, policy)
	switch {
	case o.refused:
		return policy, &RefusedError{Reason: o.reason, Username: username, Err: err}
	case err != nil && o.reason != ReasonDirectoryUnavailable:
		return policy, &UnavailableError{Reason: o.reason, Server: c.server.url, Err: err}
	}
	return policy, err
}
