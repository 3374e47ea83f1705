package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func groups(ids ...string) (list []Group) {
	for _, id := range ids {
		list = append(list, Group{ID: id})
	}
	return list
}

// regroup does it and checks that it was done.
func (w *world) regroup(h Handle, ids ...string) Handle {
	w.t.Helper()
	next, ok, err := w.Regroup(w.t.Context(), h, groups(ids...), "set "+strings.Join(ids, "+"))
	if err != nil || !ok {
		w.t.Fatalf("Regroup: ok %v, error %v", ok, err)
	}
	wantGroups(w.t, next, ids...)
	return next
}

func wantGroups(t *testing.T, h Handle, ids ...string) {
	t.Helper()
	var got []string
	for _, g := range h.User.Groups {
		got = append(got, g.ID)
	}
	if strings.Join(got, "+") != strings.Join(ids, "+") || len(ids) > 0 && h.User.PasswordSet != "set "+strings.Join(ids, "+") {
		t.Errorf("groups %v, password set %q, want %v", got, h.User.PasswordSet, ids)
	}
}

func TestRegroup(t *testing.T) {
	w := newWorld(t, Options{})
	token, old := w.signIn(hour)
	before := *old.Session
	given := groups("a", "b")
	next, ok, err := w.Regroup(t.Context(), old, given, "set a+b")
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	given[0].ID = "changed"
	wantGroups(t, next, "a", "b")
	wantGroups(t, w.want(Live, token, hour, true), "a", "b")
	wantGroups(t, w.restart().want(Live, token, hour, true), "a", "b")

	// All else is as it was, and the session of requests under way too.
	if old.User.Groups != nil || old.User.PasswordSet != "" || old.Session == next.Session {
		t.Error("the session of before was changed")
	}
	rest := *next.Session
	rest.User.Groups, rest.User.PasswordSet = nil, ""
	if fmt.Sprint(rest) != fmt.Sprint(before) {
		t.Errorf("session %+v, want %+v", rest, before)
	}

	// From the handle of before, and again from itself.
	wantGroups(t, w.regroup(old, "c"), "c")
	wantGroups(t, w.regroup(next, "d"), "d")
	w.regroup(next)
	if h := w.want(Live, token, hour, true); h.User.Groups != nil {
		t.Errorf("groups %v, want none", h.User.Groups)
	}
}

func TestRegroupStartsNoTimerAgain(t *testing.T) {
	w := newWorld(t, Options{})
	limits := Limits{Idle: time.Hour, Absolute: 90 * time.Minute}
	token, old := w.signIn(limits)
	w.clock.pass(10 * time.Minute)
	if !w.want(Live, token, limits, true).Renew() {
		t.Fatal("not renewed")
	}
	used := w.clock.now()
	w.clock.pass(30 * time.Second)
	next := w.regroup(old, "a")
	if next.Renew() || old.Renew() {
		t.Error("it is renewed once more")
	}
	w.clock.pass(30 * time.Second)
	if !next.Renew() || old.Renew() {
		t.Error("the step after it renews not once")
	}
	for name, h := range map[string]Handle{"old": old, "new": next} {
		if idle, absolute := h.Left(); idle != 59*time.Minute || absolute != 79*time.Minute || !h.Seen().Equal(used) {
			t.Errorf("%s handle: left %s and %s, seen %s, used %s", name, idle, absolute, h.Seen(), used)
		}
	}
	w.clock.pass(59*time.Minute - 1)
	w.want(Live, token, limits, false)
	w.clock.pass(1)
	if old.Alive() || next.Alive() {
		t.Error("a handle is alive past the limit")
	}
	w.want(Expired, token, limits, true)
}

func TestHandlesOfBeforeARegroupSeeTheEnd(t *testing.T) {
	user := User{Directory: "d", ID: "1"}
	for name, end := range map[string]func(w *world, token Token, h Handle) error{
		"end":    func(w *world, token Token, _ Handle) error { _, err := w.End(w.t.Context(), token); return err },
		"revoke": func(w *world, _ Token, h Handle) error { _, err := w.Revoke(w.t.Context(), h); return err },
		"replace": func(w *world, token Token, _ Handle) error {
			_, _, err := w.SignIn(w.t.Context(), user, "", hour, &token)
			return err
		},
		"expiry": func(w *world, token Token, _ Handle) error {
			w.clock.pass(time.Hour)
			w.want(Expired, token, hour, true)
			return nil
		},
	} {
		for _, evicted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, evicted %v", name, evicted), func(t *testing.T) {
				w := newWorld(t, Options{MaxEntries: 1})
				token, old := w.signIn(hour)
				if evicted {
					w.signIn(hour)
				}
				next := w.regroup(old, "a")
				if evicted {
					wantGroups(t, w.want(Live, token, hour, true), "a")
					w.signIn(hour)
				}
				last := w.regroup(next, "b")
				if !old.Alive() || !next.Alive() || !last.Alive() {
					t.Fatal("a handle is dead too early")
				}
				if err := end(w, token, old); err != nil {
					t.Fatal(err)
				}
				if old.Alive() || next.Alive() || last.Alive() {
					t.Error("a handle is alive after the end")
				}
				for _, h := range []Handle{old, next, last} {
					if _, ok, err := w.Regroup(t.Context(), h, nil, ""); ok || err != nil {
						t.Errorf("Regroup after the end: ok %v, error %v", ok, err)
					}
				}
				w.want(Unknown, token, Limits{}, true)
			})
		}
	}
}

func TestRegroupOfNone(t *testing.T) {
	w := newWorld(t, Options{})
	if h, ok, err := w.Regroup(t.Context(), Handle{}, nil, ""); ok || err != nil || h.Session != nil {
		t.Errorf("of the zero handle: %v, %v", ok, err)
	}
	if ok, err := w.Revoke(t.Context(), Handle{}); ok || err != nil {
		t.Errorf("Revoke of the zero handle: %v, %v", ok, err)
	}

	// Deleted by another node: it is found out here.
	token, h := w.signIn(hour)
	w.store.Delete(t.Context(), token.Key())
	if _, ok, err := w.Regroup(t.Context(), h, groups("a"), ""); ok || err != nil || h.Alive() || w.inMemory() != 0 {
		t.Errorf("ok %v, error %v, alive %v, %d in memory", ok, err, h.Alive(), w.inMemory())
	}
	w.want(Unknown, token, hour, true)
}

// A session that is past its limit and whose deletion failed stays refused.
func TestRegroupOfADeadEntry(t *testing.T) {
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	w.clock.pass(time.Hour)
	w.store.fail("Drop", errors.New("disk on fire"))
	w.want(Expired, token, hour, true)
	if _, ok, err := w.Regroup(t.Context(), h, groups("a"), ""); ok || err != nil || w.store.updates.Load() != 0 {
		t.Errorf("ok %v, error %v, %d updates", ok, err, w.store.updates.Load())
	}
	w.want(Unknown, token, Limits{}, true)
}

func TestRegroupThatFailed(t *testing.T) {
	down := errors.New("disk on fire")
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	w.store.fail("Update", down)
	if _, ok, err := w.Regroup(t.Context(), h, groups("a"), "set a"); ok || !errors.Is(err, down) {
		t.Errorf("ok %v, error %v, want the error", ok, err)
	}
	if !h.Alive() {
		t.Error("a failure ended the session")
	}
	wantGroups(t, w.want(Live, token, hour, true))

	// Stored, but the answer was lost: memory must not go on with the old ones.
	w.store.fail("Update", nil)
	w.store.afterUpdate = func(Key) error { return down }
	if _, ok, err := w.Regroup(t.Context(), h, groups("b"), "set b"); ok || !errors.Is(err, down) {
		t.Errorf("ok %v, error %v, want the error", ok, err)
	}
	wantGroups(t, w.want(Live, token, hour, true), "b")
	w.store.afterUpdate = nil
	wantGroups(t, w.regroup(h, "c"), "c")

	// What cannot be stored changes nothing.
	if _, ok, err := w.Regroup(t.Context(), h, make([]Group, maxGroups+1), ""); ok || err == nil {
		t.Errorf("too many groups: ok %v, error %v", ok, err)
	}
	wantGroups(t, w.want(Live, token, hour, true), "c")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	updates := w.store.updates.Load()
	if _, ok, err := w.Regroup(ctx, h, nil, ""); ok || !errors.Is(err, context.Canceled) || w.store.updates.Load() != updates {
		t.Errorf("cancelled: ok %v, error %v", ok, err)
	}
	if w.memory.get(token.Key()) == nil {
		t.Error("what never reached the store takes the session out of memory")
	}

	w.store.invalid[token.Key()] = true
	if _, ok, err := w.Regroup(t.Context(), h, groups("d"), ""); ok || !errors.Is(err, ErrInvalidRecord) {
		t.Errorf("of an invalid record: ok %v, error %v", ok, err)
	}
	w.want(Invalid, token, hour, true)
}

func TestDerivedIsMadeAnewAfterARegroup(t *testing.T) {
	w := newWorld(t, Options{})
	token, old := w.signIn(hour)
	built := 0
	build := func(s *Session) any { built++; return len(s.User.Groups) }
	if got := old.Derived(build); got != 0 {
		t.Errorf("got %v", got)
	}
	next := w.regroup(old, "a", "b")
	for range 3 {
		if got := w.want(Live, token, hour, true).Derived(build); got != 2 {
			t.Errorf("got %v, want that of the new groups", got)
		}
	}
	if built != 2 || next.Derived(build) != 2 || built != 2 {
		t.Errorf("built %d times, want 2", built)
	}
	// A request that began before has its own, and leaves that of today alone.
	if old.Derived(build) != 0 || next.Derived(build) != 2 || built != 3 {
		t.Errorf("old %v, new %v, built %d times", old.Derived(build), next.Derived(build), built)
	}
	// A regroup while the old one is being built.
	slow := func(s *Session) any { w.regroup(old, "c"); return build(s) }
	before := w.want(Live, token, hour, true)
	w.regroup(old, "a", "b")
	if got := before.Derived(slow); got != 2 {
		t.Errorf("got %v, want that of its own session", got)
	}
	if got := w.want(Live, token, hour, true).Derived(build); got != 1 {
		t.Errorf("got %v, want that of the newest groups", got)
	}
}

func TestRegroupKeepsTheMemoryBounded(t *testing.T) {
	w := newWorld(t, Options{MaxEntries: 64, MaxBytes: 100_000})
	var handles []Handle
	var tokens []Token
	for range 50 {
		token, h := w.signIn(hour)
		handles, tokens = append(handles, h), append(tokens, token)
	}
	large := make([]string, 100)
	for i := range large {
		large[i] = strings.Repeat("x", 100)
	}
	for _, h := range handles {
		if _, ok, err := w.Regroup(t.Context(), h, groups(large...), ""); !ok || err != nil {
			t.Fatal(ok, err)
		}
		for i := range w.memory.shards {
			sh := &w.memory.shards[i]
			var sum int64
			for _, e := range sh.entries {
				sum += e.size
			}
			if sh.bytes != sum || sum > w.memory.bytes && len(sh.entries) > 1 {
				t.Fatalf("%d bytes counted, %d there, at most %d", sh.bytes, sum, w.memory.bytes)
			}
		}
	}
	for i, token := range tokens {
		if !handles[i].Alive() {
			t.Error("evicted means ended")
		}
		if n := len(w.want(Live, token, hour, true).User.Groups); n != len(large) {
			t.Errorf("%d groups, want %d", n, len(large))
		}
	}
}

// A read that began before a regroup must not bring the old groups back, nor a
// session that ended meanwhile.
func TestALateReadDoesNotUndoARegroup(t *testing.T) {
	for _, how := range []string{"not in memory", "idle in memory", "idle and evicted", "ended too"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{MaxEntries: 1})
			token, h := w.signIn(hour)
			release := make(chan struct{})
			var held atomic.Bool
			w.store.afterGet = func(context.Context, Key) {
				if held.CompareAndSwap(false, true) {
					<-release
				}
			}
			switch how {
			case "idle in memory", "idle and evicted":
				w.clock.pass(time.Hour)
				w.store.set(token.Key(), h.Session, w.clock.now()) // used elsewhere
			default:
				w.signIn(hour) // evicts it
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				late, got, err := w.Lookup(t.Context(), token, hour, true)
				switch {
				case err != nil:
					t.Errorf("%s: the late reader: %v", how, err)
				case how == "ended too":
					if got != Unknown {
						t.Errorf("%s: the late reader got %v", how, got)
					}
				default:
					wantGroups(t, late, "a")
				}
			})
			synctest.Wait() // it has read the old record, and is held
			w.regroup(h, "a")
			switch how {
			case "idle and evicted":
				w.signIn(hour)
			case "ended too":
				if ok, err := w.Revoke(t.Context(), h); !ok || err != nil {
					t.Errorf("Revoke: %v, %v", ok, err)
				}
			}
			close(release)
			wg.Wait()
			if how == "ended too" {
				w.want(Unknown, token, hour, true)
			} else {
				wantGroups(t, w.want(Live, token, hour, true), "a")
			}
			w.Close()
		})
	}
}

// What happens between the store's answer to a regroup and the memory's part.
func TestRegroupCrosses(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(w *world, token Token, h Handle)
		ends bool
	}{
		{"an end", func(w *world, token Token, _ Handle) { w.End(w.t.Context(), token) }, true},
		{"a revoke", func(w *world, _ Token, h Handle) { w.Revoke(w.t.Context(), h) }, true},
		{"a sign-in that replaces", func(w *world, token Token, _ Handle) {
			w.SignIn(w.t.Context(), User{Directory: "d", ID: "1"}, "", hour, &token)
		}, true},
		{"an end that failed", func(w *world, token Token, _ Handle) {
			w.store.fail("Delete", errors.New("disk on fire"))
			w.End(w.t.Context(), token)
		}, false},
		{"an eviction", func(w *world, _ Token, _ Handle) { w.signIn(hour) }, false},
		{"an eviction and a read", func(w *world, token Token, _ Handle) {
			w.signIn(hour)
			wantGroups(w.t, w.want(Live, token, hour, true), "a")
		}, false},
		{"an eviction, a read and an end", func(w *world, token Token, _ Handle) {
			w.signIn(hour)
			w.want(Live, token, hour, true)
			w.End(w.t.Context(), token)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, Options{MaxEntries: 1})
			token, h := w.signIn(hour)
			w.store.afterUpdate = func(Key) error {
				w.store.afterUpdate = nil
				test.do(w, token, h)
				return nil
			}
			next, ok, err := w.Regroup(t.Context(), h, groups("a"), "set a")
			if err != nil || !ok && !test.ends || h.Alive() == test.ends || ok && next.Alive() == test.ends {
				t.Errorf("ok %v, error %v, alive: old %v, new %v", ok, err, h.Alive(), next.Alive())
			}
			if test.ends {
				w.want(Unknown, token, hour, true)
				return
			}
			wantGroups(t, w.want(Live, token, hour, true), "a")
			if !next.Alive() {
				t.Error("the new handle is dead")
			}
			w.store.fail("Delete", nil)
			w.End(t.Context(), token)
			if h.Alive() || next.Alive() {
				t.Error("a handle is alive after the end")
			}
		})
	}
}

// As above, with an end that is known here only: its deletion failed.
func TestRegroupCrossesAnExpiry(t *testing.T) {
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	w.store.afterUpdate = func(Key) error {
		w.clock.pass(time.Hour)
		w.store.fail("Drop", errors.New("disk on fire"))
		w.want(Expired, token, hour, true)
		return nil
	}
	if next, ok, err := w.Regroup(t.Context(), h, groups("a"), "set a"); ok || err != nil || next.Alive() {
		t.Errorf("ok %v, error %v, alive %v", ok, err, next.Alive())
	}
	w.want(Unknown, token, Limits{}, true)
}

func TestRegroupsOfOneSessionTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		token, h := w.signIn(hour)
		_, other := w.signIn(hour)
		release := make(chan struct{})
		w.store.afterUpdate = func(key Key) error {
			if key == token.Key() {
				<-release
			}
			return nil
		}
		var wg sync.WaitGroup
		wg.Go(func() { w.regroup(h, "a") })
		synctest.Wait()
		for i := range 8 {
			wg.Go(func() { w.regroup(h, fmt.Sprint(i)) })
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, ok, err := w.Regroup(ctx, h, nil, ""); ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one that waited too long: ok %v, error %v", ok, err)
		}
		if n := w.store.updates.Load(); n != 1 {
			t.Errorf("%d updates of one session at once", n)
		}
		wantGroups(t, w.regroup(other, "b"), "b") // it waits for no other session
		close(release)
		wg.Wait()

		// Memory and store agree on who was last.
		inMemory := w.want(Live, token, hour, true)
		stored := w.restart().want(Live, token, hour, true)
		wantGroups(t, inMemory, stored.User.Groups[0].ID)
		if len(w.changes.taken) != 0 {
			t.Error("turns are left")
		}
		w.Close()
	})
}

// Everything at once, with far too little memory: lookups find at least the
// groups that were acknowledged before they began, and nothing after an end.
func TestRegroupUnderLoad(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := newWorld(t, Options{MaxEntries: 6})
	pause := func() { time.Sleep(time.Duration(rand.IntN(150)) * time.Microsecond) }
	w.store.afterGet = func(context.Context, Key) { pause() }
	w.store.afterUpdate = func(Key) error { pause(); return nil }

	type known struct {
		token        Token
		first        Handle
		begun, ended atomic.Bool
		turn         sync.Mutex // one regroup at a time, so that versions are in order
		version      atomic.Int64
	}
	all := make([]atomic.Pointer[known], 12)
	signIn := func(i int) {
		token, h := w.signIn(hour)
		all[i].Store(&known{token: token, first: h})
	}
	for i := range all {
		signIn(i)
	}
	version := func(h Handle) (n int64) {
		if len(h.User.Groups) > 0 {
			fmt.Sscan(h.User.Groups[0].ID, &n)
		}
		// What a gate derives is of the same groups as the session.
		derived := h.Derived(func(s *Session) any { return s })
		if derived != any(h.Session) || n > 0 && h.User.PasswordSet != fmt.Sprint(n) {
			t.Errorf("the handle is of two sessions")
		}
		return n
	}
	lookup := func(k *known, touch bool) {
		ended, least := k.ended.Load(), k.version.Load()
		h, got, err := w.Lookup(t.Context(), k.token, hour, touch)
		switch {
		case err != nil, got != Live && got != Unknown:
			t.Errorf("Lookup: %v, %v", got, err)
		case got == Live && ended:
			t.Error("a session was served after its end was acknowledged")
		case got == Unknown && !k.begun.Load():
			t.Error("a session is gone, and nobody ended it")
		case got == Live && version(h) < least:
			t.Errorf("groups of version %d were served after %d was acknowledged", version(h), least)
		}
		if ended && (k.first.Alive() || got == Live && h.Alive()) {
			t.Error("a handle is alive after the end was acknowledged")
		}
	}
	regroup := func(k *known, r *rand.Rand) {
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if r.IntN(4) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(200))*time.Microsecond)
		}
		defer cancel()
		k.turn.Lock()
		defer k.turn.Unlock()
		ended, n := k.ended.Load(), k.version.Load()+1
		h := k.first
		if now, got, _ := w.Lookup(t.Context(), k.token, hour, false); got == Live && r.IntN(2) == 0 {
			h = now
		}
		next, ok, err := w.Regroup(ctx, h, groups(fmt.Sprint(n)), fmt.Sprint(n))
		switch {
		case errors.Is(err, context.DeadlineExceeded):
		case err != nil:
			t.Errorf("Regroup: %v", err)
		case ok && (ended || version(next) != n):
			t.Errorf("Regroup of version %d: ended before %v, got version %d", n, ended, version(next))
		case !ok && !k.begun.Load():
			t.Error("Regroup finds no session, and nobody ended it")
		case ok:
			k.version.Store(n)
		}
	}
	end := func(k *known, r *rand.Rand) {
		k.begun.Store(true)
		var err error
		switch r.IntN(3) {
		case 0:
			_, err = w.End(t.Context(), k.token)
		case 1:
			_, err = w.Revoke(t.Context(), k.first)
		default:
			_, _, err = w.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, &k.token)
		}
		if err != nil {
			t.Error(err)
		}
		k.ended.Store(true)
		lookup(k, true)
	}

	var wg sync.WaitGroup
	for worker := range 8 {
		r := rand.New(rand.NewPCG(seed, uint64(worker)))
		wg.Go(func() {
			for range 400 {
				i := r.IntN(len(all))
				k := all[i].Load()
				switch what := r.IntN(100); {
				case what < 55:
					lookup(k, what%2 == 0)
				case what < 85:
					regroup(k, r)
				case what < 90:
					w.InUse("d", time.Time{}, func(h Handle) bool { version(h); return r.IntN(4) != 0 })
				default:
					end(k, r)
					lookup(k, false)
					signIn(i)
				}
			}
		})
	}
	wg.Wait()
	for i := range all {
		k := all[i].Load()
		lookup(k, true)
		h, got, err := w.restart().Lookup(t.Context(), k.token, hour, false)
		if err == nil && got == Live && version(h) < k.version.Load() {
			t.Error("an acknowledged regroup is not in the store")
		}
	}
}
