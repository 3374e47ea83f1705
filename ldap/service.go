package ldap

import (
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

	mu       sync.Mutex
	rejected time.Time
}

func newServiceAccount(user, password string) *serviceAccount {
	return &serviceAccount{user: user, password: func() string { return password }}
}

// bindService binds c as the service account. After a rejection it is not tried
// for a while: every attempt of every visitor would otherwise count against an
// account that locks.
func (d *Directory) bindService(c *connection) error {
	s := d.service
	s.mu.Lock()
	rests := !s.rejected.IsZero() && time.Since(s.rejected) < d.limits.serviceRest
	s.mu.Unlock()
	if rests {
		return &UnavailableError{Reason: ReasonServiceAccountRejected, Err: errServiceRests}
	}
	err := c.bind(s.user, s.password())
	if err == nil {
		return nil
	}
	reason := serviceBindReason(err)
	if reason == ReasonServiceAccountRejected {
		s.mu.Lock()
		s.rejected = time.Now()
		s.mu.Unlock()
	}
	return &UnavailableError{Reason: reason, Err: fmt.Errorf("binding as the service account %q (option bind): %w", s.user, err)}
}
