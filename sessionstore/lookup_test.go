package sessionstore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSignInMakesAFreshSession(t *testing.T) {
	w := newWorld(t, Options{})
	groups := []Group{{ID: "g"}}
	user := User{Directory: "d", ID: "1", Groups: groups}
	limits := Limits{Idle: time.Hour, Absolute: 12 * time.Hour}
	token, h, err := w.SignIn(t.Context(), user, "192.0.2.1", limits, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, o, _ := w.SignIn(t.Context(), user, "192.0.2.1", limits, nil)
	if token == other || h.ID == o.ID || h.CSRF == o.CSRF {
		t.Error("two sign-ins share a secret or an id")
	}
	groups[0].ID = "changed"
	if h.User.Groups[0].ID != "g" {
		t.Error("the caller can change the session's groups")
	}
	if !h.Created.Equal(w.clock.now()) || h.ClientIP != "192.0.2.1" || h.Limits != limits || len(h.CSRF) != 32 {
		t.Errorf("session %+v", h.Session)
	}
	if got := w.want(Live, token, limits, true); got.Session != h.Session {
		t.Error("Lookup returns another session")
	}
	if w.store.gets.Load() != 0 {
		t.Error("a session in memory was read from the store")
	}
}

func TestSignInRefusesASessionThatNeverEnds(t *testing.T) {
	w := newWorld(t, Options{})
	for _, limits := range []Limits{{}, {Idle: -1}, {Idle: time.Hour, Absolute: -1}} {
		if _, _, err := w.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", limits, nil); err == nil {
			t.Errorf("limits %+v are accepted", limits)
		}
	}
	if len(w.store.records) != 0 {
		t.Error("something was stored")
	}
}

func TestDeadlinesAreExact(t *testing.T) {
	for _, test := range []struct {
		name          string
		record, today Limits
		lives         time.Duration
	}{
		{"idle", Limits{Idle: time.Hour}, Limits{Idle: time.Hour}, time.Hour},
		{"idle of odd length", Limits{Idle: 1500*time.Millisecond + 7}, Limits{}, 1500*time.Millisecond + 7},
		{"absolute", Limits{time.Hour, time.Minute}, Limits{time.Hour, time.Minute}, time.Minute},
		{"today's idle is shorter", Limits{Idle: time.Hour}, Limits{Idle: time.Minute}, time.Minute},
		{"today's idle is longer", Limits{Idle: time.Minute}, Limits{Idle: time.Hour}, time.Minute},
		{"today's absolute is shorter", Limits{time.Hour, 30 * time.Minute}, Limits{time.Hour, time.Minute}, time.Minute},
		{"today's absolute is longer", Limits{time.Hour, time.Minute}, Limits{time.Hour, 30 * time.Minute}, time.Minute},
		{"today has no absolute limit", Limits{time.Hour, time.Minute}, Limits{Idle: time.Hour}, time.Minute},
		{"the record has no absolute limit", Limits{Idle: time.Hour}, Limits{time.Hour, time.Minute}, time.Minute},
		{"today has no limits at all", Limits{time.Minute, time.Hour}, Limits{}, time.Minute},
		{"the longest possible", Limits{1<<63 - 1, 1<<63 - 1}, Limits{Idle: time.Hour}, time.Hour},
	} {
		for _, from := range []string{"memory", "store"} {
			t.Run(test.name+" from "+from, func(t *testing.T) {
				w := newWorld(t, Options{})
				token, signedIn := w.signIn(test.record)
				w.clock.pass(test.lives - 1)
				if from == "store" {
					w = w.restart()
				}
				w.want(Live, token, test.today, false)
				w.clock.pass(1)
				if h := w.want(Expired, token, test.today, true); h.ID != signedIn.ID {
					t.Error("Expired does not tell which session it was")
				}
				if w.store.has(token.Key()) {
					t.Error("the expired session is still stored")
				}
				w.want(Unknown, token, Limits{Idle: 1000 * time.Hour}, true)
				w.restart().want(Unknown, token, Limits{Idle: 1000 * time.Hour}, true)
			})
		}
	}
}

func TestTouchingStartsTheIdleTimerOnly(t *testing.T) {
	w := newWorld(t, Options{})
	limits := Limits{Idle: time.Hour, Absolute: 10 * time.Hour}
	token, _ := w.signIn(limits)
	for range 11 {
		w.clock.pass(54 * time.Minute)
		w.want(Live, token, limits, true)
	}
	w.clock.pass(6 * time.Minute)
	w.want(Expired, token, limits, true)
}

func TestLookingWithoutTouchingRenewsNothing(t *testing.T) {
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	w.clock.pass(59 * time.Minute)
	w.want(Live, token, hour, false)
	if idle, _ := h.Left(); idle != time.Minute {
		t.Errorf("left %s, want 1m", idle)
	}
	w.clock.pass(time.Minute)
	w.want(Expired, token, hour, false)
}

func TestUsedOnAnotherNode(t *testing.T) {
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	w.clock.pass(50 * time.Minute)
	w.store.set(token.Key(), h.Session, w.clock.now())
	w.clock.pass(30 * time.Minute)
	w.want(Live, token, hour, false)
	w.clock.pass(30*time.Minute - 1)
	w.want(Live, token, hour, false)
	w.clock.pass(1)
	w.want(Expired, token, hour, false)
}

func TestEndedOnAnotherNodeAndIdleHere(t *testing.T) {
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	w.store.Delete(t.Context(), token.Key())
	w.clock.pass(time.Hour)
	w.want(Unknown, token, hour, true)
	if h.Alive() || w.inMemory() != 0 {
		t.Error("the session lives on in memory")
	}
}

func TestAStoreFailureIsNeverUnknown(t *testing.T) {
	down := errors.New("disk on fire")
	for _, test := range []struct {
		name string
		prep func(w *world) context.Context
		want error
	}{
		{"failing", func(w *world) context.Context { w.store.fail("Get", down); return w.t.Context() }, down},
		{"closed", func(w *world) context.Context { w.store.Close(); return w.t.Context() }, ErrClosed},
		{"cancelled", func(w *world) context.Context {
			ctx, cancel := context.WithCancel(w.t.Context())
			cancel()
			return ctx
		}, context.Canceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, Options{})
			token, _ := w.signIn(hour)
			stranger := NewToken()
			idle, _ := w.signIn(hour)
			w.clock.pass(59 * time.Minute)
			w.want(Live, token, hour, true)
			w.clock.pass(time.Minute)
			ctx := test.prep(w)
			// In memory, so it does not need the store.
			if _, got, err := w.Lookup(ctx, token, hour, true); got != Live || err != nil {
				t.Errorf("session in memory: %v, %v", got, err)
			}
			for name, token := range map[string]Token{"stranger": stranger, "idle": idle} {
				h, got, err := w.Lookup(ctx, token, hour, true)
				if !errors.Is(err, test.want) || got == Live || h.Session != nil {
					t.Errorf("%s: %v, error %v, want %v", name, got, err, test.want)
				}
			}
		})
	}
	t.Run("works again", func(t *testing.T) {
		w := newWorld(t, Options{})
		token, _ := w.signIn(hour)
		w = w.restart()
		w.store.fail("Get", down)
		w.Lookup(t.Context(), token, hour, true)
		w.store.fail("Get", nil)
		w.want(Live, token, hour, true)
	})
}

func TestExpiredWhileTheStoreFails(t *testing.T) {
	w := newWorld(t, Options{})
	token, _ := w.signIn(hour)
	w.clock.pass(time.Hour)
	w.store.fail("Drop", errors.New("disk on fire"))
	w.want(Expired, token, hour, true)
	w.want(Unknown, token, Limits{Idle: 1000 * time.Hour}, true)
	w.want(Unknown, token, hour, true)
}

func TestOneCallerLearnsOfTheExpiry(t *testing.T) {
	for _, invalid := range []bool{false, true} {
		w := newWorld(t, Options{})
		token, _ := w.signIn(hour)
		w.clock.pass(time.Hour)
		w = w.restart()
		want := Expired
		if invalid {
			w.store.invalid[token.Key()] = true
			want = Invalid
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		counts := map[Result]int{}
		for range 32 {
			wg.Go(func() {
				_, got, err := w.Lookup(t.Context(), token, hour, true)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				counts[got]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if counts[want] != 1 || counts[Unknown] != 31 {
			t.Errorf("results %v, want %v once and else unknown", counts, want)
		}
	}
}

func TestInvalidRecordIsReportedOnce(t *testing.T) {
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	w.store.invalid[token.Key()] = true
	w.clock.pass(time.Hour) // in memory, and looked up again
	w.want(Invalid, token, hour, true)
	w.want(Unknown, token, hour, true)
	if h.Alive() || w.store.has(token.Key()) {
		t.Error("the session is still there")
	}
}

// An anonymous client that sends random tokens must not fill the memory.
func TestUnknownTokensAreNotKept(t *testing.T) {
	w := newWorld(t, Options{})
	for range 1000 {
		w.want(Unknown, NewToken(), hour, true)
	}
	for i := range w.memory.shards {
		sh := &w.memory.shards[i]
		if len(sh.entries)+len(sh.flights) != 0 {
			t.Fatal("something of them is in memory")
		}
	}
}

func TestManyRequestsAreOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		token, _ := w.signIn(hour)
		first := w
		w = w.restart()
		release := make(chan struct{})
		w.store.afterGet = func(context.Context, Key) { <-release }
		leaver, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { // the one that starts the read gives up
			if _, _, err := w.Lookup(leaver, token, hour, true); !errors.Is(err, context.Canceled) {
				t.Errorf("the one that gave up: %v", err)
			}
		})
		synctest.Wait()
		for range 20 {
			wg.Go(func() { w.want(Live, token, hour, true) })
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(release)
		wg.Wait()
		if n := w.store.gets.Load(); n != 1 {
			t.Errorf("%d reads, want 1", n)
		}
		w.Close()
		first.Close()
	})
}

func TestAReadThatNobodyWaitsForEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		token, _ := w.signIn(hour)
		w = w.restart()
		ended := make(chan struct{}, 1)
		w.store.afterGet = func(ctx context.Context, _ Key) { <-ctx.Done(); ended <- struct{}{} }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := w.Lookup(ctx, token, hour, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		<-ended
		w.store.mu.Lock()
		w.store.afterGet = nil
		w.store.mu.Unlock()
		w.want(Live, token, hour, true)
		w.Close()
	})
}

// A read that began before a logout must not bring the session back after it.
func TestNoResurrectionByALateRead(t *testing.T) {
	for _, how := range []string{"end", "replace", "end after the reader left"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{})
			token, _ := w.signIn(hour)
			w = w.restart()
			release := make(chan struct{})
			var held atomic.Bool
			w.store.afterGet = func(context.Context, Key) {
				if held.CompareAndSwap(false, true) {
					<-release
				}
			}
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			var wg sync.WaitGroup
			wg.Go(func() {
				_, got, err := w.Lookup(ctx, token, hour, true)
				if got == Live || err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%s: the late reader got %v, %v", how, got, err)
				}
			})
			synctest.Wait() // it has read, and is held
			switch how {
			case "replace":
				if _, _, err := w.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, &token); err != nil {
					t.Fatal(err)
				}
			case "end after the reader left":
				leave()
				synctest.Wait()
				fallthrough
			default:
				// The audit's own read is not held: only the first is.
				if s, err := w.End(t.Context(), token); s == nil || err != nil {
					t.Fatalf("%s: End: %v, %v", how, s, err)
				}
			}
			close(release)
			wg.Wait()
			synctest.Wait()
			if w.memory.get(token.Key()) != nil {
				t.Errorf("%s: the session is back in memory", how)
			}
			w.want(Unknown, token, hour, true)
			w.Close()
		})
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	w := newWorld(t, Options{})
	token, _ := w.signIn(hour)
	ctx := t.Context()
	n := testing.AllocsPerRun(1000, func() {
		w.clock.pass(time.Millisecond)
		if _, got, err := w.Lookup(ctx, token, hour, true); got != Live || err != nil {
			t.Fatal(got, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestResultNames(t *testing.T) {
	var names []string
	for r := Live; r <= Invalid+1; r++ {
		names = append(names, r.String())
	}
	if got := strings.Join(names, " "); got != "live unknown expired invalid Result(4)" {
		t.Error(got)
	}
}
