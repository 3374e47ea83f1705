package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// NewCounter returns a counter of that name and value, for an hour.
func NewCounter(name string) sessionstore.Counter {
	return sessionstore.Counter{Key: counterKey(name), Value: []byte(name), Expires: time.Now().Add(time.Hour).Round(0).UTC()}
}

func counterKey(name string) (key [16]byte) {
	sum := sha256.Sum256([]byte(name))
	copy(key[:], sum[:])
	return key
}

func (b *bench) save(counters ...sessionstore.Counter) {
	b.t.Helper()
	if err := b.SaveCounters(b.t.Context(), counters); err != nil {
		b.t.Fatalf("SaveCounters: %v", err)
	}
}

// counters returns what is stored, each once.
func (b *bench) counters() map[[16]byte]sessionstore.Counter {
	b.t.Helper()
	all := map[[16]byte]sessionstore.Counter{}
	err := b.Counters(b.t.Context(), func(c sessionstore.Counter) error {
		if _, twice := all[c.Key]; twice {
			b.t.Errorf("counter %q comes twice", c.Value)
		}
		all[c.Key] = c
		return nil
	})
	if err != nil {
		b.t.Fatalf("Counters: %v", err)
	}
	return all
}

func (b *bench) wantCounters(want ...sessionstore.Counter) {
	b.t.Helper()
	got := b.counters()
	if len(got) != len(want) {
		b.t.Errorf("%d counters, want %d", len(got), len(want))
	}
	for _, w := range want {
		if g := got[w.Key]; string(g.Value) != string(w.Value) || !g.Expires.Equal(w.Expires) {
			b.t.Errorf("counter %q until %s, want %q until %s", g.Value, g.Expires, w.Value, w.Expires)
		}
	}
}

func countersKept(t *testing.T, b *bench) {
	b.wantCounters()
	b.save()
	first, odd, zero := NewCounter("first"), NewCounter("\x00\xff"), NewCounter("zero key")
	zero.Key = [16]byte{}
	largest := NewCounter("largest")
	largest.Value = []byte(strings.Repeat("v", sessionstore.MaxCounterValue))
	b.save(first, odd, zero)
	b.save(largest)
	b.wantCounters(first, odd, zero, largest)

	first.Value, first.Expires = []byte("again"), first.Expires.Add(time.Hour)
	b.save(first)
	b.reopen()
	b.wantCounters(first, odd, zero, largest)

	// One that has expired, or does soon.
	past, soon := NewCounter("past"), NewCounter("soon")
	past.Expires = time.Now().Add(-time.Second)
	soon.Expires = time.Now().Add(50 * time.Millisecond)
	odd.Expires = past.Expires
	b.save(past, soon, odd)
	time.Sleep(time.Until(soon.Expires) + time.Millisecond)
	b.wantCounters(first, zero, largest)
	soon.Expires = time.Now().Add(time.Hour)
	b.save(soon)
	b.wantCounters(first, zero, largest, soon)

	// What was given and what was got is the caller's.
	value := []byte("mine")
	mine := NewCounter("mine")
	mine.Value = value
	b.save(mine)
	value[0] = 'X'
	if err := b.Counters(t.Context(), func(c sessionstore.Counter) error { clear(c.Value); return nil }); err != nil {
		t.Error(err)
	}
	mine.Value = []byte("mine")
	b.wantCounters(first, zero, largest, soon, mine)

	// Sessions and secrets are not counters.
	b.create(NewSession("id-1"), nil)
	if _, err := b.Secret(t.Context(), "secret", []byte("secret")); err != nil {
		t.Error(err)
	}
	b.wantCounters(first, zero, largest, soon, mine)
}

func countersDeleted(t *testing.T, b *bench) {
	kept, gone, twice := NewCounter("kept"), NewCounter("gone"), NewCounter("twice")
	b.save(kept, gone)
	never := sessionstore.Counter{Key: counterKey("never there")}
	empty := sessionstore.Counter{Key: gone.Key, Value: []byte{}}
	b.save(never, empty)
	b.wantCounters(kept)
	b.save(twice, sessionstore.Counter{Key: twice.Key})
	b.wantCounters(kept)
	b.save(sessionstore.Counter{Key: twice.Key}, twice)
	b.reopen()
	b.wantCounters(kept, twice)
}

func countersRefused(t *testing.T, b *bench) {
	kept := NewCounter("kept")
	b.save(kept)
	for name, spoil := range map[string]func(*sessionstore.Counter){
		"too long":       func(c *sessionstore.Counter) { c.Value = make([]byte, sessionstore.MaxCounterValue+1) },
		"far too long":   func(c *sessionstore.Counter) { c.Value = make([]byte, 2<<20) },
		"without expiry": func(c *sessionstore.Counter) { c.Expires = time.Time{} },
		"expires never":  func(c *sessionstore.Counter) { c.Expires = time.Unix(1<<60, 0) },
	} {
		bad := NewCounter("bad")
		spoil(&bad)
		changed := kept
		changed.Value = []byte("changed")
		if err := b.SaveCounters(t.Context(), []sessionstore.Counter{changed, NewCounter("other"), bad}); err == nil {
			t.Errorf("%s: it was stored", name)
		}
		b.wantCounters(kept)
	}
}

func countersMany(t *testing.T, b *bench) {
	var all []sessionstore.Counter
	for i := range 3000 {
		c := NewCounter(fmt.Sprint(i))
		if i%3 == 0 {
			c.Value = []byte(strings.Repeat("v", sessionstore.MaxCounterValue))
		}
		all = append(all, c)
	}
	b.save(all...)
	b.wantCounters(all...)
	b.reopen()
	b.wantCounters(all...)
	var none []sessionstore.Counter
	for _, c := range all[:2500] {
		none = append(none, sessionstore.Counter{Key: c.Key})
	}
	b.save(none...)
	b.wantCounters(all[2500:]...)
}

func countersYield(t *testing.T, b *bench) {
	const n = 2000
	all := make([]sessionstore.Counter, n)
	for i := range all {
		all[i] = NewCounter(fmt.Sprint(i))
	}
	b.save(all...)

	enough := errors.New("enough")
	for _, stop := range []int{1, 10, n} {
		calls := 0
		err := b.Counters(t.Context(), func(sessionstore.Counter) error {
			if calls++; calls == stop {
				return enough
			}
			return nil
		})
		if err != enough || calls != stop {
			t.Errorf("stopped at %d: %d calls, error %v, want the error itself", stop, calls, err)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := b.Counters(ctx, func(sessionstore.Counter) error { calls++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || calls == n {
		t.Errorf("cancelled on the way: %d calls, error %v", calls, err)
	}

	// yield works with the store itself; those that it does not change come all.
	calls = 0
	err = b.Counters(t.Context(), func(c sessionstore.Counter) error {
		if calls++; calls%100 != 1 {
			return nil
		}
		b.create(NewSession("id-1"), nil)
		return b.SaveCounters(t.Context(), []sessionstore.Counter{{Key: c.Key}})
	})
	if err != nil || calls != n {
		t.Errorf("%d calls, error %v, want %d", calls, err, n)
	}
	if left := len(b.counters()); left != n-n/100 {
		t.Errorf("%d are left, want %d", left, n-n/100)
	}

	// Closing does not wait for a reader that takes its time.
	calls = 0
	err = b.Counters(t.Context(), func(sessionstore.Counter) error {
		if calls++; calls == 1 {
			return b.Store.Close()
		}
		return nil
	})
	if err != nil && !errors.Is(err, sessionstore.ErrClosed) {
		t.Errorf("closed on the way: error %v", err)
	}
}

func countersAtOnce(t *testing.T, b *bench) {
	const workers, rounds = 8, 30
	write := func(w int) {
		for round := range rounds {
			c := NewCounter(fmt.Sprint("worker ", w))
			value := make([]byte, 64) // the round in every place
			for i := 0; i < len(value); i += 8 {
				binary.BigEndian.PutUint64(value[i:], uint64(round+1))
			}
			c.Value = value
			if err := b.SaveCounters(t.Context(), []sessionstore.Counter{c, NewCounter(fmt.Sprint(w, round))}); err != nil {
				t.Error(err)
			}
		}
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { write(w) })
		wg.Go(func() {
			last := uint64(0)
			for last < rounds && !t.Failed() {
				err := b.Counters(t.Context(), func(c sessionstore.Counter) error {
					if c.Key != counterKey(fmt.Sprint("worker ", w)) {
						return nil
					}
					n := binary.BigEndian.Uint64(c.Value)
					for i := 0; i < len(c.Value); i += 8 {
						if binary.BigEndian.Uint64(c.Value[i:]) != n {
							return fmt.Errorf("value %x is of several writes", c.Value)
						}
					}
					if n < last {
						return fmt.Errorf("round %d was read after round %d", n, last)
					}
					last = n
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := len(b.counters()); n != workers+workers*rounds {
		t.Errorf("%d counters, want %d", n, workers+workers*rounds)
	}
}
