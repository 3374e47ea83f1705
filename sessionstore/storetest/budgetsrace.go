package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

func budgetMost(t *testing.T, c *counting) {
	juan := account("juan")
	juan.Limit = 1000
	c.fail(1000, juan)
	c.blocked(quarter, juan)
	more := juan
	more.Limit = 1001
	c.fail(2, more)
	c.blocked(quarter, juan)
	c.roomy(more) // the oldest of more than a thousand is forgotten
	c.Age(t, quarter)
	c.roomy(juan)
}

// Attempts that each need what the others have, in another order: one at a time
// gets both, and all get them in the end.
func budgetCrossed(t *testing.T, c *counting) {
	one, two := account("one"), account("two")
	one.Limit, two.Limit = 1, 1
	var at, most atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		budgets, store := group{one, two}, c.store.(sessionstore.Budgets)
		if i%2 == 0 {
			budgets, store = group{two, one}, c.other.(sessionstore.Budgets)
		}
		wg.Go(func() {
			attempt := newAttempt()
			for !t.Failed() {
				r, err := store.Reserve(t.Context(), sessionstore.Reservation{Attempt: attempt, Groups: []group{budgets}})
				if err != nil {
					t.Error(err)
					return
				}
				if !r.Taken {
					time.Sleep(time.Millisecond)
					continue
				}
				if n := at.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(time.Millisecond)
				at.Add(-1)
				if _, err := store.Settle(t.Context(), sessionstore.Settlement{Attempt: attempt, Held: budgets}); err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d at once in a budget of one", most.Load())
	}
	c.keys(0, 0)
}

func budgetTogether(t *testing.T, c *counting) {
	const limit, workers = 20, 16
	juan := account("juan")
	juan.Limit = limit
	var passed, blocked atomic.Int32
	var wg sync.WaitGroup
	for i := range workers {
		store := []sessionstore.Store{c.store, c.other}[i%2].(sessionstore.Budgets)
		wg.Go(func() {
			for !t.Failed() {
				attempt := newAttempt()
				home := source(fmt.Sprint(i))
				home.Limit = 1000
				budgets := group{juan, home}
				r, err := store.Reserve(t.Context(), sessionstore.Reservation{Attempt: attempt, Groups: []group{budgets}})
				if err != nil {
					t.Error(err)
					return
				}
				if r.Taken {
					passed.Add(1)
					if _, err := store.Settle(t.Context(), sessionstore.Settlement{Attempt: attempt, Held: budgets, Failed: true}); err != nil {
						t.Error(err)
					}
				} else if r.Standings[0].Blocked > 0 {
					blocked.Add(1)
					return
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != limit || blocked.Load() != workers {
		t.Errorf("%d attempts passed and %d were blocked, want %d and %d", passed.Load(), blocked.Load(), limit, workers)
	}
}

func budgetCounter(t *testing.T, c *counting) {
	kept, past, never := NewCounter("kept"), NewCounter("past"), NewCounter("never")
	past.Expires = time.Now().Add(-time.Second)
	if err := c.store.SaveCounters(t.Context(), []sessionstore.Counter{kept, past}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		counter sessionstore.Counter
		want    bool
	}{{kept, true}, {past, false}, {never, false}} {
		got, ok, err := c.next().Counter(t.Context(), test.counter.Key)
		if err != nil || ok != test.want {
			t.Errorf("%s: %v, error %v", test.counter.Value, ok, err)
		}
		if ok && (got.Key != test.counter.Key || string(got.Value) != string(test.counter.Value) || !got.Expires.Equal(test.counter.Expires)) {
			t.Errorf("got %q until %s", got.Value, got.Expires)
		}
	}
	// Budgets are no counters.
	c.fail(1, sessionstore.Budget{Key: never.Key, Limit: 3, Window: quarter, Room: 10})
	if _, ok, err := c.next().Counter(t.Context(), never.Key); ok || err != nil {
		t.Errorf("a budget is read as a counter: %v, %v", ok, err)
	}
}

func budgetEnded(t *testing.T, c *counting) {
	calls := map[string]func(context.Context) error{
		"Reserve": func(ctx context.Context) error {
			_, err := c.store.(sessionstore.Budgets).Reserve(ctx, sessionstore.Reservation{Attempt: newAttempt(), Groups: []group{{account("juan")}}})
			return err
		},
		"Settle": func(ctx context.Context) error {
			_, err := c.store.(sessionstore.Budgets).Settle(ctx, sessionstore.Settlement{Attempt: newAttempt(), Held: group{account("juan")}, Failed: true})
			return err
		},
		"Counter": func(ctx context.Context) error {
			_, _, err := c.store.(sessionstore.Budgets).Counter(ctx, counterKey("juan"))
			return err
		},
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range calls {
		if err := call(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v", name, err)
		}
	}
	c.keys(0, 0)
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		if err := call(t.Context()); !errors.Is(err, sessionstore.ErrClosed) {
			t.Errorf("%s, closed: %v", name, err)
		}
	}
}
