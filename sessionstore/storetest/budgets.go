package storetest

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// BudgetsRig is one server, empty at first, for a test of its budgets.
type BudgetsRig struct {
	// Open opens the store of one more process on it, and closes it when the test
	// ends.
	Open func(t *testing.T) sessionstore.Store

	// Age makes all that is counted older by d, as if the server's clock had gone
	// forward; with a negative d as if it was set back.
	Age func(t *testing.T, d time.Duration)

	// Damage puts a value in place of a budget's.
	Damage func(t *testing.T, b sessionstore.Budget, value string)

	// Keys counts the keys of accounts and of sources.
	Keys func(t *testing.T) (accounts, sources int)
}

// RunBudgets checks the budgets of a store. prepare gives a server for each test.
func RunBudgets(t *testing.T, prepare func(t *testing.T) BudgetsRig) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *counting)
	}{
		{"failures use a budget up for its window", budgetFails},
		{"the longest block of a group is told, with whose it is", budgetBlocked},
		{"places under way fill a budget, and waiting does not help who is blocked", budgetFull},
		{"places are taken in all budgets of a group or in none", budgetAllOrNone},
		{"the first group with room is taken", budgetGroups},
		{"an attempt gives back what it holds before it takes more", budgetHeld},
		{"what is given back counts nothing and leaves nothing", budgetReleased},
		{"a clear forgets failures, and no place of others", budgetCleared},
		{"accounts and sources of one key are two budgets", budgetSpaces},
		{"a limit or window that has changed counts at once", budgetLimits},
		{"a place that nobody settles counts as a failure", budgetLease},
		{"a clock that was set back blocks for no longer than a window", budgetClock},
		{"what is damaged counts as nothing", budgetDamaged},
		{"a key without room is told of, and no live one makes room", budgetOverflow},
		{"what has expired makes room", budgetExpired},
		{"the most failures are kept", budgetMost},
		{"attempts with crossed budgets do not hold each other up", budgetCrossed},
		{"all processes together let one limit through", budgetTogether},
		{"a counter is read by its key", budgetCounter},
		{"a call that is cancelled or comes too late says so", budgetEnded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := &counting{t: t, BudgetsRig: prepare(t)}
			c.store, c.other = c.Open(t), c.Open(t)
			test.run(t, c)
		})
	}
}

// counting is a test's server with the stores of two processes, which it uses in
// turn: neither may know more than the other.
type counting struct {
	BudgetsRig
	t            *testing.T
	store, other sessionstore.Store
}

const quarter = 15 * time.Minute

// account is a budget of three failures in a quarter of an hour.
func account(name string) sessionstore.Budget {
	return sessionstore.Budget{Key: counterKey(name), Limit: 3, Window: quarter, Room: 1000}
}

func source(name string) sessionstore.Budget {
	b := account(name)
	b.Source = true
	return b
}

func newAttempt() (id [16]byte) {
	rand.Read(id[:]) // never fails: it ends the process instead
	return id
}

type group = []sessionstore.Budget

// next gives the two stores in turn.
func (c *counting) next() sessionstore.Budgets {
	c.store, c.other = c.other, c.store
	return c.store.(sessionstore.Budgets)
}

func (c *counting) reserve(r sessionstore.Reservation) sessionstore.Reserved {
	c.t.Helper()
	reserved, err := c.next().Reserve(c.t.Context(), r)
	if err != nil {
		c.t.Fatalf("Reserve: %v", err)
	}
	return reserved
}

func (c *counting) settle(s sessionstore.Settlement) (overflow []int) {
	c.t.Helper()
	overflow, err := c.next().Settle(c.t.Context(), s)
	if err != nil {
		c.t.Fatalf("Settle: %v", err)
	}
	return overflow
}

// take wants room, and returns the attempt that has the places.
func (c *counting) take(budgets ...sessionstore.Budget) (attempt [16]byte) {
	c.t.Helper()
	attempt = newAttempt()
	if r := c.reserve(sessionstore.Reservation{Attempt: attempt, Groups: []group{budgets}}); !r.Taken {
		c.t.Fatalf("no room: %+v", r)
	}
	return attempt
}

func (c *counting) fail(times int, budgets ...sessionstore.Budget) {
	c.t.Helper()
	for range times {
		c.settle(sessionstore.Settlement{Attempt: c.take(budgets...), Held: budgets, Failed: true})
	}
}

func (c *counting) release(attempt [16]byte, budgets ...sessionstore.Budget) {
	c.t.Helper()
	c.settle(sessionstore.Settlement{Attempt: attempt, Held: budgets})
}

func (c *counting) roomy(budgets ...sessionstore.Budget) {
	c.t.Helper()
	c.release(c.take(budgets...), budgets...)
}

// refused is the standing of budgets that have no room.
func (c *counting) refused(budgets ...sessionstore.Budget) sessionstore.Standing {
	c.t.Helper()
	r := c.reserve(sessionstore.Reservation{Attempt: newAttempt(), Groups: []group{budgets}})
	if r.Taken || len(r.Standings) != 1 {
		c.t.Fatalf("it has room: %+v", r)
	}
	return r.Standings[0]
}

func (c *counting) full(budgets ...sessionstore.Budget) {
	c.t.Helper()
	if s := c.refused(budgets...); s.Blocked != 0 || !s.Full {
		c.t.Errorf("%+v, want it full", s)
	}
}

// blocked wants a budget to be used up, for a time that the test takes part of.
func (c *counting) blocked(for_ time.Duration, budgets ...sessionstore.Budget) sessionstore.Standing {
	c.t.Helper()
	s := c.refused(budgets...)
	if s.Blocked > for_ || s.Blocked < for_-time.Minute {
		c.t.Errorf("%+v, want it blocked for about %v", s, for_)
	}
	return s
}

func (c *counting) keys(accounts, sources int) {
	c.t.Helper()
	if a, s := c.Keys(c.t); a != accounts || s != sources {
		c.t.Errorf("keys of %d accounts and %d sources, want %d and %d", a, s, accounts, sources)
	}
}
