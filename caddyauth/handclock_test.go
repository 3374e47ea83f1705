package caddyauth

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/badgerstore"
)

// handClock is the sessions' clock, which goes on when a test says so.
type handClock struct {
	wall    atomic.Int64 // Unix nanoseconds
	elapsed atomic.Int64
}

// pass lets time pass.
func (c *handClock) pass(d time.Duration) {
	c.elapsed.Add(int64(d))
	c.wall.Add(int64(d))
}

// setBack is what somebody does to the machine's clock.
func (c *handClock) setBack(d time.Duration) { c.wall.Add(-int64(d)) }

// startByHand is start with sessions on a clock of the test's own: they are in
// the pool before Caddy asks for them.
func startByHand(t *testing.T, setup setup) (*server, *handClock) {
	t.Helper()
	s, clock := newServer(t, setup), new(handClock)
	clock.wall.Store(time.Now().UnixNano())
	folder := resolveSymlinks(s.folder)
	resource := (&Badger{folder: folder}).Resource()
	handle, err := acquireStore(resource)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := stores.Delete(resource); err != nil {
			t.Error(err)
		}
	})
	store, err := badgerstore.Open(folder, badgerstore.Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	sessions := sessionstore.New(store, sessionstore.Options{
		Now:     func() time.Time { return time.Unix(0, clock.wall.Load()) },
		Elapsed: func() time.Duration { return time.Duration(clock.elapsed.Load()) },
	}, handle.logger)
	if err := handle.throttle.open(sessions, handle.logger); err != nil {
		t.Fatal(err)
	}
	handle.sessions.Store(sessions)
	close(handle.ready)
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	return s, clock
}
