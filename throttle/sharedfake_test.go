package throttle

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// fakeShared is a Shared in memory. It has no lease: that is tested with a
// real one.
type fakeShared struct {
	*fakeBackend
	now func() time.Time

	mu      sync.Mutex
	budgets map[key]*fakeBudget
	hasRoom func(Budget) bool // nil: all
	down    error             // of all calls; with late after they were done
	late    bool
	answer  *Reserved // in place of the true one
	settled []Settlement
	asked   int // reservations
}

type fakeBudget struct {
	failures []time.Time
	places   []key
}

func newFakeShared() *fakeShared {
	return &fakeShared{fakeBackend: newFakeBackend(), now: time.Now, budgets: map[key]*fakeBudget{}}
}

func (f *fakeShared) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeShared) budget(k key) *fakeBudget {
	if f.budgets[k] == nil {
		f.budgets[k] = &fakeBudget{}
	}
	return f.budgets[k]
}

func (f *fakeShared) room(b Budget) bool {
	return f.hasRoom == nil || f.hasRoom(b) || len(f.budget(b.Key).failures) > 0
}

func (b *fakeBudget) leave(attempt key) {
	if i := slices.Index(b.places, attempt); i >= 0 {
		b.places = slices.Delete(b.places, i, i+1)
	}
}

func (f *fakeShared) Reserve(ctx context.Context, r Reservation) (Reserved, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if err := errors.Join(ctx.Err(), f.down); err != nil && !f.late {
		return Reserved{}, err
	}
	for _, b := range r.Held {
		f.budget(b.Key).leave(r.Attempt)
	}
	var reserved Reserved
	for _, group := range r.Groups {
		var s Standing
		for i, b := range group {
			counted := f.budget(b.Key)
			since := f.now().Add(-b.Window)
			failures := slices.DeleteFunc(slices.Clone(counted.failures), func(at time.Time) bool { return !at.After(since) })
			if n := len(failures); n >= b.Limit {
				if blocked := failures[n-b.Limit].Sub(since); blocked > s.Blocked {
					s.Blocked, s.By = blocked, i
				}
			} else if n+len(counted.places) >= b.Limit {
				s.Full = true
			}
			if !f.room(b) {
				s.Overflow = append(s.Overflow, i)
			}
		}
		reserved.Standings = append(reserved.Standings, s)
		if len(group) == 0 || s.Blocked > 0 || s.Full {
			continue
		}
		for i, b := range group {
			if !slices.Contains(s.Overflow, i) {
				counted := f.budget(b.Key)
				counted.places = append(counted.places, r.Attempt)
			}
		}
		reserved.Taken = true
		break
	}
	if f.answer != nil {
		return *f.answer, nil
	}
	return reserved, f.down
}

func (f *fakeShared) Settle(ctx context.Context, s Settlement) (overflow []int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled = append(f.settled, s)
	if err := errors.Join(ctx.Err(), f.down); err != nil && !f.late {
		return nil, err
	}
	for i, b := range s.Held {
		counted := f.budget(b.Key)
		counted.leave(s.Attempt)
		switch {
		case s.Failed && f.room(b):
			counted.failures = append(counted.failures, f.now())
		case s.Failed:
			overflow = append(overflow, i)
		}
	}
	for _, b := range s.Cleared {
		f.budget(b.Key).failures = nil
	}
	return overflow, nil
}

func (f *fakeShared) Counter(ctx context.Context, k [16]byte) (Counter, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(ctx.Err(), f.down); err != nil && !f.late {
		return Counter{}, false, err
	}
	c, ok := f.all()[k]
	return c, ok, nil
}

// counts sums up what is there.
func (f *fakeShared) counts() (failures, places int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.budgets {
		failures += len(b.failures)
		places += len(b.places)
	}
	return failures, places
}

func (f *fakeShared) reservations() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}
