package redisstore

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// promise is how soon another node must know of a change, or of not knowing. The
// tests grant a slow machine more, and log what it was.
const (
	promise = time.Second
	grace   = 10 * time.Second
)

// ear collects what Notify tells.
type ear struct {
	mu      sync.Mutex
	changed map[sessionstore.Key]time.Time
	losses  []time.Time
}

func listen(s *Store) *ear {
	<-s.tried.Load().over // what changes before it has connected, nobody has read
	e := &ear{changed: map[sessionstore.Key]time.Time{}}
	s.Notify(func(key sessionstore.Key) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.changed[key] = time.Now()
	}, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.losses = append(e.losses, time.Now())
	}, func(time.Time) {})
	return e
}

func (e *ear) changedSince(key sessionstore.Key, since time.Time) func() bool {
	return func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.changed[key].After(since)
	}
}

func (e *ear) lostSince(since time.Time) func() bool {
	return func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return slices.ContainsFunc(e.losses, func(at time.Time) bool { return at.After(since) })
	}
}

// eventually waits for ok, and tells how long that took.
func eventually(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > grace {
			t.Fatalf("%s: not within %v", what, grace)
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	t.Logf("%s: after %v", what, took.Round(time.Millisecond))
	if took > promise {
		t.Logf("%s: later than promised, which a busy machine may be the reason of", what)
	}
	return took
}

func TestChangesOfAnotherClientArrive(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	here, there := open(t, Options{Addresses: []string{server.Addr}}), open(t, Options{Addresses: []string{server.Addr}})
	elsewhere := open(t, Options{Addresses: []string{server.Addr}, Prefix: "ldap_auth2"})
	ear := listen(here)
	session := storetest.NewSession("ana")
	key, ctx := storetest.NewKey(), t.Context()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"a sign-in", func() error { return there.Create(ctx, key, session, nil) }},
		{"an update", func() error { _, err := there.Update(ctx, key, session); return err }},
		{"a delete", func() error { _, err := there.Delete(ctx, key); return err }},
		{"a sign-in again", func() error { return there.Create(ctx, key, session, nil) }},
		{"the end of a user's sessions", func() error { _, err := there.DeleteUser(ctx, "empresa.local", "ana", nil); return err }},
		{"a sign-in once more", func() error { return there.Create(ctx, key, session, nil) }},
		{"a sign-in that replaces it", func() error { return there.Create(ctx, storetest.NewKey(), session, &key) }},
	} {
		since := time.Now()
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		eventually(t, step.name, ear.changedSince(key, since))
	}

	// What is no change of ours tells nothing. A change that comes last has
	// overtaken none.
	touched, other, last := storetest.NewKey(), storetest.NewKey(), storetest.NewKey()
	if err := there.Create(ctx, touched, session, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sign-in", ear.changedSince(touched, time.Time{}))
	since := time.Now()
	if err := there.Touch(ctx, []sessionstore.Touch{{Key: touched, Seen: session.Created.Add(time.Minute)}}); err != nil {
		t.Fatal(err)
	}
	if err := elsewhere.Create(ctx, other, session, nil); err != nil {
		t.Fatal(err)
	}
	if err := there.Create(ctx, last, session, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last change", ear.changedSince(last, since))
	if ear.changedSince(touched, since)() || ear.changedSince(other, time.Time{})() {
		t.Error("a touch, or another prefix's change, was told of")
	}
}

// raw is a client as an operator has it.
func raw(t *testing.T, options Options) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(options.client())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestALostStreamIsToldOf(t *testing.T) {
	for name, test := range map[string]struct {
		breakIt func(t *testing.T, server *realserver.Redis, proxy *netfault.Proxy)
		mend    func(t *testing.T, server *realserver.Redis, proxy *netfault.Proxy)
	}{
		"the server is killed": {
			func(_ *testing.T, server *realserver.Redis, _ *netfault.Proxy) { server.Kill() },
			func(t *testing.T, server *realserver.Redis, _ *netfault.Proxy) { server.Restart(t) },
		},
		"the connection is killed": {
			func(t *testing.T, server *realserver.Redis, _ *netfault.Proxy) {
				c := raw(t, Options{Addresses: []string{server.Addr}})
				if err := c.Do(t.Context(), c.B().ClientKill().TypeNormal().SkipmeYes().Build()).Error(); err != nil {
					t.Error(err)
				}
			},
			func(*testing.T, *realserver.Redis, *netfault.Proxy) {},
		},
		"the network goes silent": {
			func(_ *testing.T, _ *realserver.Redis, proxy *netfault.Proxy) { proxy.Stall() },
			func(_ *testing.T, _ *realserver.Redis, proxy *netfault.Proxy) { proxy.Resume() },
		},
		"the network forgets the connection": {
			func(_ *testing.T, _ *realserver.Redis, proxy *netfault.Proxy) { proxy.StallOpen() },
			func(*testing.T, *realserver.Redis, *netfault.Proxy) {},
		},
		"everything is flushed": {
			func(t *testing.T, server *realserver.Redis, _ *netfault.Proxy) {
				c := raw(t, Options{Addresses: []string{server.Addr}})
				if err := c.Do(t.Context(), c.B().Flushall().Build()).Error(); err != nil {
					t.Error(err)
				}
			},
			func(*testing.T, *realserver.Redis, *netfault.Proxy) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := realserver.NewRedis(t, realserver.RedisOptions{})
			proxy := netfault.NewProxy(t, server.Addr)
			here := open(t, Options{Addresses: []string{proxy.Addr()}})
			there := open(t, Options{Addresses: []string{server.Addr}})
			ear := listen(here)
			if _, _, ok, err := here.Get(t.Context(), storetest.NewKey()); ok || err != nil {
				t.Fatal(ok, err)
			}
			since := time.Now()
			test.breakIt(t, server, proxy)
			eventually(t, "told of the loss", ear.lostSince(since))
			test.mend(t, server, proxy)

			// Back by itself, and told of changes again.
			key := storetest.NewKey()
			eventually(t, "there again", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, _, _, err := here.Get(ctx, key)
				_, errThere := there.Count(ctx)
				return err == nil && errThere == nil
			})
			since = time.Now()
			if err := there.Create(t.Context(), key, storetest.NewSession("ana"), nil); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a change", ear.changedSince(key, since))
		})
	}
}

// A call on a server that has gone silent ends with its context, and by itself
// soon.
func TestCallsOfASilentServer(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	proxy := netfault.NewProxy(t, server.Addr)
	s := open(t, Options{Addresses: []string{proxy.Addr()}})
	proxy.Stall()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(30*time.Millisecond, cancel)
	began := time.Now()
	if _, _, _, err := s.Get(ctx, storetest.NewKey()); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v, want the error of the context", err)
	}
	t.Logf("a cancelled call ended after %v", time.Since(began).Round(time.Millisecond))
	for range 3 {
		began = time.Now()
		_, err := s.Delete(t.Context(), storetest.NewKey())
		took := time.Since(began)
		if err == nil || errors.Is(err, context.Canceled) || took > grace {
			t.Errorf("Delete: %v after %v", err, took)
		}
		t.Logf("a call ended after %v: %v", took.Round(time.Millisecond), err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := s.Count(t.Context()); !errors.Is(err, sessionstore.ErrClosed) {
		t.Errorf("Count of a closed store: %v", err)
	}
}

// Two nodes on one server: a sign-out on one is refused by the other within a
// second, also while requests hammer it.
func TestASignOutHoldsOnTheOtherNode(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	node := func() *sessionstore.Sessions {
		store, err := Open(Options{Addresses: []string{server.Addr}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		sessions := sessionstore.New(store, sessionstore.Options{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
		t.Cleanup(func() {
			if err := sessions.Close(); err != nil {
				t.Error(err)
			}
		})
		return sessions
	}
	here, there := node(), node()
	limits := sessionstore.Limits{Idle: time.Hour, Absolute: 12 * time.Hour}
	var delays []time.Duration
	// A machine that is busy for long enough counts as a server that hangs: such a
	// round is not judged.
	busy := func(err error) bool { return errors.Is(err, sessionstore.ErrUnavailable) }
	for range 40 {
		token, _, err := there.SignIn(t.Context(), storetest.NewSession("ana").User, "192.0.2.1", limits, nil)
		if busy(err) {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var served atomic.Int64 // when somebody was last served, after the sign-out
		var acknowledged atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					after := acknowledged.Load() != 0
					_, result, err := here.Lookup(t.Context(), token, limits, true)
					if busy(err) {
						time.Sleep(time.Millisecond)
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					if result == sessionstore.Live && after {
						served.Store(time.Now().UnixNano())
					}
				}
			})
		}
		eventually(t, "served", func() bool {
			h, result, err := here.Lookup(t.Context(), token, limits, true)
			if err != nil && !busy(err) || err == nil && (result != sessionstore.Live || h.Session == nil) {
				t.Fatal(result, err)
			}
			return err == nil
		})
		ended, err := there.End(t.Context(), token)
		if err != nil && !busy(err) || err == nil && ended == nil {
			t.Error(ended, err)
		}
		if err != nil {
			close(stop)
			wg.Wait()
			continue
		}
		at := time.Now().UnixNano()
		acknowledged.Store(at)
		eventually(t, "refused", func() bool {
			_, result, err := here.Lookup(t.Context(), token, limits, true)
			return err == nil && result == sessionstore.Unknown
		})
		time.Sleep(5 * time.Millisecond)
		close(stop)
		wg.Wait()
		if _, result, err := here.Lookup(t.Context(), token, limits, true); !busy(err) && (result != sessionstore.Unknown || err != nil) {
			t.Fatalf("it came back: %v, %v", result, err)
		}
		delays = append(delays, time.Duration(max(served.Load()-at, 0)))
	}
	if len(delays) < 10 {
		t.Fatalf("%d rounds could be judged", len(delays))
	}
	slices.Sort(delays)
	t.Logf("served after the acknowledgement: median %v, longest %v", delays[len(delays)/2], delays[len(delays)-1])
	if longest := delays[len(delays)-1]; longest > promise {
		t.Errorf("a session was served for %v after its sign-out elsewhere", longest)
	}
}

// What a sign-in replaced, and nothing else, is known to all for a minute.
func TestReplacedIsKnownToAll(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	options := Options{Addresses: []string{server.Addr}}
	here, there := open(t, options), open(t, options)
	ctx := t.Context()
	first, second, never := storetest.NewKey(), storetest.NewKey(), storetest.NewKey()
	if err := here.Create(ctx, first, storetest.NewSession("ana"), nil); err != nil {
		t.Fatal(err)
	}
	if err := here.Create(ctx, second, storetest.NewSession("ana"), &first); err != nil {
		t.Fatal(err)
	}
	// Its client made that one up: nothing of it is stored.
	if err := here.Create(ctx, storetest.NewKey(), storetest.NewSession("ana"), &never); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Delete(ctx, second); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[sessionstore.Key]bool{first: true, second: false, never: false} {
		if got, err := there.Replaced(ctx, key); got != want || err != nil {
			t.Errorf("Replaced: %v, %v, want %v", got, err, want)
		}
	}
	c := raw(t, options)
	left, err := c.Do(ctx, c.B().Pttl().Key(here.keys.replacedBy(first)).Build()).AsInt64()
	if err != nil || left <= 0 || left > replacedFor.Milliseconds() {
		t.Errorf("it is known for %d ms more (error %v)", left, err)
	}
}
