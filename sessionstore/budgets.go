package sessionstore

import (
	"context"
	"fmt"
	"time"
)

// Budgets is a Store that counts attempts for all processes that use it, so
// that together they let through no more than one limit says. Whoever has an
// attempt takes places for it before, and says afterwards what they have become.
//
// A budget is a key with failures and places. Each call is done whole or not at
// all, by one clock for all processes. A time in the future, where that clock
// was set back, counts as now. What cannot be read counts as nothing, and goes; what
// a newer version has written stays, and a call that needs it fails (ErrNewerRecord).
//
// A place that is not settled within PlaceLease counts as a failure from the
// time on at which it was taken: whoever took it may have died after a password
// was sent, which must not be a free guess.
type Budgets interface {
	// Reserve gives back the places that the attempt holds in r.Held, then takes
	// one in each budget of the first group in which all have room. After an
	// error it is not known whether places are taken.
	Reserve(ctx context.Context, r Reservation) (Reserved, error)

	// Settle ends the places of an attempt, and forgets the failures of the
	// budgets that are to be cleared. overflow are those of s.Held whose failure
	// could not be counted, because there is no room for their keys.
	Settle(ctx context.Context, s Settlement) (overflow []int, err error)

	// Counter returns the counter of key that SaveCounters has stored. One that
	// is missing, damaged or expired is ok == false.
	Counter(ctx context.Context, key [16]byte) (c Counter, ok bool, err error)
}

// PlaceLease is for how long a place is under way: longer than a sign-in lasts.
const PlaceLease = time.Minute

// Budget is one budget as one attempt sees it: limits differ between
// configurations, and what is counted is the same.
type Budget struct {
	Key [16]byte

	// Source has it counted among the sources, which have a space of their own.
	Source bool

	// Limit is how many failures Window may hold, 1 to 1000. Window has whole
	// milliseconds, up to 30 days.
	Limit  int
	Window time.Duration

	// Room is how many keys there may be in its space when it needs a new one.
	Room int
}

// Reservation asks for places of one attempt.
type Reservation struct {
	Attempt [16]byte // random, of this attempt alone
	Held    []Budget
	Groups  [][]Budget
}

// Reserved is what came of a Reservation.
type Reserved struct {
	// Taken: the last group that Standings tells of had room in all budgets, and
	// the places are taken there. A group without budgets has no room.
	Taken bool

	// Standings are those of the groups, in their order, up to the one with room.
	Standings []Standing
}

// Standing is why a group has room, or has not.
type Standing struct {
	// Blocked is for how long failures alone use up the budget By, by its place
	// in the group: the longest of them. 0: none is used up.
	Blocked time.Duration
	By      int

	// Full: places under way use up what failures have left of a budget.
	Full bool

	// Overflow are the budgets for whose keys there is no room. They took no
	// place here, and kept nobody out: who asks must count them elsewhere.
	Overflow []int
}

// Settlement is the outcome of one attempt.
type Settlement struct {
	Attempt [16]byte
	Held    []Budget

	// Failed has each of Held count a failure, also where its place is gone.
	// Otherwise the places are given back.
	Failed bool

	// Cleared budgets have no failures afterwards. Places that others hold stay.
	Cleared []Budget
}

// Budgets returns the store's, nil if it has none: then this process alone uses
// it, and may count in its own memory.
func (s *Sessions) Budgets() Budgets { return s.budgets }

// guardedBudgets are the store's budgets as callers see them: see guarded.
type guardedBudgets struct {
	sessions *Sessions
	guard    *guarded
	store    Budgets
}

func (g *guardedBudgets) Reserve(ctx context.Context, r Reservation) (reserved Reserved, err error) {
	if g.sessions.closed.Load() {
		return Reserved{}, fmt.Errorf("reserving places: %w", ErrClosed)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.guard.caught("reserving places", &err)
	return g.store.Reserve(ctx, r)
}

func (g *guardedBudgets) Settle(ctx context.Context, s Settlement) (overflow []int, err error) {
	if g.sessions.closed.Load() {
		return nil, fmt.Errorf("settling places: %w", ErrClosed)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.guard.caught("settling places", &err)
	return g.store.Settle(ctx, s)
}

func (g *guardedBudgets) Counter(ctx context.Context, key [16]byte) (c Counter, ok bool, err error) {
	if g.sessions.closed.Load() {
		return Counter{}, false, fmt.Errorf("reading a counter: %w", ErrClosed)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer g.guard.caught("reading a counter", &err)
	return g.store.Counter(ctx, key)
}

var _ Budgets = (*guardedBudgets)(nil)
