package redisstore

import (
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// clockwork is a Redis and the time that passes for all nodes on it. Only their
// wall clocks differ.
type clockwork struct {
	server *realserver.Redis
	begun  time.Time
	passed atomic.Int64
	seen   rueidis.Client
}

func newClockwork(t *testing.T) *clockwork {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	return &clockwork{server: server, begun: time.Now(), seen: raw(t, Options{Addresses: []string{server.Addr}})}
}

// pass has all nodes run for d.
func (w *clockwork) pass(d time.Duration) { w.passed.Add(int64(d)) }

// clockNode is a node whose wall clock is wrong.
type clockNode struct {
	*sessionstore.Sessions
	work *clockwork
	log  *buffer
}

func (w *clockwork) node(t *testing.T, ahead time.Duration) *clockNode {
	t.Helper()
	log := &buffer{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	store, err := Open(Options{Addresses: []string{w.server.Addr}}, logger)
	if err != nil {
		t.Fatal(err)
	}
	elapsed := func() time.Duration { return time.Duration(w.passed.Load()) }
	n := &clockNode{work: w, log: log, Sessions: sessionstore.New(store, sessionstore.Options{
		Now:     func() time.Time { return w.begun.Add(ahead + elapsed()) },
		Elapsed: elapsed,
	}, logger)}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	// From now on its clock is its own: it has read what was the latest time.
	if got := n.lookup(t, sessionstore.NewToken(), false); got != sessionstore.Unknown {
		t.Fatalf("a session that there never was is %v", got)
	}
	return n
}

var clockLimits = sessionstore.Limits{Idle: time.Hour, Absolute: 2 * time.Hour}

// clockRetry does again what a machine that is too busy has failed.
func clockRetry(t *testing.T, do func() error) {
	t.Helper()
	deadline := time.Now().Add(grace)
	for err := do(); err != nil; err = do() {
		if !errors.Is(err, sessionstore.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (n *clockNode) signIn(t *testing.T) (token sessionstore.Token) {
	t.Helper()
	clockRetry(t, func() (err error) {
		token, _, err = n.SignIn(t.Context(), storetest.NewSession("ana").User, "192.0.2.1", clockLimits, nil)
		return err
	})
	return token
}

func (n *clockNode) lookup(t *testing.T, token sessionstore.Token, touch bool) (result sessionstore.Result) {
	t.Helper()
	_, result = n.handle(t, token, touch)
	return result
}

func (n *clockNode) handle(t *testing.T, token sessionstore.Token, touch bool) (h sessionstore.Handle, result sessionstore.Result) {
	t.Helper()
	clockRetry(t, func() (err error) {
		h, result, err = n.Lookup(t.Context(), token, clockLimits, touch)
		return err
	})
	return h, result
}

func (n *clockNode) lives(t *testing.T, when string, token sessionstore.Token) {
	t.Helper()
	if got := n.lookup(t, token, false); got != sessionstore.Live {
		t.Errorf("%s it is %v, want live", when, got)
	}
}

// over wants that the session is refused, for good. Another node may have to hear
// of its end first.
func (n *clockNode) over(t *testing.T, when string, token sessionstore.Token) {
	t.Helper()
	if got := n.lookup(t, token, true); got == sessionstore.Live {
		t.Errorf("%s it lives", when)
	}
}

// use is a request with the session, and waits until all know when it was.
func (n *clockNode) use(t *testing.T, when string, token sessionstore.Token) {
	t.Helper()
	k, key := newKeys(defaultPrefix), token.Key()
	stored := func() string {
		text, _ := n.work.seen.Do(t.Context(), n.work.seen.B().Hget().Key(k.seen).Field(string(key[:])).Build()).ToString()
		return text
	}
	before := stored()
	if got := n.lookup(t, token, true); got != sessionstore.Live {
		t.Errorf("%s it is %v, want live", when, got)
		return
	}
	eventually(t, "the last-seen time is stored", func() bool { return stored() != before })
}

// What clocks may differ by: sessions go by the later one as soon as it is asked,
// and a node that is behind prolongs nothing by more than it is behind.
func TestClocksThatDiffer(t *testing.T) {
	for name, skew := range map[string]time.Duration{"by ten seconds": 10 * time.Second, "by nearly two minutes": 110 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newClockwork(t)
			behind := w.node(t, 0)
			ahead := w.node(t, skew)

			t.Run("the absolute limit", func(t *testing.T) {
				token := ahead.signIn(t)
				for range 4 {
					w.pass(29 * time.Minute)
					behind.use(t, "in between", token)
				}
				w.pass(4*time.Minute - time.Second)
				ahead.lives(t, "before its limit", token)
				behind.lives(t, "before its limit", token)
				w.pass(time.Second)
				ahead.over(t, "at its limit, by the clock that is ahead,", token)
				eventually(t, "told of the end", func() bool { return behind.lookup(t, token, true) != sessionstore.Live })
				ahead.over(t, "after its end", token)
			})
			t.Run("the absolute limit where only the node behind is asked", func(t *testing.T) {
				token := ahead.signIn(t)
				for range 4 {
					w.pass(29 * time.Minute)
					behind.use(t, "in between", token)
				}
				w.pass(4*time.Minute + skew)
				behind.over(t, "past its limit by all clocks", token)
				ahead.over(t, "after its end", token)
			})
			t.Run("the absolute limit of a sign-in on the node behind", func(t *testing.T) {
				token := behind.signIn(t)
				for range 4 {
					w.pass(28 * time.Minute)
					behind.use(t, "in between", token)
				}
				ahead.lives(t, "before its limit", token)
				w.pass(8 * time.Minute)
				ahead.over(t, "at its limit", token)
				behind.over(t, "at its limit, or ended by the other node,", token)
			})
			t.Run("the idle limit", func(t *testing.T) {
				token, other := ahead.signIn(t), ahead.signIn(t)
				w.pass(10 * time.Minute)
				behind.use(t, "in between", token)
				ahead.use(t, "in between", other)
				w.pass(time.Hour)
				ahead.over(t, "an hour after its last use", token)
				ahead.over(t, "an hour after its last use", other)
				w.pass(skew)
				behind.over(t, "an hour and the difference after its last use", token)
				behind.over(t, "an hour and the difference after its last use", other)
			})
			t.Run("the idle limit where only the node behind is asked", func(t *testing.T) {
				token := ahead.signIn(t)
				w.pass(10 * time.Minute)
				ahead.use(t, "in between", token)
				w.pass(time.Hour + skew)
				behind.over(t, "an hour and the difference after its last use", token)
				ahead.over(t, "after its end", token)
			})
		})
	}
}

// What is more than clocks may differ by ends sessions early and prolongs none: a
// node goes on from the latest time that any has stored, and says so.
func TestClocksThatDifferByTooMuch(t *testing.T) {
	const mayDiffer = 2 * time.Minute
	for name, skew := range map[string]time.Duration{"by minutes": 5 * time.Minute, "by hours": 3 * time.Hour, "by a month": 30 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newClockwork(t)
			behind := w.node(t, 0)
			before := behind.signIn(t)
			ahead := w.node(t, skew)
			token := ahead.signIn(t)
			ahead.lives(t, "where it was made", token)

			// A node that has not heard of that time yet does not believe what is
			// made in its future: it would live for longer.
			made := ahead.signIn(t)
			if h, got := behind.handle(t, made, true); got == sessionstore.Live && h.Age() < -mayDiffer {
				t.Errorf("the node behind takes a session that is %v old", h.Age())
			}

			// One that comes later goes on from that time, and its sessions end by it.
			late := w.node(t, 0)
			if !strings.Contains(late.log.String(), "the clock is behind the latest time seen here") {
				t.Errorf("nobody is told of a clock that is behind:\n%s", late.log)
			}
			late.lives(t, "on a node that has just come", token)
			w.pass(29 * time.Minute)
			late.use(t, "in between", token)

			// The one that was there learns of it when it stores the time again.
			behind.signIn(t)
			if !strings.Contains(behind.log.String(), "another node's clock is ahead") {
				t.Errorf("nobody is told of a clock that is ahead:\n%s", behind.log)
			}
			if skew > clockLimits.Idle {
				behind.over(t, "past its limits by the latest clock", before)
			}
			for range 3 {
				w.pass(29 * time.Minute)
				if ahead.lookup(t, token, false) != sessionstore.Live {
					break // the node behind did not believe it, which ends it for all
				}
				late.use(t, "in between", token)
			}
			w.pass(4 * time.Minute)
			for _, n := range []*clockNode{late, behind, ahead} {
				n.over(t, "at its limit", token)
				n.over(t, "past its limits", before)
			}

			// None is left in the past: all see the same sessions.
			next := behind.signIn(t)
			for _, n := range []*clockNode{late, behind} {
				n.lives(t, "a new one", next)
			}
		})
	}
}

// Wrong passwords are counted by the clock of Redis, whatever time it is on the
// nodes.
func TestWrongPasswordsGoByTheServersClock(t *testing.T) {
	w := newClockwork(t)
	nodes := []*clockNode{w.node(t, -24*time.Hour), w.node(t, 0), w.node(t, 24*time.Hour)}
	budget := sessionstore.Budget{Key: [16]byte{1}, Limit: 3, Window: 15 * time.Minute, Room: 100}
	reserve := func(n *clockNode, attempt byte) (reserved sessionstore.Reserved) {
		clockRetry(t, func() (err error) {
			reserved, err = n.Budgets().Reserve(t.Context(), sessionstore.Reservation{Attempt: [16]byte{attempt}, Groups: [][]sessionstore.Budget{{budget}}})
			return err
		})
		return reserved
	}
	for i, n := range nodes {
		if !reserve(n, byte(i)).Taken {
			t.Fatalf("guess %d has no place", i+1)
		}
		clockRetry(t, func() error {
			_, err := n.Budgets().Settle(t.Context(), sessionstore.Settlement{Attempt: [16]byte{byte(i)}, Failed: true, Held: []sessionstore.Budget{budget}})
			return err
		})
	}
	w.pass(time.Hour) // for the nodes only
	for i, n := range nodes {
		r := reserve(n, 100)
		if r.Taken || len(r.Standings) != 1 || r.Standings[0].Blocked <= 13*time.Minute || r.Standings[0].Blocked > budget.Window {
			t.Errorf("node %d has one more guess, or waits for another time: %+v", i, r)
		}
	}
}
