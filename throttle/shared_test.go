package throttle

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// nodes are two processes on one Shared.
func nodes(t testing.TB, shared *fakeShared, options Options) (a, b *Throttle) {
	t.Helper()
	return start(t, shared, options), start(t, shared, options)
}

func (f *fakeShared) wants(t testing.TB, failures, places int) {
	t.Helper()
	if n, under := f.counts(); n != failures || under != places {
		t.Errorf("%d failures and %d places are shared, want %d and %d", n, under, failures, places)
	}
}

func TestSharedLimit(t *testing.T) {
	t.Run("is one for all processes", func(t *testing.T) {
		shared := newFakeShared()
		a, b := nodes(t, shared, Options{})
		fail(t, a, from("juan"), usual, 2)
		fail(t, b, from("juan"), usual, 1)
		isBlocked(t, a, from("juan"), usual, ScopeAccount)
		isBlocked(t, b, from("juan"), usual, ScopeAccount)
		passes(t, b, from("maria"), usual)
		for _, th := range []*Throttle{a, b} {
			if entries, _ := size(th.accounts); entries != 0 {
				t.Errorf("%d entries are counted in memory", entries)
			}
		}
	})
	t.Run("says when and why as a process alone does", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			shared := newFakeShared()
			a, b := nodes(t, shared, Options{})
			cookie := signedIn(t, a, "juan", "id-juan", "")
			fail(t, b, with(from("juan"), cookie), usual, 2)
			time.Sleep(5 * time.Minute)
			fail(t, a, with(from("juan"), cookie), usual, 3)
			if got := isBlocked(t, b, from("juan"), usual, ScopeAccount).RetryAfter; got != 15*time.Minute {
				t.Errorf("retry after %v, want 15m", got)
			}
			if got := isBlocked(t, b, with(from("juan"), cookie), usual, ScopeDevice).RetryAfter; got != 10*time.Minute {
				t.Errorf("retry after %v, want 10m", got)
			}
		})
	})
	t.Run("does not keep waiting who is blocked anyway", func(t *testing.T) {
		shared := newFakeShared()
		a, b := nodes(t, shared, Options{})
		fail(t, a, from("juan"), usual, 3)
		limits := usual
		limits.Source.Failures = 4
		defer begin(t, a, from("maria"), limits).Release()
		before := shared.reservations()
		isBlocked(t, b, from("juan"), limits, ScopeAccount)
		if n := shared.reservations() - before; n != 1 {
			t.Errorf("it asked %d times", n)
		}
	})
	t.Run("is cleared by a success on any of them, not the source's", func(t *testing.T) {
		shared := newFakeShared()
		a, b := nodes(t, shared, Options{})
		fail(t, a, from("juan"), usual, 2)
		shared.wants(t, 4, 0) // of name and source
		begin(t, b, from("juan"), usual).Succeed("id-juan", Own)
		shared.wants(t, 2, 0)
		fail(t, a, from("juan"), usual, 2)
		passes(t, a, from("juan"), usual)
	})
	t.Run("is not begun anew by Identify, which takes all places again", func(t *testing.T) {
		shared := newFakeShared()
		a, b := nodes(t, shared, Options{})
		for _, th := range []*Throttle{a, b, a} {
			attempt := begin(t, th, from("juan"), usual)
			if err := attempt.Identify(t.Context(), "id-juan"); err != nil {
				t.Fatal(err)
			}
			shared.mu.Lock()
			if n := len(shared.settled); n > 0 && shared.settled[n-1].Attempt == attempt.places.id {
				t.Error("two attempts have one ID")
			}
			shared.mu.Unlock()
			attempt.Fail()
		}
		shared.wants(t, 9, 0)
		attempt := begin(t, b, from("juan.perez"), usual)
		blockedAs(t, attempt.Identify(t.Context(), "id-juan"), ScopeAccount)
		shared.wants(t, 9, 0)
	})
}

func TestSharedAliases(t *testing.T) {
	c, shared := newClock(), newFakeShared()
	shared.now = c.now
	a, b := nodes(t, shared, Options{Now: c.now})
	begin(t, a, from("juan@mail.test"), usual).Succeed("id-juan", Further)
	shared.wants(t, 0, 0)
	saves := func() int {
		shared.fakeBackend.mu.Lock()
		defer shared.fakeBackend.mu.Unlock()
		return len(shared.saves)
	}
	if n := saves(); n != 1 {
		t.Errorf("%d saves, want 1", n)
	}
	// A name that was learned there counts for the account here.
	fail(t, b, from("juan@mail.test"), usual, 3)
	attempt := begin(t, a, from("other"), usual)
	blockedAs(t, attempt.Identify(t.Context(), "id-juan"), ScopeAccount)
	// It is written again when it has changed or is a day old.
	c.forward(time.Hour)
	begin(t, b, from("juan@mail.test"), usual).Succeed("id-juan", Further)
	if n := saves(); n != 1 {
		t.Errorf("%d saves within a day, want 1", n)
	}
	c.forward(aliasRenewed)
	begin(t, b, from("juan@mail.test"), usual).Succeed("id-juan", Further)
	begin(t, a, from("juan@mail.test"), usual).Succeed("id-juana", Further)
	if n := saves(); n != 3 {
		t.Errorf("%d saves, want 3", n)
	}
	c.forward(aliasKept + time.Second)
	if attempt := begin(t, b, from("juan@mail.test"), usual); attempt.known {
		t.Error("a name is known for longer than its time")
	} else {
		attempt.Release()
	}
	// What cannot be read means nobody.
	for k := range shared.all() {
		if err := shared.Save(t.Context(), []Counter{{Key: k, Value: []byte("<html>"), Expires: c.now().Add(time.Hour)}}); err != nil {
			t.Fatal(err)
		}
	}
	if attempt := begin(t, b, from("juan@mail.test"), usual); attempt.known {
		t.Error("a name is known by nonsense")
	} else {
		attempt.Release()
	}
}

// TestParallelGuessingAtTwoNodes is TestParallelGuessing, half of it at a
// process that knows nothing of the other half.
func TestParallelGuessingAtTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := nodes(t, newFakeShared(), Options{})
		var binds, blocked atomic.Int32
		var group sync.WaitGroup
		for i := range 100 {
			group.Go(func() {
				attempt, err := []*Throttle{a, b}[i%2].Begin(t.Context(), from("juan"), usual)
				if err != nil {
					blockedAs(t, err, ScopeAccount)
					blocked.Add(1)
					return
				}
				binds.Add(1)
				time.Sleep(bind)
				attempt.Fail()
			})
		}
		group.Wait()
		if binds.Load() != 3 || blocked.Load() != 97 {
			t.Errorf("%d passwords were sent and %d refused, want 3 and 97", binds.Load(), blocked.Load())
		}
	})
}

func TestWaitingForAnotherNode(t *testing.T) {
	one := usual
	one.Account.Failures = 1
	t.Run("ends soon after a place is given back there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := nodes(t, newFakeShared(), Options{})
			held := begin(t, a, from("juan"), one)
			time.AfterFunc(time.Second, held.Release)
			began := time.Now()
			passes(t, b, from("juan"), one)
			if took := time.Since(began); took < time.Second || took > time.Second+2*lastPoll {
				t.Errorf("it took %v", took)
			}
		})
	})
	t.Run("ends with a refusal when the place becomes a failure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := nodes(t, newFakeShared(), Options{})
			time.AfterFunc(time.Second, begin(t, a, from("juan"), one).Fail)
			isBlocked(t, b, from("juan"), one, ScopeAccount)
		})
	})
	t.Run("lasts no longer than MaxWait, and asks neither all the time nor seldom", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			shared := newFakeShared()
			a, b := nodes(t, shared, Options{})
			defer begin(t, a, from("juan"), one).Release()
			began, before := time.Now(), shared.reservations()
			if _, err := b.Begin(t.Context(), from("juan"), one); err != ErrBusy {
				t.Errorf("error %v, want ErrBusy", err)
			}
			if took := time.Since(began); took < defaultMaxWait || took > defaultMaxWait+lastPoll {
				t.Errorf("it took %v", took)
			}
			if n := shared.reservations() - before; n < 12 || n > 60 {
				t.Errorf("it asked %d times", n)
			}
		})
	})
	t.Run("ends with its context, and with the throttle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := nodes(t, newFakeShared(), Options{})
			defer begin(t, a, from("juan"), one).Release()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if _, err := b.Begin(ctx, from("juan"), one); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want the context's", err)
			}
			time.AfterFunc(500*time.Millisecond, func() { b.Close() })
			if _, err := b.Begin(t.Context(), from("juan"), one); err != ErrClosed {
				t.Errorf("error %v, want ErrClosed", err)
			}
		})
	})
}

// A Shared is neither loaded nor saved to: what it has may be more than fits
// here, and of others.
func TestSharedIsNotLoaded(t *testing.T) {
	shared := newFakeShared()
	shared.fail(errDown) // of Load and Save
	th := start(t, shared, Options{})
	fail(t, th, from("juan"), usual, 3)
	if err := th.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if len(shared.saves) != 0 {
		t.Errorf("%d saves", len(shared.saves))
	}
}
