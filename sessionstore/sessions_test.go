package sessionstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestEnd(t *testing.T) {
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	other, _ := w.signIn(hour)
	ended, err := w.End(t.Context(), token)
	if err != nil || ended != h.Session {
		t.Errorf("End: %v, %v, want the session", ended, err)
	}
	if h.Alive() || h.Renew() {
		t.Error("a request that was under way does not notice")
	}
	w.want(Unknown, token, hour, true)
	if ended, err := w.End(t.Context(), token); ended != nil || err != nil {
		t.Errorf("second End: %v, %v, want nil", ended, err)
	}
	w.want(Live, other, hour, true)

	// From the store, as after a restart.
	if ended, err := w.restart().End(t.Context(), other); err != nil || ended == nil {
		t.Errorf("End of a session that is not in memory: %v, %v", ended, err)
	}
	if ended, err := w.End(t.Context(), NewToken()); ended != nil || err != nil {
		t.Errorf("End of an unknown token: %v, %v", ended, err)
	}
}

func TestEndOfAnInvalidRecord(t *testing.T) {
	w := newWorld(t, Options{})
	token, _ := w.signIn(hour)
	w = w.restart()
	w.store.invalid[token.Key()] = true
	if ended, err := w.End(t.Context(), token); ended != nil || err != nil || w.store.has(token.Key()) {
		t.Errorf("End: %v, %v", ended, err)
	}
}

func TestEndThatFailed(t *testing.T) {
	down := errors.New("disk on fire")
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	w.store.fail("Delete", down)
	if ended, err := w.End(t.Context(), token); ended != nil || !errors.Is(err, down) {
		t.Errorf("End: %v, %v, want the error", ended, err)
	}
	w.want(Live, token, hour, true)
	if !h.Alive() {
		t.Error("it was not ended, and its handle says so")
	}

	// Deleted, but the answer was lost: memory must not go on with it.
	if _, err := w.End(t.Context(), token); err == nil {
		t.Fatal("no error")
	}
	w.store.fail("Delete", nil)
	w.store.Delete(t.Context(), token.Key())
	w.want(Unknown, token, hour, true)
}

func TestSignInReplaces(t *testing.T) {
	w := newWorld(t, Options{})
	user := User{Directory: "d", ID: "1"}
	old, h := w.signIn(hour)
	token, next, err := w.SignIn(t.Context(), user, "", hour, &old)
	if err != nil || h.Alive() || !next.Alive() || w.store.has(old.Key()) {
		t.Fatalf("error %v, old alive %v, new alive %v", err, h.Alive(), next.Alive())
	}
	w.want(Unknown, old, hour, true)
	w.want(Live, token, hour, true)
	if !w.Replaced(t.Context(), old) || w.Replaced(t.Context(), token) {
		t.Error("Replaced is wrong")
	}
	w.clock.pass(time.Minute - 1)
	if !w.Replaced(t.Context(), old) {
		t.Error("forgotten before a minute has passed")
	}
	w.clock.pass(1)
	if w.Replaced(t.Context(), old) {
		t.Error("remembered after a minute")
	}
}

func TestSignInThatFailed(t *testing.T) {
	w := newWorld(t, Options{})
	old, _ := w.signIn(hour)
	down := errors.New("disk on fire")
	w.store.fail("Create", down)
	token, h, err := w.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, &old)
	if !errors.Is(err, down) || token != (Token{}) || h.Session != nil || w.Replaced(t.Context(), old) {
		t.Errorf("error %v, handle %v", err, h)
	}
	if w.memory.get(old.Key()) != nil {
		t.Error("memory vouches for the old session, which may be gone")
	}
	w.want(Live, old, hour, true)
}

func TestRecentIsBounded(t *testing.T) {
	var r recent
	var keys []Key
	for i := range 3 * recentSize {
		keys = append(keys, NewToken().Key())
		r.add(keys[i], int64(i))
		r.add(keys[i/2], int64(i))
	}
	if len(r.keys) != recentSize || len(r.index) > recentSize {
		t.Errorf("%d keys, index of %d", len(r.keys), len(r.index))
	}
	last := len(keys) - 1
	if at, ok := r.when(keys[last]); !ok || at != int64(last) {
		t.Errorf("the newest: %d, %v", at, ok)
	}
	if at, ok := r.when(keys[last/2]); !ok || at != int64(last) {
		t.Errorf("one that happened again: %d, %v", at, ok)
	}
	if _, ok := r.when(keys[0]); ok {
		t.Error("the oldest is remembered")
	}
	here := r.count()
	if r.mayHave(keys[last], here) {
		t.Error("nothing has happened since")
	}
	r.add(keys[0], 0)
	if !r.mayHave(keys[0], here) || r.mayHave(keys[1], here) {
		t.Error("what happened since is wrong")
	}
	for range recentSize {
		r.add(NewToken().Key(), 0)
	}
	if !r.mayHave(keys[1], here) {
		t.Error("it cannot know any more, and says no")
	}
}

func TestHandleLeftAndRenew(t *testing.T) {
	w := newWorld(t, Options{})
	limits := Limits{Idle: time.Hour, Absolute: 2 * time.Hour}
	token, h := w.signIn(limits)
	left := func(wantIdle, wantAbsolute time.Duration) {
		t.Helper()
		if idle, absolute := h.Left(); idle != wantIdle || absolute != wantAbsolute {
			t.Errorf("left %s and %s, want %s and %s", idle, absolute, wantIdle, wantAbsolute)
		}
	}
	left(time.Hour, 2*time.Hour)
	w.clock.pass(time.Minute - 1)
	if h.Renew() {
		t.Error("renewed before the step")
	}
	left(59*time.Minute+1, 119*time.Minute+1)
	w.clock.pass(1)
	var wg sync.WaitGroup
	var renewed atomic.Int32
	for range 32 {
		wg.Go(func() {
			if w.want(Live, token, limits, true).Renew() {
				renewed.Add(1)
			}
		})
	}
	wg.Wait()
	if renewed.Load() != 1 {
		t.Errorf("%d of the requests of one step renew, want 1", renewed.Load())
	}
	left(time.Hour, 119*time.Minute)
	w.clock.pass(10 * time.Minute)
	if !h.Renew() || h.Renew() {
		t.Error("a later step renews not once")
	}
	for range 2 {
		w.clock.pass(40 * time.Minute)
		w.want(Live, token, limits, true)
	}
	left(29*time.Minute, 29*time.Minute) // the absolute limit comes first
	w.clock.pass(time.Hour)
	left(1, 1)
	if h.Alive() || h.Renew() {
		t.Error("alive past its limit")
	}
	if idle, absolute := (Handle{}).Left(); (Handle{}).Alive() || (Handle{}).Renew() || idle+absolute != 0 {
		t.Error("the zero handle is alive")
	}
}

func TestRenewalStep(t *testing.T) {
	for idle, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, time.Minute: time.Second, 2 * time.Minute: 2 * time.Second,
		time.Hour: time.Minute, 24 * time.Hour: time.Minute, 0: time.Second,
	} {
		if got := (Limits{Idle: idle}).RenewalStep(); got != want {
			t.Errorf("idle %s: step %s, want %s", idle, got, want)
		}
	}
}

func TestRenewAfterARestart(t *testing.T) {
	w := newWorld(t, Options{})
	token, _ := w.signIn(hour)
	w = w.restart()
	w.clock.pass(time.Minute - 1)
	if w.want(Live, token, hour, true).Renew() {
		t.Error("the stored last-seen time does not count as renewal")
	}
	w.clock.pass(1)
	if !w.want(Live, token, hour, true).Renew() {
		t.Error("not renewed")
	}
}

func TestDerived(t *testing.T) {
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	built := 0
	build := func(s *Session) any { built++; return s.ID }
	for range 3 {
		if got := w.want(Live, token, hour, true).Derived(build); got != h.ID {
			t.Errorf("got %v", got)
		}
	}
	if built != 1 {
		t.Errorf("built %d times", built)
	}
	if (Handle{}).Derived(build) != nil {
		t.Error("the zero handle derives something")
	}
}

func TestMemoryIsBoundedByEntries(t *testing.T) {
	for _, most := range []int{1, 10, 1000} {
		w := newWorld(t, Options{MaxEntries: most})
		var tokens []Token
		for range 3 * most {
			token, _ := w.signIn(hour)
			tokens = append(tokens, token)
			if n := w.inMemory(); n > most {
				t.Fatalf("%d sessions in memory, at most %d", n, most)
			}
		}
		for _, token := range tokens {
			w.want(Live, token, hour, true)
		}
		if n := w.inMemory(); n > most || n < most/2 {
			t.Errorf("%d sessions in memory, at most %d", n, most)
		}
	}
}

func TestMemoryIsBoundedByBytes(t *testing.T) {
	w := newWorld(t, Options{MaxEntries: 64, MaxBytes: 100_000})
	groups := make([]Group, 100)
	for i := range groups {
		groups[i].ID = strings.Repeat("x", 100)
	}
	for range 50 {
		if _, _, err := w.SignIn(t.Context(), User{Directory: "d", ID: "1", Groups: groups}, "", hour, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.inMemory(); n < 1 || n > 7 {
		t.Errorf("%d sessions of 15 KB in 100 KB", n)
	}
	for i := range w.memory.shards {
		var sum int64
		for _, e := range w.memory.shards[i].entries {
			sum += e.size
		}
		if got := w.memory.shards[i].bytes; got != sum || got > w.memory.bytes {
			t.Errorf("%d bytes counted, %d there, at most %d", got, sum, w.memory.bytes)
		}
	}
}

func TestEvictionTakesTheLeastRecentlySeen(t *testing.T) {
	w := newWorld(t, Options{MaxEntries: 100})
	kept, _ := w.signIn(hour)
	for range 2000 {
		w.clock.pass(time.Millisecond)
		w.signIn(hour)
		w.want(Live, kept, hour, true)
	}
	if w.store.gets.Load() != 0 {
		t.Error("a session in constant use was evicted")
	}
}

func TestEvictionLosesNoLastSeenTime(t *testing.T) {
	w := newWorld(t, Options{MaxEntries: 1})
	w.store.fail("Touch", errors.New("disk on fire"))
	token, _ := w.signIn(hour)
	w.clock.pass(30 * time.Second) // less than a step: not stored by itself
	w.want(Live, token, hour, true)
	w.clock.pass(time.Second)
	w.signIn(hour)
	if w.memory.get(token.Key()) != nil {
		t.Fatal("not evicted")
	}
	// Not in the store yet, and known all the same.
	w.clock.pass(time.Hour - 2*time.Second)
	w.want(Live, token, hour, false)

	w.store.fail("Touch", nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := w.store.seen(token.Key()), w.clock.now().Add(time.Second-time.Hour); !got.Add(0).Equal(want.Add(0)) {
		t.Errorf("stored %s, want %s", got, want)
	}
}

func TestAHandleOfAnEvictedSession(t *testing.T) {
	w := newWorld(t, Options{MaxEntries: 1})
	token, h := w.signIn(hour)
	w.signIn(hour)
	if w.memory.get(token.Key()) != nil || !h.Alive() {
		t.Fatal("evicted means ended")
	}
	w.clock.pass(30 * time.Minute)
	w.want(Live, token, hour, true)
	if idle, _ := h.Left(); idle != time.Hour || !h.Alive() {
		t.Errorf("left %s: it does not follow the entry that was loaded again", idle)
	}
	w.signIn(hour)
	if _, err := w.End(t.Context(), token); err != nil || h.Alive() {
		t.Errorf("End: %v; the handle's session is alive: %v", err, h.Alive())
	}

	token, h = w.signIn(hour)
	w.signIn(hour)
	for range recentSize + 1 {
		w.kill(NewToken().Key())
	}
	if h.Alive() {
		t.Error("nobody can tell whether it lives, and it says yes")
	}
	w.want(Live, token, hour, true)
}

func TestLastSeenTimesAreStoredOnceAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		s := New(store, Options{}, nil)
		token, _, err := s.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for range 40 * 30 { // 20 minutes, a request every second
			time.Sleep(time.Second)
			if _, got, err := s.Lookup(t.Context(), token, hour, true); got != Live || err != nil {
				t.Fatal(got, err)
			}
			// What a crash now would cost.
			synctest.Wait()
			if lost := time.Since(store.seen(token.Key())); lost > time.Minute {
				t.Fatalf("a crash after %s would cost %s", time.Since(start), lost)
			}
		}
		if n := len(store.writes()); n < 19 || n > 21 {
			t.Errorf("%d writes in 20 minutes of a 1 min step", n)
		}
		if err := s.Close(); err != nil || !store.seen(token.Key()).Equal(time.Now()) {
			t.Errorf("Close: %v, stored %s, want now", err, store.seen(token.Key()))
		}
	})
}

func TestLastSeenTimesGoInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		s := New(store, Options{}, nil)
		var tokens []Token
		for range 1200 {
			token, _, err := s.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, nil)
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, token)
		}
		time.Sleep(2 * time.Minute)
		for _, token := range tokens {
			s.Lookup(t.Context(), token, hour, true)
		}
		time.Sleep(flushDelay(time.Minute) - 1)
		synctest.Wait()
		if len(store.writes()) != 0 {
			t.Error("written before others could join")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		total := 0
		for _, batch := range store.writes() {
			total += len(batch)
			if len(batch) > 500 {
				t.Errorf("batch of %d", len(batch))
			}
		}
		if total != 1200 || len(store.writes()) != 3 {
			t.Errorf("%d touches in %d batches", total, len(store.writes()))
		}
		s.Close()
		if len(store.writes()) != 3 {
			t.Error("Close stored what was stored")
		}
	})
}

func TestAFailedBatchIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		var log bytes.Buffer
		s := New(store, Options{}, slog.New(slog.NewTextHandler(&log, nil)))
		token, _, _ := s.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, nil)
		ended, _, _ := s.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, nil)
		store.fail("Touch", errors.New("disk on fire"))
		var newest time.Time
		for range 10 {
			time.Sleep(90 * time.Second)
			newest = time.Now()
			s.Lookup(t.Context(), token, hour, true)
			s.Lookup(t.Context(), ended, hour, true)
		}
		s.End(t.Context(), ended)
		time.Sleep(10 * time.Second)
		store.fail("Touch", nil)
		time.Sleep(retryLast)
		synctest.Wait()
		if !store.seen(token.Key()).Equal(newest) {
			t.Errorf("stored %s, want the newest %s", store.seen(token.Key()), newest)
		}
		if n := len(store.writes()); n != 1 || len(store.writes()[0]) != 1 {
			t.Errorf("%d writes %v", n, store.writes())
		}
		s.Close()
		if text := log.String(); strings.Count(text, "\n") != 2 ||
			!strings.Contains(text, "fails") || !strings.Contains(text, "works again") {
			t.Errorf("log:\n%s", text)
		}
	})
}

func TestWhatWaitsForTheStoreIsBounded(t *testing.T) {
	w := newWorld(t, Options{MaxEntries: 10})
	w.store.fail("Touch", errors.New("disk on fire"))
	for range 200 {
		token, _ := w.signIn(hour)
		w.clock.pass(2 * time.Minute)
		w.want(Live, token, hour, true)
	}
	if n := len(w.lastSeen.all()); n > 20 {
		t.Errorf("%d last-seen times wait", n)
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		token, _ := w.signIn(hour)
		held, _ := w.signIn(hour)
		w.clock.pass(time.Second)
		w.want(Live, token, hour, true)
		w.memory.forget(held.Key())
		w.store.afterGet = func(ctx context.Context, _ Key) { <-ctx.Done() }
		var wg sync.WaitGroup
		wg.Go(func() { w.Lookup(t.Context(), held, hour, true) })
		synctest.Wait()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if !w.store.closed || !w.store.seen(token.Key()).Equal(w.clock.now()) {
			t.Error("the last-seen time is not stored")
		}
		_, _, lookup := w.Lookup(t.Context(), token, hour, true)
		_, end := w.End(t.Context(), token)
		_, _, signIn := w.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, nil)
		for i, err := range []error{lookup, end, signIn} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("call %d: %v, want ErrClosed", i, err)
			}
		}
		if err := w.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestCloseReportsWhatIsLost(t *testing.T) {
	w := newWorld(t, Options{})
	token, _ := w.signIn(hour)
	w.clock.pass(time.Second)
	w.want(Live, token, hour, true)
	down := errors.New("disk on fire")
	w.store.fail("Touch", down)
	if err := w.Close(); !errors.Is(err, down) || !w.store.closed {
		t.Errorf("Close: %v", err)
	}
}

func TestFailuresAreLoggedWithoutTokens(t *testing.T) {
	var log bytes.Buffer
	store := newFakeStore()
	sessions := New(store, Options{}, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { sessions.Close() })
	token, _, err := sessions.SignIn(t.Context(), User{Directory: "d", ID: "1", Username: "ana"}, "192.0.2.1", Limits{Idle: time.Nanosecond}, nil)
	if err != nil {
		t.Fatal(err)
	}
	store.fail("Drop", errors.New("disk on fire"))
	if _, result, err := sessions.Lookup(t.Context(), token, Limits{}, true); result != Expired || err != nil {
		t.Errorf("Lookup: %v, %v", result, err)
	}
	if text := log.String(); !strings.Contains(text, "disk on fire") || strings.Contains(text, token.Value()) {
		t.Errorf("log: %s", text)
	}
}

// Everything at once, with far too little memory: after an acknowledged end no
// request is served, and nothing else ends a session.
func TestRandomUse(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := newWorld(t, Options{MaxEntries: 8})
	w.store.afterGet = func(context.Context, Key) {
		time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
	}
	type known struct {
		token        Token
		begun, ended atomic.Bool
		handle       Handle
	}
	var mu sync.Mutex
	var all []*known
	var wg sync.WaitGroup
	for worker := range 8 {
		r := rand.New(rand.NewPCG(seed, uint64(worker)))
		wg.Go(func() {
			for range 600 {
				mu.Lock()
				var k *known
				if n := len(all); n > 0 {
					k = all[n-1-r.IntN(min(n, 16))]
				}
				mu.Unlock()
				what := r.IntN(100)
				switch {
				case k == nil || what < 12:
					var old *Token
					if what%2 == 0 && k != nil {
						old = &k.token
						k.begun.Store(true)
					}
					token, h, err := w.SignIn(t.Context(), User{Directory: "d", ID: fmt.Sprint(worker)}, "", hour, old)
					if err != nil {
						t.Error(err)
						return
					}
					if old != nil {
						k.ended.Store(true)
					}
					mu.Lock()
					all = append(all, &known{token: token, handle: h})
					mu.Unlock()
				case what < 20:
					k.begun.Store(true)
					if _, err := w.End(t.Context(), k.token); err != nil {
						t.Error(err)
						return
					}
					k.ended.Store(true)
				default:
					ctx, cancel := t.Context(), context.CancelFunc(func() {})
					if what > 80 {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(300))*time.Microsecond)
					}
					ended := k.ended.Load()
					_, got, err := w.Lookup(ctx, k.token, hour, true)
					cancel()
					switch {
					case errors.Is(err, context.DeadlineExceeded):
					case err != nil, got != Live && got != Unknown:
						t.Errorf("got %v, %v", got, err)
					case got == Live && ended:
						t.Error("a session was served after its end was acknowledged")
					case got == Unknown && !k.begun.Load():
						t.Error("a session is gone, and nobody ended it")
					}
					if ended && k.handle.Alive() {
						t.Error("a handle is alive after the end was acknowledged")
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range w.memory.shards {
		if n := len(w.memory.shards[i].flights); n != 0 {
			t.Errorf("%d reads are left", n)
		}
	}
}
