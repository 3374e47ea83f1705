package redisstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// readers ask for a session again and again until the test stops them.
type readers struct {
	there, missing, failed atomic.Int64
	stop                   func()
}

func read(t *testing.T, s *Store, key sessionstore.Key) *readers {
	r := &readers{}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for ctx.Err() == nil {
				switch _, _, ok, err := s.Get(t.Context(), key); {
				case err != nil:
					r.failed.Add(1)
				case ok:
					r.there.Add(1)
				default:
					r.missing.Add(1)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	r.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(r.stop)
	return r
}

// more waits until so many more reads found the session.
func (r *readers) more(t *testing.T, n int64) {
	t.Helper()
	from := r.there.Load()
	eventually(t, "read", func() bool { return r.there.Load() >= from+n })
}

// A socket that is cut costs nobody an answer: who only reads asks again.
func TestACutSocketIsNoOutage(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	proxy := netfault.NewProxy(t, server.Addr)
	s := open(t, Options{Addresses: []string{proxy.Addr()}})
	r := read(t, s, create(t, s))
	for range 20 {
		r.more(t, 40)
		proxy.Cut()
	}
	r.more(t, 40)
	r.stop()
	// A busy machine may have been too slow for one of them.
	if failed, missing := r.failed.Load(), r.missing.Load(); failed > 8 || missing > 0 {
		t.Errorf("%d reads failed, and %d found no session; %d found it", failed, missing, r.there.Load())
	}
}

// The address leads to a server without sessions for a moment: a replica of
// another one, an empty one. Nobody has been signed out by that.
func TestSessionsAreNotLookedForElsewhere(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	_, replica := replicated(t)
	proxy := netfault.NewProxy(t, server.Addr)
	s := open(t, Options{Addresses: []string{proxy.Addr()}})
	r := read(t, s, create(t, s))
	for range 10 {
		r.more(t, 20)
		proxy.Lead(replica.Addr)
		proxy.Cut()
		failed := r.failed.Load()
		eventually(t, "refused", func() bool { return r.failed.Load() > failed+20 })
		proxy.Lead(server.Addr)
		proxy.Cut()
	}
	r.more(t, 20)
	r.stop()
	if missing := r.missing.Load(); missing > 0 {
		t.Errorf("%d reads found no session, of %d", missing, missing+r.there.Load())
	}
}

// What is connected stays where it is, and new connections are led to another
// primary, with a replica of its own: that one's word does not end a session.
func TestAnEndElsewhereIsNotAcknowledged(t *testing.T) {
	server, _ := replicated(t)
	other, _ := replicated(t)
	proxy := netfault.NewProxy(t, server.Addr)
	s := open(t, Options{Addresses: []string{proxy.Addr()}})
	key := create(t, s)
	eventually(t, "the replica is known", replicasKnown(s))
	proxy.Lead(other.Addr)
	if ok, err := s.Delete(t.Context(), key); ok || !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("Delete: %v, %v", ok, err)
	}
	proxy.Lead(server.Addr)
	eventually(t, "ended", func() bool {
		_, err := s.Delete(t.Context(), key)
		return err == nil
	})
	if stored(t, s, server, key) {
		t.Error("the session is there after its end")
	}
}

// A failover that somebody asks for pauses writes; sessions are read meanwhile.
func TestPausedWritesAreNoOutage(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	log := &buffer{}
	s := openLogging(t, Options{Addresses: []string{server.Addr}}, log)
	key := create(t, s)
	c := raw(t, Options{Addresses: []string{server.Addr}})
	if err := c.Do(t.Context(), c.B().ClientPause().Timeout(60_000).Write().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	first := s.client.connection.Load()
	for began := time.Now(); time.Since(began) < 5*healthTimeout; time.Sleep(10 * time.Millisecond) {
		there(t, s, key, true)
	}
	if err := c.Do(t.Context(), c.B().ClientUnpause().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if s.client.connection.Load() != first {
		t.Errorf("the connection was left:\n%s", log.String())
	}
}

// What keeps sessions in use from ending needs no room: neither they nor groups
// that were taken away come back as they were because the memory is full.
func TestFullMemoryEndsNoSessionInUse(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"maxmemory-policy noeviction"}})
	s := open(t, Options{Addresses: []string{server.Addr}})
	key := create(t, s)
	session, seen, _, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	set(t, server, "maxmemory", "1")
	if err := s.Create(t.Context(), storetest.NewKey(), session, nil); !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Fatalf("Create: %v: the memory is not full", err)
	}
	for i := range 3 {
		seen = seen.Add(time.Minute)
		if err := s.Touch(t.Context(), []sessionstore.Touch{{Key: key, Seen: seen}}); err != nil {
			t.Fatal(err)
		}
		if mark, err := s.Mark(t.Context(), seen); err != nil || !mark.Equal(seen) {
			t.Fatalf("Mark %d: %v, %v", i, mark, err)
		}
	}
	changed := *session
	changed.User.Groups = nil
	if ok, err := s.Update(t.Context(), key, &changed); !ok || err != nil {
		t.Fatalf("Update: %v, %v", ok, err)
	}
	got, at, ok, err := s.Get(t.Context(), key)
	if err != nil || !ok || len(got.User.Groups) != 0 || !at.Equal(seen) {
		t.Errorf("%v, %v; last seen %v, want %v; groups %v", ok, err, at, seen, got.User.Groups)
	}
}

// The store says up to when it has told of all changes; while nothing comes from
// the server it does not.
func TestTheServerIsHeardAllTheTime(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	proxy := netfault.NewProxy(t, server.Addr)
	s := open(t, Options{Addresses: []string{proxy.Addr()}})
	var last atomic.Pointer[time.Time]
	s.Notify(func(sessionstore.Key) {}, func() {}, func(at time.Time) { last.Store(&at) })
	after := func(at time.Time) func() bool {
		return func() bool { heard := last.Load(); return heard != nil && heard.After(at) }
	}
	for range 5 {
		eventually(t, "heard", after(time.Now()))
	}
	proxy.Stall()
	stalled := time.Now()
	time.Sleep(4 * healthEvery)
	if after(stalled)() {
		t.Errorf("heard until %v after the server went silent", last.Load().Sub(stalled))
	}
	proxy.Resume()
	eventually(t, "heard again", after(time.Now()))
}
