package ldap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var errServiceRests = errors.New("the service account was rejected a moment ago and is not tried again yet")

// serviceAccount is the account of Config.BindUser.
type serviceAccount struct {
	user string

	// password is a function because fmt prints those as addresses, whatever
	// the verb and however deep inside of something else.
	password func() string

	// trying holds a token while somebody binds: one attempt at a time, so that
	// a password that is wrong, or was changed, counts once.
	trying chan struct{}

	mu       sync.Mutex
	accepted bool
	rejected time.Time
}

func newServiceAccount(user, password string) *serviceAccount {
	return &serviceAccount{user: user, password: func() string { return password }, trying: make(chan struct{}, 1)}
}

// lookup runs work on a connection that is bound as the service account, and
// returns the server that answered. No person's password is involved, so that a
// connection that breaks costs nothing but another try: at the same server
// where it was only cut, else at the next.
func (d *Directory) lookup(ctx context.Context, prefer *host, work func(c *connection, base string) error) (*host, error) {
	var avoid []*host
	var last error
	for tries := 0; ; tries++ {
		l, err := d.lease(ctx, lookupLane, prefer, &avoid)
		if err != nil {
			if last != nil && errors.Is(err, errNone) {
				err = last
			}
			return nil, err
		}
		unbound, err := d.lookupOn(l, work)
		var transport *transportError
		cut := errors.As(err, &transport) && !transport.timedOut
		switch {
		case err == nil, over(ctx), !serverFault(err) && !unbound, unbound && tries > 0:
			return l.grant.host, atServer(l.server, err)
		case !cut && !unbound, tries > 0:
			avoid = append(avoid, l.grant.host)
		}
		last = atServer(l.server, err)
	}
}

// lookupOn runs work as the service account, and ends the lease. unbound: the
// server has forgotten who asks.
func (d *Directory) lookupOn(l *lease, work func(c *connection, base string) error) (unbound bool, err error) {
	defer l.drop()
	err = d.asService(l, work)
	if unbound = searchReason(err) == ReasonConnUnbound; unbound {
		l.broken = true
	}
	l.end(err)
	return unbound, err
}

// asService binds l as the service account, unless it is, and runs work.
func (d *Directory) asService(l *lease, work func(c *connection, base string) error) error {
	if l.bound != d.service.user {
		if !l.root.hidden {
			d.learnKind(l.connection) // also where the account is rejected
		}
		if err := d.bindServiceOn(l); err != nil {
			return err
		}
		if err := l.readHiddenRoot(); err != nil {
			return err
		}
	}
	if d.learnKind(l.connection) == KindAD {
		d.learnNames(l.connection)
	}
	base, err := d.userBase(l.root)
	if err != nil {
		return err
	}
	return work(l.connection, base)
}

// bindServiceOn is bindService on a lease. A server that is silent then is out
// of use at once: the question was not a client's.
func (d *Directory) bindServiceOn(l *lease) error {
	err := d.bindService(l.connection)
	var transport *transportError
	if errors.As(err, &transport) && transport.timedOut && !over(l.ctx) {
		d.pool.fail(l.grant.host, err)
		d.hurryDiscovery()
	}
	return err
}

// bindService binds c as the service account. After a rejection it is not tried
// for a while: every attempt of every visitor would otherwise count against an
// account that locks.
func (d *Directory) bindService(c *connection) error {
	s := d.service
	done, err := s.turn(c.ctx, d.limits.dial/3)
	if err != nil {
		return &transportError{doing: "binding", err: err}
	}
	defer done()
	if s.rests(d.limits.serviceRest) {
		return &UnavailableError{Reason: ReasonServiceAccountRejected, Err: errServiceRests}
	}
	operation := c.operation
	defer func() { c.operation = operation }()
	c.operation = min(operation, d.limits.dial) // it is part of getting a connection
	_, err = c.bind(s.user, s.password(), false)
	if err == nil {
		s.mu.Lock()
		s.accepted, s.rejected = true, time.Time{}
		s.mu.Unlock()
		return nil
	}
	if reason := serviceBindReason(err); reason != ReasonDirectoryUnavailable {
		if reason == ReasonServiceAccountRejected {
			s.mu.Lock()
			s.accepted, s.rejected = false, time.Now()
			s.mu.Unlock()
		}
		return &UnavailableError{Reason: reason, Server: c.server.url, Err: fmt.Errorf("binding as the service account %q (option bind): %w", s.user, err)}
	}
	return fmt.Errorf("binding as the service account %q (option bind): %w", s.user, err)
}

// turn waits until nobody else binds as the account. Once it was accepted, an
// attempt that takes long is most probably one at a silent server, and holds
// nobody else up for more than patience.
func (s *serviceAccount) turn(ctx context.Context, patience time.Duration) (done func(), err error) {
	var enough <-chan time.Time
	if s.wasAccepted() {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case s.trying <- struct{}{}:
		return func() { <-s.trying }, nil
	case <-enough:
		return func() {}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *serviceAccount) wasAccepted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// rests tells whether the account was rejected less than pause ago.
func (s *serviceAccount) rests(pause time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.rejected.IsZero() && time.Since(s.rejected) < pause
}

// atServer adds to an error which server it is about.
func atServer(s server, err error) error {
	var u *UnavailableError
	var refused *RefusedError
	if err == nil || errors.As(err, &u) || errors.As(err, &refused) {
		return err
	}
	return &UnavailableError{Reason: searchReason(err), Server: s.url, Err: err}
}
