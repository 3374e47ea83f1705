package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// swept sweeps at full speed.
func (w *world) swept() {
	w.t.Helper()
	if err := w.sweep(w.t.Context(), 0); err != nil {
		w.t.Fatalf("sweep: %v", err)
	}
}

func TestSweepTakesWhatIsLongPastALimit(t *testing.T) {
	for _, test := range []struct {
		name   string
		limits Limits
		lives  time.Duration
	}{
		{"idle", Limits{Idle: time.Hour}, time.Hour},
		{"absolute", Limits{Idle: 9 * time.Hour, Absolute: time.Hour}, time.Hour},
		{"no absolute limit", Limits{Idle: 9 * time.Hour}, 9 * time.Hour},
		{"the shortest", Limits{Idle: 1}, 1},
	} {
		for _, inMemory := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, in memory %v", test.name, inMemory), func(t *testing.T) {
				var told reports
				w := newWorld(t, Options{Ended: told.ended})
				token, h := w.signIn(test.limits)
				if !inMemory {
					w.away(token)
				}
				w.clock.pass(test.lives + sweepSlack - 1)
				w.swept()
				if !w.store.has(token.Key()) || told.count() != 0 {
					t.Fatal("swept too early")
				}
				w.clock.pass(1)
				w.swept()
				if w.store.has(token.Key()) || w.memory.get(token.Key()) != nil || h.Alive() {
					t.Error("not swept, or memory has it")
				}
				w.swept()
				w.want(Unknown, token, Limits{}, true)
				if told.of(h.ID) != 1 || told.sessions[0].User.Username != "ana" {
					t.Errorf("reported %d times, want 1, with the whole session", told.of(h.ID))
				}
			})
		}
	}
}

func TestSweepLeavesWhatIsInUse(t *testing.T) {
	w := newWorld(t, Options{})
	w.store.fail("Touch", errors.New("disk on fire")) // the store knows nothing of it
	inMemory, _ := w.signIn(hour)
	waiting, _ := w.signIn(hour)
	unused, _ := w.signIn(hour)
	w.clock.pass(50 * time.Minute)
	w.want(Live, inMemory, Limits{}, true)
	w.want(Live, waiting, Limits{}, true)
	w.away(waiting)
	w.clock.pass(50 * time.Minute)
	w.swept()
	if w.store.has(unused.Key()) {
		t.Error("what nobody uses is left")
	}
	w.want(Live, inMemory, Limits{}, false)
	w.want(Live, waiting, Limits{}, false)
}

func TestSweepReadsOnlyTheRecordsOfTheExpired(t *testing.T) {
	var told reports
	w := newWorld(t, Options{Ended: told.ended})
	for range 3 * sweepPage {
		token, _ := w.signIn(Limits{Idle: 1000 * time.Hour})
		w.away(token)
	}
	for range 7 {
		token, _ := w.signIn(hour)
		w.away(token)
	}
	inMemory := w.inMemory()
	w.clock.pass(2 * time.Hour)
	w.swept()
	if n := w.store.gets.Load(); n != 7 || told.count() != 7 {
		t.Errorf("%d records read, %d sessions reported, want 7", n, told.count())
	}
	if w.inMemory() != inMemory {
		t.Errorf("%d sessions in memory after a sweep, %d before", w.inMemory(), inMemory)
	}
}

// However a Lookup and a sweep meet, one of them reports the session, once.
func TestSweepAndLookupAtTheSameTime(t *testing.T) {
	var told reports
	w := newWorld(t, Options{Ended: told.ended})
	for i := range 300 {
		token, h := w.signIn(hour)
		w.clock.pass(2 * time.Hour)
		if i%2 == 0 {
			w.away(token)
		}
		var found atomic.Int32
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, got, err := w.Lookup(t.Context(), token, Limits{}, true)
				switch {
				case err != nil || got == Live:
					t.Errorf("Lookup: %v, %v", got, err)
				case got == Expired:
					found.Add(1)
				}
			})
		}
		wg.Go(w.swept)
		wg.Wait()
		w.swept()
		if n := int(found.Load()) + told.of(h.ID); n != 1 || w.store.has(token.Key()) {
			t.Fatalf("reported %d times, want 1; still there: %v", n, w.store.has(token.Key()))
		}
	}
}

// The Lookup reads the record while the sweep is about to drop it.
func TestALookupWaitsForTheSweep(t *testing.T) {
	var told reports
	w := newWorld(t, Options{Ended: told.ended})
	token, h := w.signIn(hour)
	w.away(token)
	w.clock.pass(2 * time.Hour)
	results := make(chan Result, 1)
	var begun atomic.Bool
	w.store.mu.Lock()
	w.store.afterGet = func(context.Context, Key) {
		if !begun.CompareAndSwap(false, true) {
			return
		}
		go func() {
			_, got, err := w.Lookup(t.Context(), token, Limits{}, true)
			if err != nil {
				t.Error(err)
			}
			results <- got
		}()
		time.Sleep(20 * time.Millisecond)
	}
	w.store.mu.Unlock()
	w.swept()
	if got := <-results; got != Unknown || told.of(h.ID) != 1 {
		t.Errorf("Lookup: %v, want unknown; reported %d times", got, told.of(h.ID))
	}
}

// The sweep comes while a Lookup is reading the record.
func TestASweepLeavesWhatIsBeingRead(t *testing.T) {
	var told reports
	w := newWorld(t, Options{Ended: told.ended})
	token, h := w.signIn(hour)
	w.away(token)
	w.clock.pass(2 * time.Hour)
	var begun atomic.Bool
	w.store.mu.Lock()
	w.store.afterGet = func(context.Context, Key) {
		if begun.CompareAndSwap(false, true) {
			w.swept()
		}
	}
	w.store.mu.Unlock()
	w.want(Expired, token, Limits{}, true)
	if told.of(h.ID) != 0 || w.store.has(token.Key()) {
		t.Errorf("reported %d times more, still there: %v", told.of(h.ID), w.store.has(token.Key()))
	}
}

func TestSweepGoesThroughAllPages(t *testing.T) {
	var told reports
	w, hooks := newHookedWorld(t, Options{Ended: told.ended})
	const many = 4*sweepPage + 7
	var expired, live []Token
	for i := range many {
		token, _ := w.signInAs(fmt.Sprint(i%50), hour)
		expired = append(expired, token)
		token, _ = w.signInAs(fmt.Sprint(i%50), Limits{Idle: 9 * time.Hour})
		live = append(live, token)
		if i%3 == 0 {
			w.away(expired[i])
		}
	}
	w.clock.pass(2 * time.Hour)
	// Sessions come and go meanwhile, those of the page too.
	ended := 0
	var came []Token
	hooks.afterList = func(page []Listed) {
		for i := 0; i < len(page); i += 40 {
			if ok, err := w.end(t.Context(), page[i].Key, nil); !ok || err != nil {
				t.Errorf("end: %v, %v", ok, err)
			}
			if page[i].Limits.Idle == time.Hour {
				ended++
			}
		}
		token, _ := w.signInAs("0", hour)
		came = append(came, token)
	}
	w.swept()
	hooks.afterList = nil
	for _, token := range expired {
		if w.store.has(token.Key()) {
			t.Fatal("an expired session is left")
		}
	}
	gone := 0
	for _, token := range live {
		if !w.store.has(token.Key()) {
			gone++
		}
	}
	if told.count() != many-ended {
		t.Errorf("%d reported, want %d", told.count(), many-ended)
	}
	if gone > 2*many/40+10 {
		t.Errorf("%d of the live sessions are gone", gone)
	}
	for _, token := range came {
		w.want(Live, token, Limits{}, false)
	}
}

func TestASweepThatFailsDoesNoHarm(t *testing.T) {
	for _, call := range []string{"List", "Get", "Drop", ""} {
		for _, down := range []error{errors.New("disk on fire"), ErrNoSpace, ErrClosed} {
			t.Run(fmt.Sprintf("%s, %v", call, down), func(t *testing.T) {
				var told reports
				w, hooks := newHookedWorld(t, Options{Ended: told.ended})
				var tokens []Token
				for i := range 2*sweepPage + 10 {
					token, _ := w.signIn(hour)
					if i%2 == 0 {
						w.away(token)
					}
					tokens = append(tokens, token)
				}
				live, _ := w.signIn(Limits{Idle: 9 * time.Hour})
				w.clock.pass(2 * time.Hour)
				pages := 0
				hooks.afterList = func([]Listed) {
					if pages++; pages == 2 {
						w.store.fail(call, down)
					}
				}
				if err := w.sweep(t.Context(), 0); !errors.Is(err, down) {
					t.Fatalf("sweep: %v", err)
				}
				hooks.afterList = nil
				w.store.fail(call, nil)
				w.want(Live, live, Limits{}, true)
				w.swept()
				for _, token := range tokens {
					if w.store.has(token.Key()) {
						t.Fatal("the next sweep leaves something")
					}
				}
				for id, n := range told.expired {
					if n != 1 {
						t.Errorf("session %s is reported %d times", id, n)
					}
				}
				if told.count() != len(tokens) {
					t.Errorf("%d sessions reported, want %d", told.count(), len(tokens))
				}
			})
		}
	}
}

// A request found it expired, the store failed to drop it, and nobody comes
// with that token again.
func TestSweepTakesWhatCouldNotBeDropped(t *testing.T) {
	var told reports
	w := newWorld(t, Options{Ended: told.ended})
	token, _ := w.signIn(hour)
	w.clock.pass(2 * time.Hour)
	w.store.fail("Drop", errors.New("disk on fire"))
	w.want(Expired, token, Limits{}, true)
	w.store.fail("Drop", nil)
	w.swept()
	if w.store.has(token.Key()) || told.count() != 0 {
		t.Errorf("it stays: %v; reported again %d times", w.store.has(token.Key()), told.count())
	}
}

func TestSweepOfARecordThatCannotBeRead(t *testing.T) {
	var told reports
	w := newWorld(t, Options{Ended: told.ended})
	token, h := w.signIn(hour)
	w.away(token)
	w.store.mu.Lock()
	w.store.invalid[token.Key()] = true
	w.store.mu.Unlock()
	w.swept() // not yet: nobody has asked for it
	if !w.store.has(token.Key()) {
		t.Error("dropped before its limits")
	}
	w.clock.pass(2 * time.Hour)
	w.swept()
	if w.store.has(token.Key()) || told.of(h.ID) != 1 || told.sessions[0].User.ID != "1" {
		t.Errorf("it stays: %v; reported %d times", w.store.has(token.Key()), told.of(h.ID))
	}
}

func TestTheSweepRunsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told reports
		start := time.Now()
		var mu sync.Mutex
		var times []time.Duration
		store := &hookStore{fakeStore: newFakeStore(), afterList: func([]Listed) {
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Since(start))
		}}
		s := New(store, Options{Ended: told.ended}, nil)
		w := &world{Sessions: s, t: t, store: store.fakeStore}
		var tokens []Token
		for range 3 * sweepPage {
			token, _ := w.signIn(Limits{Idle: time.Minute})
			tokens = append(tokens, token)
		}
		time.Sleep(16 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if told.count() != len(tokens) || len(store.records) != 0 {
			t.Errorf("%d sessions reported, %d left", told.count(), len(store.records))
		}
		// A pause between pages, and a long one between sweeps.
		for i, at := range times[1:] {
			if at-times[i] < sweepPause {
				t.Errorf("pages at %v", times)
			}
		}
		if n := len(times); n < 5 || n > 8 {
			t.Errorf("%d pages in 16 minutes: %v", n, times)
		}

		// A store that hangs: Close does not wait for it.
		store.hangs.Store(true)
		if err := s.Close(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestASweepsPauseEndsWithItsContext(t *testing.T) {
	w, hooks := newHookedWorld(t, Options{})
	for range 2*sweepPage + 1 {
		w.signIn(hour)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pages := 0
	hooks.afterList = func([]Listed) {
		pages++
		time.AfterFunc(time.Millisecond, cancel)
	}
	if err := w.sweep(ctx, 1_000_000); !errors.Is(err, context.Canceled) || pages != 1 {
		t.Errorf("sweep: %v after %d pages", err, pages)
	}
}

// A session came into memory after it was listed, was used, and left it again.
func TestASweepLeavesWhatWasUsedSinceTheListing(t *testing.T) {
	var told reports
	w, hooks := newHookedWorld(t, Options{Ended: told.ended})
	token, h := w.signIn(hour)
	w.away(token)
	w.clock.pass(2 * time.Hour)
	hooks.afterList = func([]Listed) { w.store.set(token.Key(), h.Session, w.clock.now()) }
	w.swept()
	if !w.store.has(token.Key()) || told.count() != 0 {
		t.Errorf("still there: %v; %d reported as expired", w.store.has(token.Key()), told.count())
	}
	w.want(Live, token, hour, false)

	// It counts as one of its user's, too.
	w.away(token)
	w.clock.pass(2 * time.Hour)
	_, newest := w.signIn(hour)
	ended, err := w.KeepNewest(t.Context(), newest, 1)
	if err != nil {
		t.Fatal(err)
	}
	wantEnded(t, ended, h)
	if w.store.has(token.Key()) || told.count() != 0 || !newest.Alive() {
		t.Errorf("still there: %v; %d reported as expired", w.store.has(token.Key()), told.count())
	}
}
