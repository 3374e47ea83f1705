package throttle

import (
	"context"
	"time"
)

// Shared is a Backend that counts for several processes at once, so that they
// let through no more together than one limit says. A Throttle on one keeps no
// counters of its own, but for keys that there is no room for there.
//
// A budget is a key with failures and places; each call is done whole or not at
// all, by one clock for all processes. A place that nobody settles in time
// counts as a failure: whoever took it may have died after a password was sent.
type Shared interface {
	Backend

	// Reserve gives back the places that the attempt holds in r.Held, then takes
	// one in each budget of the first group in which all have room. After an
	// error it is not known whether places are taken.
	Reserve(ctx context.Context, r Reservation) (Reserved, error)

	// Settle ends the places of an attempt, and forgets the failures of the
	// budgets that are to be cleared. overflow are those of s.Held whose failure
	// could not be counted, because there is no room for their keys.
	Settle(ctx context.Context, s Settlement) (overflow []int, err error)

	// Counter returns what Save has stored under key. One that is missing or
	// cannot be read is ok == false.
	Counter(ctx context.Context, key [16]byte) (c Counter, ok bool, err error)
}

// Budget is one budget of a Shared as one attempt sees it.
type Budget struct {
	Key    [16]byte
	Source bool // its keys are bounded apart from those of the others

	// Limit is how many failures Window may hold.
	Limit  int
	Window time.Duration

	// Room is how many keys there may be for this one to be added.
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
	// place, and kept nobody out.
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
