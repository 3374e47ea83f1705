package sessionstore

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// away takes a session out of memory alive, as an eviction does.
func (w *world) away(token Token) {
	w.t.Helper()
	w.memory.forget(token.Key())
	if w.memory.get(token.Key()) != nil {
		w.t.Fatal("still in memory")
	}
}

func TestEveryEndIsToldOnceBeforeItIsAcknowledged(t *testing.T) {
	// limits hold for longer than the test's clock moves.
	limits := Limits{Idle: time.Hour, Absolute: 12 * time.Hour}
	states := []struct {
		name string
		make func(*world, Token, Handle)
	}{
		{"in memory", func(*world, Token, Handle) {}},
		{"evicted", func(w *world, token Token, _ Handle) { w.away(token) }},
		{"evicted and loaded again", func(w *world, token Token, _ Handle) {
			w.away(token)
			w.want(Live, token, limits, true)
		}},
		{"with other groups", func(w *world, _ Token, h Handle) {
			if _, ok, err := w.Regroup(w.t.Context(), h, []Group{{ID: "other"}}, ""); !ok || err != nil {
				w.t.Fatal(ok, err)
			}
		}},
		{"with other groups and evicted", func(w *world, token Token, h Handle) {
			if _, ok, err := w.Regroup(w.t.Context(), h, []Group{{ID: "other"}}, ""); !ok || err != nil {
				w.t.Fatal(ok, err)
			}
			w.away(token)
		}},
	}
	ends := []struct {
		name string
		end  func(*world, Token, Handle) error
	}{
		{"End", func(w *world, token Token, _ Handle) error {
			_, err := w.End(w.t.Context(), token)
			return err
		}},
		{"Revoke", func(w *world, _ Token, h Handle) error {
			_, err := w.Revoke(w.t.Context(), h)
			return err
		}},
		{"a sign-in that replaces it", func(w *world, token Token, _ Handle) error {
			_, _, err := w.SignIn(w.t.Context(), User{Directory: "d", ID: "1"}, "", limits, &token)
			return err
		}},
		{"EndID", func(w *world, _ Token, h Handle) error {
			_, err := w.EndID(w.t.Context(), h.ID)
			return err
		}},
		{"EndOwn", func(w *world, _ Token, h Handle) error {
			_, err := w.EndOwn(w.t.Context(), h, h.ID)
			return err
		}},
		{"EndUser", func(w *world, _ Token, h Handle) error {
			_, err := w.EndUser(w.t.Context(), h.User.Directory, h.User.ID, Handle{})
			return err
		}},
		{"KeepNewest", func(w *world, _ Token, h Handle) error {
			w.clock.pass(time.Second)
			_, newest := w.signIn(limits)
			_, err := w.KeepNewest(w.t.Context(), newest, 1)
			return err
		}},
		{"a Regroup that finds it gone", func(w *world, token Token, h Handle) error {
			w.store.Delete(w.t.Context(), token.Key())
			_, ok, err := w.Regroup(w.t.Context(), h, nil, "")
			if ok {
				w.t.Error("regrouped")
			}
			return err
		}},
		{"a load that finds it gone", func(w *world, token Token, _ Handle) error {
			w.memory.forget(token.Key())
			w.store.Delete(w.t.Context(), token.Key())
			w.want(Unknown, token, limits, true)
			return nil
		}},
		{"a load that finds it invalid", func(w *world, token Token, _ Handle) error {
			w.memory.forget(token.Key())
			w.store.mu.Lock()
			w.store.invalid[token.Key()] = true
			w.store.mu.Unlock()
			w.want(Invalid, token, limits, true)
			return nil
		}},
		{"its absolute limit, found by a Lookup", func(w *world, token Token, _ Handle) error {
			w.clock.pass(12 * time.Hour)
			w.want(Expired, token, limits, true)
			return nil
		}},
		{"its absolute limit, found by a look", func(w *world, _ Token, _ Handle) error {
			w.clock.pass(12 * time.Hour)
			w.look()
			return nil
		}},
		{"its absolute limit, with a store that fails", func(w *world, _ Token, _ Handle) error {
			w.clock.pass(12 * time.Hour)
			w.store.fail("", errors.New("disk on fire"))
			w.look()
			w.store.fail("", nil)
			return nil
		}},
	}
	for _, end := range ends {
		for _, state := range states {
			t.Run(end.name+", "+state.name, func(t *testing.T) {
				w := newWorld(t, Options{})
				token, h := w.signIn(limits)
				_, bystander := w.signInAs("2", Limits{Idle: 100 * time.Hour})
				other := w.open(bystander, true)
				plain, stream := w.open(h, false), w.open(h, true)
				state.make(w, token, h)
				if plain.told.Load()+stream.told.Load() != 0 {
					t.Fatal("told before the end")
				}
				if err := end.end(w, token, h); err != nil {
					t.Fatal(err)
				}
				if plain.told.Load() != 1 || stream.told.Load() != 1 {
					t.Errorf("told %d and %d times when the call returns, want 1", plain.told.Load(), stream.told.Load())
				}
				w.End(t.Context(), token) // nothing of it is left to be told
				w.look()
				if plain.told.Load() != 1 || stream.told.Load() != 1 || other.told.Load() != 0 {
					t.Errorf("told %d and %d times in the end, the other session's %d", plain.told.Load(), stream.told.Load(), other.told.Load())
				}
				var late openAnswer
				if h.Watch(&late.watch, &late) || late.told.Load() != 0 {
					t.Error("an ended session can be watched")
				}
				if n := w.openAnswers(); n != 1 {
					t.Errorf("%d watches are held, want the other session's", n)
				}
			})
		}
	}
}

func TestTheIdleLimitEndsOnlyWhatAsksForIt(t *testing.T) {
	limits := Limits{Idle: time.Hour, Absolute: 3 * time.Hour}
	for _, found := range []struct {
		name string
		by   func(*world, Token)
	}{
		{"a look", func(w *world, _ Token) { w.look() }},
		{"a Lookup", func(w *world, token Token) { w.want(Expired, token, limits, true) }},
		{"a sweep", func(w *world, _ Token) {
			w.clock.pass(sweepSlack)
			if err := w.sweep(w.t.Context(), 0); err != nil {
				w.t.Fatal(err)
			}
		}},
		{"a sign-in of the same user", func(w *world, _ Token) {
			_, h := w.signIn(limits)
			if _, err := w.KeepNewest(w.t.Context(), h, 1); err != nil {
				w.t.Fatal(err)
			}
		}},
	} {
		for _, evicted := range []bool{false, true} {
			t.Run(found.name, func(t *testing.T) {
				w := newWorld(t, Options{})
				token, h := w.signIn(limits)
				download, stream := w.open(h, false), w.open(h, true)
				becomesStream := w.open(h, false)
				w.clock.pass(time.Hour - 1)
				w.look()
				if stream.told.Load() != 0 {
					t.Fatal("told before the limit")
				}
				if evicted {
					w.away(token)
				}
				w.clock.pass(1)
				found.by(w, token)
				if download.told.Load() != 0 || stream.told.Load() != 1 {
					t.Fatalf("told %d and %d times, want 0 and 1", download.told.Load(), stream.told.Load())
				}
				// The browser comes back with its old cookie.
				for range 2 {
					w.want(Unknown, token, limits, true)
				}
				w.look()
				if download.told.Load() != 0 {
					t.Error("a later request ends what the idle limit did not")
				}
				becomesStream.watch.WhenIdle()
				w.look()
				if becomesStream.told.Load() != 1 {
					t.Error("an answer that turns out to be a stream goes on without a session")
				}
				w.clock.pass(2*time.Hour - 1 - sweepSlack)
				if w.look(); found.name != "a sweep" && download.told.Load() != 0 {
					t.Error("told before the absolute limit")
				}
				w.clock.pass(1 + sweepSlack)
				w.look()
				w.look()
				if download.told.Load() != 1 || stream.told.Load() != 1 || w.openAnswers() != 0 {
					t.Errorf("told %d and %d times after the absolute limit", download.told.Load(), stream.told.Load())
				}
			})
		}
	}
}

func TestAStreamGoesOnIfTheSessionWasUsedElsewhere(t *testing.T) {
	var told reports
	w := newWorld(t, Options{Ended: told.ended})
	token, h := w.signIn(hour)
	stream := w.open(h, true)
	w.clock.pass(time.Hour)
	w.store.set(token.Key(), h.Session, w.clock.now().Add(-time.Minute))
	w.look()
	if stream.told.Load() != 0 || told.count() != 0 || !h.Alive() {
		t.Error("ended, though another node was used")
	}
	w.clock.pass(59 * time.Minute)
	for range 3 {
		w.look()
	}
	if stream.told.Load() != 1 || told.of(h.ID) != 1 || w.store.has(token.Key()) {
		t.Errorf("told %d times, reported %d times", stream.told.Load(), told.of(h.ID))
	}
}

func TestAStreamGoesOnWhileTheStoreCannotSay(t *testing.T) {
	var told reports
	w := newWorld(t, Options{Ended: told.ended})
	_, h := w.signIn(Limits{Idle: time.Hour, Absolute: 12 * time.Hour})
	stream := w.open(h, true)
	w.store.fail("Get", errors.New("disk on fire"))
	w.clock.pass(2 * time.Hour)
	w.look()
	if stream.told.Load() != 0 || told.count() != 0 {
		t.Error("a failing store decides")
	}
	w.store.fail("Get", nil)
	w.look()
	if stream.told.Load() != 1 || told.of(h.ID) != 1 {
		t.Errorf("told %d times, reported %d times", stream.told.Load(), told.of(h.ID))
	}
}

// A store that hangs must keep no answer open past the absolute limit, and must
// not keep the clock from following the wall clock.
func TestAbsoluteLimitsHoldWhateverTheStoreDoes(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := &hookStore{fakeStore: newFakeStore()}
			start := time.Now()
			var ahead atomic.Int64
			s := New(store, Options{
				Now:     func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
				Elapsed: func() time.Duration { return time.Since(start) },
			}, nil)
			defer s.Close()
			defer store.hangs.Store(false)
			w := &world{Sessions: s, t: t, store: store.fakeStore}
			limit := func(i int) time.Duration { return time.Minute + time.Duration(i)*time.Second }
			var answers []*openAnswer
			for i := range 50 {
				token, h := w.signIn(Limits{Idle: time.Hour, Absolute: limit(i)})
				answers = append(answers, w.open(h, i%2 == 0))
				if i%3 == 0 {
					w.away(token)
				}
				// What hangs because of these must not hold up the others.
				_, idle := w.signIn(Limits{Idle: 50 * time.Second, Absolute: time.Hour})
				w.open(idle, true)
			}
			_, h := w.signIn(Limits{Idle: 5 * time.Hour, Absolute: 5 * time.Hour})
			last := w.open(h, false)
			store.hangs.Store(hangs)
			for i, a := range answers {
				time.Sleep(limit(i) - 1 - time.Since(start))
				synctest.Wait()
				if a.told.Load() != 0 {
					t.Fatalf("hangs %v: answer %d ends before its limit", hangs, i)
				}
				if i >= 2 && answers[i-2].told.Load() != 1 {
					t.Fatalf("hangs %v: answer %d goes on 2 s after its limit", hangs, i-2)
				}
			}
			ahead.Store(int64(5 * time.Hour))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if last.told.Load() != 1 {
				t.Errorf("hangs %v: the clock was set past the limit, and the answer goes on", hangs)
			}
		})
	}
}

func TestWatchFollowsASessionThroughALittleMemory(t *testing.T) {
	w := newWorld(t, Options{MaxEntries: 2})
	token, h := w.signIn(hour)
	a := w.open(h, true)
	for range 20 {
		w.clock.pass(time.Minute)
		for range 5 {
			w.signInAs("2", hour)
		}
		h2 := w.want(Live, token, hour, true)
		if _, ok, err := w.Regroup(t.Context(), h2, []Group{{ID: "g"}}, ""); !ok || err != nil {
			t.Fatal(ok, err)
		}
		w.look()
	}
	for range 5 {
		w.signInAs("2", hour)
	}
	w.clock.pass(59 * time.Minute)
	w.look()
	if a.told.Load() != 0 {
		t.Fatal("ended while in use")
	}
	w.clock.pass(time.Minute)
	w.look()
	if a.told.Load() != 1 {
		t.Errorf("told %d times past the idle limit", a.told.Load())
	}
}

func TestWatchOfNothing(t *testing.T) {
	var zero Watch
	zero.Stop()
	zero.WhenIdle()
	zero.Stop()
	a := &openAnswer{}
	if (Handle{}).Watch(&a.watch, a) {
		t.Error("the zero handle can be watched")
	}
	a.watch.WhenIdle()
	a.watch.Stop()

	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	stopped, open := w.open(h, true), w.open(h, false)
	stopped.watch.Stop()
	stopped.watch.Stop()
	stopped.watch.WhenIdle()
	if _, err := w.End(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if stopped.told.Load() != 0 || open.told.Load() != 1 {
		t.Errorf("told %d and %d times, want 0 and 1", stopped.told.Load(), open.told.Load())
	}
	open.watch.Stop()
	open.watch.WhenIdle()
	open.watch.Stop()
	if w.openAnswers() != 0 {
		t.Error("something is held")
	}
}

// finalAnswer fails when it is ended after its watch was stopped.
type finalAnswer struct {
	t       *testing.T
	stopped atomic.Bool
	told    atomic.Int32
}

func (a *finalAnswer) SessionEnded() {
	if a.stopped.Load() || a.told.Add(1) > 1 {
		a.t.Error("told after Stop, or twice")
	}
}

func TestStopIsABarrier(t *testing.T) {
	w := newWorld(t, Options{})
	_, h := w.signIn(hour)
	var done atomic.Bool
	var enders, watchers sync.WaitGroup
	for range 2 {
		enders.Go(func() {
			for !done.Load() {
				w.endAnswers(h.entry.key, ending(rand.IntN(3)))
				w.lookAtAnswers(map[Key]Handle{})
			}
		})
	}
	for range 8 {
		watchers.Go(func() {
			for range 500 {
				var watch Watch
				a := &finalAnswer{t: t}
				if !h.Watch(&watch, a) {
					t.Error("cannot be watched")
				}
				if rand.IntN(2) == 0 {
					watch.WhenIdle()
				}
				watch.Stop()
				a.stopped.Store(true)
				watch.Stop()
			}
		})
	}
	watchers.Wait()
	done.Store(true)
	enders.Wait()
	if w.openAnswers() != 0 {
		t.Error("something is held")
	}
}

// Whichever of the two comes first: an answer that is watched is told before
// the end is acknowledged.
func TestWatchAndEndAtTheSameTime(t *testing.T) {
	w := newWorld(t, Options{MaxEntries: 4})
	for i := range 500 {
		token, h := w.signIn(hour)
		if i%2 == 0 {
			w.away(token)
		}
		var answers [4]openAnswer
		var watched [4]bool
		var wg sync.WaitGroup
		var acknowledged atomic.Bool
		for j := range answers {
			wg.Go(func() {
				late := acknowledged.Load()
				watched[j] = h.Watch(&answers[j].watch, &answers[j])
				if late && watched[j] {
					t.Error("watched after an acknowledged end")
				}
			})
		}
		wg.Go(func() {
			if _, err := w.End(t.Context(), token); err != nil {
				t.Error(err)
			}
			acknowledged.Store(true)
		})
		wg.Wait()
		for j := range answers {
			if told := answers[j].told.Load(); told > 1 || watched[j] && told == 0 {
				t.Fatalf("watched %v, told %d times", watched[j], told)
			}
			answers[j].watch.Stop()
		}
	}
	if w.openAnswers() != 0 {
		t.Error("something is held")
	}
}

func TestWatchAllocatesNothing(t *testing.T) {
	w := newWorld(t, Options{})
	_, h := w.signIn(hour)
	a := &openAnswer{}
	if n := testing.AllocsPerRun(100_000, func() {
		h.Watch(&a.watch, a)
		a.watch.WhenIdle()
		a.watch.Stop()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCloseWithOpenAnswers(t *testing.T) {
	w := newWorld(t, Options{})
	_, h := w.signIn(hour)
	a := w.open(h, true)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if a.watch.Stop(); a.told.Load() != 0 || w.openAnswers() != 0 {
		t.Error("Close tells of an end, or holds the answer")
	}
}
