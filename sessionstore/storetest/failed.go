package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// answer is what a call has returned.
type answer struct {
	err     error
	results []any
}

// wantNothing checks that a call that failed has returned nothing else: part of
// a page, or of what was deleted, would pass for the whole of it.
func (a *answer) wantNothing(t *testing.T, what string) {
	t.Helper()
	if a.err == nil {
		return
	}
	for _, result := range a.results {
		if v := reflect.ValueOf(result); v.IsValid() && !v.IsZero() {
			t.Errorf("%s: returned %+v with error %v", what, result, a.err)
		}
	}
}

// calls makes every call once, each with a context of its own.
func calls(store sessionstore.Store, newContext func() context.Context, key, fresh sessionstore.Key) map[string]*answer {
	answers := map[string]*answer{}
	note := func(name string) func(err error, results ...any) {
		return func(err error, results ...any) { answers[name] = &answer{err, results} }
	}
	session, seen, ok, err := store.Get(newContext(), key)
	note("Get")(err, session, seen, ok)
	ok, err = store.Delete(newContext(), key)
	note("Delete")(err, ok)
	record, ok, err := store.User(newContext(), "empresa.local", "id-1")
	note("User")(err, record, ok)
	note("Create")(store.Create(newContext(), fresh, NewSession("id-1"), nil))
	note("Touch")(store.Touch(newContext(), []sessionstore.Touch{{Key: key, Seen: time.Now()}}))
	ok, err = store.Update(newContext(), key, NewSession("id-1"))
	note("Update")(err, ok)
	note("SaveCounters")(store.SaveCounters(newContext(), []sessionstore.Counter{NewCounter("x")}))
	counters := 0
	err = store.Counters(newContext(), func(sessionstore.Counter) error { counters++; return nil })
	note("Counters")(err, counters)
	at, err := store.Mark(newContext(), time.Now())
	note("Mark")(err, at)
	at, err = store.Mark(newContext(), time.Time{})
	note("Mark of none")(err, at)
	note("Drop")(store.Drop(newContext(), []sessionstore.Key{key}))
	deleted, err := store.DeleteUser(newContext(), "empresa.local", "id-1", nil)
	note("DeleteUser")(err, deleted)
	page, next, err := store.List(newContext(), sessionstore.ListQuery{Limit: 1 << 20})
	note("List")(err, page, next)
	page, next, err = store.List(newContext(), sessionstore.ListQuery{Limit: 1})
	note("List of one")(err, page, next)
	found, ok, err := store.Find(newContext(), "x")
	note("Find")(err, found, ok)
	counts, err := store.Count(newContext())
	note("Count")(err, counts)
	users, next, err := store.Users(newContext(), "", 1<<20)
	note("Users")(err, users, next)
	secret, err := store.Secret(newContext(), "cancelled", []byte("fresh"))
	note("Secret")(err, secret)
	return answers
}

// impatient is a context that ends when it is looked at the n-th time, which no
// store can foresee.
type impatient struct {
	context.Context
	end   context.CancelFunc
	looks atomic.Int64
}

func newImpatient(ctx context.Context, n int) *impatient {
	c := &impatient{}
	c.Context, c.end = context.WithCancel(ctx)
	c.looks.Store(int64(n))
	return c
}

func (c *impatient) look() {
	if c.looks.Add(-1) <= 0 {
		c.end()
	}
}

func (c *impatient) Done() <-chan struct{} {
	c.look()
	return c.Context.Done()
}

func (c *impatient) Err() error {
	c.look()
	return c.Context.Err()
}

// A call that is given up, or crosses Close, returns all or nothing. What it did
// in spite of its error is another matter.
func failedMidway(t *testing.T, b *bench) {
	fill := func(n int, id func(i int) string) {
		t.Helper()
		var wg sync.WaitGroup
		for w := range 15 {
			wg.Go(func() {
				for i := w; i < n; i += 15 {
					if err := b.Create(t.Context(), NewKey(), NewSession(id(i)), nil); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	var key sessionstore.Key
	store := b.Store
	try := func(newContext func() context.Context, want error) (failed int) {
		for name, answer := range calls(store, newContext, key, NewKey()) {
			if answer.err == nil {
				continue
			}
			failed++
			if !errors.Is(answer.err, want) {
				t.Errorf("%s: error %v, want %v", name, answer.err, want)
			}
			if name != "Counters" { // those that it has met were met
				answer.wantNothing(t, name)
			}
		}
		return failed
	}

	// More than one step deletes or reads.
	fill(1100, func(i int) string { return fmt.Sprint("other-", i) })
	for looks := 1; looks < 10 && !t.Failed(); looks++ {
		have := len(b.list(of("empresa.local", "id-1")))
		fill(250-have, func(int) string { return "id-1" })
		key = b.create(NewSession("id-2"), nil)
		var ends []context.CancelFunc
		try(func() context.Context {
			c := newImpatient(t.Context(), looks)
			ends = append(ends, c.end)
			return c
		}, context.Canceled)
		for _, end := range ends {
			end()
		}
	}

	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for try(t.Context, sessionstore.ErrClosed) == 0 {
			}
		})
	}
	time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	if err := store.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
}
