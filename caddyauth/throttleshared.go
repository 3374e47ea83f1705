package caddyauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/throttle"
)

// agreedThrottle returns the store's throttle, by a secret that all nodes have. A
// store elsewhere may be emptied and forget it: then the node that asks first
// stores its own again, and the others count by that one from their next sign-in
// on. Two secrets would be two counts.
func (h *storeHandle) agreedThrottle(ctx context.Context) (*throttle.Throttle, error) {
	opened, sessions := h.throttle.opened.Load(), h.sessions.Load()
	if opened == nil || sessions == nil {
		return nil, storeError{errThrottleNotReady}
	}
	if sessions.Budgets() == nil {
		return opened.Throttle, nil
	}
	limited, cancel := context.WithTimeout(ctx, agreedTimeout)
	defer cancel()
	secret, err := sessions.Secret(limited, throttleSecret, opened.secret)
	if ended := ctx.Err(); ended != nil {
		return nil, fmt.Errorf("reading the throttle's secret: %w", ended)
	}
	if err != nil {
		return nil, storeError{fmt.Errorf("reading the throttle's secret: %w", err)}
	}
	if bytes.Equal(secret, opened.secret) {
		return opened.Throttle, nil
	}
	next, err := openThrottle(limited, sessions, h.logger)
	if err != nil {
		return nil, storeError{err}
	}
	if !h.throttle.opened.CompareAndSwap(opened, next) {
		// Somebody else was first; what they have opened is as good.
		return h.throttle.opened.Load().Throttle, next.Close()
	}
	if h.throttle.closed.Load() {
		return nil, errors.Join(throttle.ErrClosed, next.Close())
	}
	h.logger.Warn("the throttle's secret in the store is another one: counts of wrong passwords and known browsers begin anew")
	// Sign-ins under way end with the old one; those that wait come again.
	return next.Throttle, opened.Close()
}

const agreedTimeout = 2 * time.Second

// sharedCounters has the throttle count in a store that several nodes use: each
// would let through the whole limit else, and the directory lock the account.
//
// Its errors are the store's, as a sign-in tells of them: nobody is asked while
// nobody can count.
type sharedCounters struct {
	storedCounters
	budgets sessionstore.Budgets
}

// Reserve implements throttle.Shared.
func (s sharedCounters) Reserve(ctx context.Context, r throttle.Reservation) (throttle.Reserved, error) {
	groups := make([][]sessionstore.Budget, len(r.Groups))
	for i, group := range r.Groups {
		groups[i] = storedBudgets(group)
	}
	stored, err := s.budgets.Reserve(ctx, sessionstore.Reservation{Attempt: r.Attempt, Held: storedBudgets(r.Held), Groups: groups})
	if err != nil {
		return throttle.Reserved{}, storeError{err}
	}
	reserved := throttle.Reserved{Taken: stored.Taken}
	for _, standing := range stored.Standings {
		reserved.Standings = append(reserved.Standings, throttle.Standing(standing))
	}
	return reserved, nil
}

// Settle implements throttle.Shared.
func (s sharedCounters) Settle(ctx context.Context, settled throttle.Settlement) (overflow []int, err error) {
	return s.budgets.Settle(ctx, sessionstore.Settlement{
		Attempt: settled.Attempt, Held: storedBudgets(settled.Held),
		Failed: settled.Failed, Cleared: storedBudgets(settled.Cleared),
	})
}

// Counter implements throttle.Shared.
func (s sharedCounters) Counter(ctx context.Context, key [16]byte) (throttle.Counter, bool, error) {
	c, ok, err := s.budgets.Counter(ctx, key)
	if err != nil {
		return throttle.Counter{}, false, storeError{err}
	}
	return throttle.Counter(c), ok, nil
}

func storedBudgets(budgets []throttle.Budget) []sessionstore.Budget {
	stored := make([]sessionstore.Budget, len(budgets))
	for i, b := range budgets {
		stored[i] = sessionstore.Budget(b)
	}
	return stored
}

// Interface guard
var _ throttle.Shared = sharedCounters{}
