package throttle

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// flood makes failures of n names that do not exist, each from an address of
// its own.
func flood(t testing.TB, th *Throttle, limits Limits, n int) {
	t.Helper()
	for i := range n {
		r := from(fmt.Sprint("flood", i))
		r.Source = anywhere(i)
		if a, err := th.Begin(context.Background(), r, limits); err == nil {
			a.Fail()
		}
	}
}

func TestFlood(t *testing.T) {
	c := newClock()
	options := Options{MaxEntries: 64, Now: c.now}
	away := func(name string) Request {
		return Request{Source: anywhere(1 << 20), Directory: "corp.test", Name: name}
	}

	t.Run("lowers nobody's count, and blocks nobody else", func(t *testing.T) {
		th := start(t, nil, options)
		fail(t, th, from("juan"), usual, 3)
		flood(t, th, usual, 10_000)
		isBlocked(t, th, from("juan"), usual, ScopeAccount)
		for i := range 100 {
			r := from(fmt.Sprint("other", i))
			r.Source = anywhere(1<<20 + i)
			passes(t, th, r, usual)
		}
		if _, counted := size(th.accounts); counted > 64 {
			t.Errorf("%d entries of unknown names, at most 64", counted)
		}
		if _, counted := size(th.sources); counted > 16 {
			t.Errorf("%d entries of sources, at most 16", counted)
		}
	})
	t.Run("does not hide names that come later", func(t *testing.T) {
		th := start(t, nil, options)
		flood(t, th, usual, 10_000)
		fail(t, th, away("juan"), usual, 3)
		blocked := isBlocked(t, th, away("juan"), usual, ScopeAccount)
		if blocked.RetryAfter < usual.Account.Window || blocked.RetryAfter > 2*usual.Account.Window {
			t.Errorf("retry after %v, want one to two windows", blocked.RetryAfter)
		}
		c.forward(blocked.RetryAfter)
		passes(t, th, away("juan"), usual)
	})
	t.Run("does not hide sources that come later", func(t *testing.T) {
		th := start(t, nil, options)
		flood(t, th, usual, 10_000)
		for i := range 20 {
			fail(t, th, away(fmt.Sprint("x", i)), usual, 1)
		}
		isBlocked(t, th, away("juan"), usual, ScopeSource)
	})
	t.Run("a success clears what was counted in the sketch", func(t *testing.T) {
		th := start(t, nil, options)
		flood(t, th, usual, 10_000)
		fail(t, th, away("juan"), usual, 2)
		begin(t, th, away("juan"), usual).Succeed("", Own)
		for range 10 {
			th.accounts.sweepAll(th.millis())
		}
		fail(t, th, away("juan"), usual, 2)
		passes(t, th, away("juan"), usual)
		fail(t, th, away("juan"), usual, 1)
		isBlocked(t, th, away("juan"), usual, ScopeAccount)
	})
	t.Run("what was counted in the sketch is taken over when there is room", func(t *testing.T) {
		th := start(t, nil, options)
		flood(t, th, usual, 10_000)
		c.forward(10 * time.Minute)
		fail(t, th, away("juan"), usual, 2)
		c.forward(5 * time.Minute) // the flood's entries expire, the sketch lives
		for range 100 {
			th.accounts.sweepAll(th.millis())
		}
		fail(t, th, away("juan"), usual, 1)
		k := th.derive(useName, "corp.test", "juan")
		if e := th.accounts.shard(k).entries[k]; e == nil || e.place == uncounted {
			t.Fatal("it has no entry of its own")
		}
		isBlocked(t, th, away("juan"), usual, ScopeAccount)
	})
	t.Run("accounts that exist keep entries of their own", func(t *testing.T) {
		th := start(t, nil, options)
		begin(t, th, away("juan"), usual).Succeed("id-juan", Own)
		flood(t, th, usual, 10_000)
		fail(t, th, away("juan"), usual, 3)
		for _, k := range []key{th.derive(useName, "corp.test", "juan"), th.derive(useID, "corp.test", "id-juan")} {
			if e := th.accounts.shard(k).entries[k]; e == nil || e.failures(th.millis(), 1000) != 3 {
				t.Errorf("not counted exactly: %+v", e)
			}
		}
	})
	t.Run("that nothing can tell apart does not lock everybody out, and is logged once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l log
			th := start(t, nil, Options{MaxEntries: 64, Logger: l.logger()})
			begin(t, th, away("juan"), usual).Succeed("id-juan", Own)
			for i := range sketchWidth * 3 {
				th.accounts.unknown.add(th.derive(useName, "corp.test", fmt.Sprint(i)), th.millis(), usual.Account.Window.Milliseconds())
			}
			flood(t, th, usual, 100)
			one := usual
			one.Account.Failures = 1
			for i := range 50 {
				r := from(fmt.Sprint("other", i))
				r.Source = anywhere(1<<20 + i)
				passes(t, th, r, one)
			}
			fail(t, th, away("juan"), usual, 3)
			isBlocked(t, th, away("juan"), usual, ScopeAccount)
			time.Sleep(10 * saveEvery)
			if n := l.count("more failed sign-ins than"); n != 1 {
				t.Errorf("logged %d times", n)
			}
			time.Sleep(3 * usual.Account.Window)
			if th.accounts.unknown.settled(key{}, th.millis()); th.accounts.unknown.used.Load() {
				t.Error("the sketch has not emptied")
			}
		})
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newFakeBackend()
		th := start(t, backend, Options{})
		backend.fail(errDisk)
		flood(t, th, usual, 5000)
		fail(t, th, from("juan"), usual, 1)
		time.Sleep(usual.Account.Window - time.Minute)
		fail(t, th, from("juan"), usual, 1)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if entries, counted := size(th.accounts); entries != 1 || counted != 1 {
			t.Errorf("%d entries, %d counted, want juan's", entries, counted)
		}
		if entries, _ := size(th.sources); entries != 1 {
			t.Errorf("%d sources, want one", entries)
		}
		for i := range th.accounts.shards {
			sh := &th.accounts.shards[i]
			for k := range sh.dirty {
				if sh.entries[k] == nil {
					t.Fatal("what has expired still waits to be saved")
				}
			}
		}
		backend.fail(nil)
	})
}

func TestSweepKeepsReservations(t *testing.T) {
	c := newClock()
	th := start(t, nil, Options{Now: c.now})
	fail(t, th, from("juan"), usual, 2)
	a := begin(t, th, from("juan"), usual)
	c.forward(time.Hour)
	th.accounts.sweepAll(th.millis())
	if entries, counted := size(th.accounts); entries != 1 || counted != 0 {
		t.Errorf("%d entries, %d counted, want the one of the attempt", entries, counted)
	}
	a.Fail()
	fail(t, th, from("juan"), usual, 2)
	isBlocked(t, th, from("juan"), usual, ScopeAccount)
}

func TestClock(t *testing.T) {
	window := usual.Account.Window
	t.Run("set back blocks for a window at the most", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l log
			var back atomic.Int64
			th := start(t, nil, Options{Logger: l.logger(), Now: func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }})
			fail(t, th, from("juan"), usual, 3)
			time.Sleep(time.Minute)
			synctest.Wait()
			back.Store(int64(365 * 24 * time.Hour))
			time.Sleep(window / 2)
			isBlocked(t, th, from("juan"), usual, ScopeAccount)
			time.Sleep(window/2 + 2*saveEvery)
			passes(t, th, from("juan"), usual)
			if n := l.count("set back"); n != 1 {
				t.Errorf("logged %d times", n)
			}
		})
	})
	t.Run("set back while nothing runs, too", func(t *testing.T) {
		c := newClock()
		backend := newFakeBackend()
		th := start(t, backend, Options{Now: c.now})
		fail(t, th, from("juan"), usual, 3)
		if err := th.Close(); err != nil {
			t.Fatal(err)
		}
		c.forward(-1000 * time.Hour)
		th = start(t, backend, Options{Now: c.now})
		if got := isBlocked(t, th, from("juan"), usual, ScopeAccount).RetryAfter; got > window {
			t.Errorf("retry after %v", got)
		}
		c.forward(window)
		passes(t, th, from("juan"), usual)
	})
	t.Run("set back in a flood blocks for two windows at the most", func(t *testing.T) {
		c := newClock()
		th := start(t, nil, Options{Now: c.now, MaxEntries: 64})
		flood(t, th, usual, 1000)
		r := from("juan")
		r.Source = anywhere(1 << 20)
		fail(t, th, r, usual, 3)
		c.forward(-1000 * time.Hour)
		isBlocked(t, th, r, usual, ScopeAccount)
		c.forward(2 * window)
		passes(t, th, r, usual)
	})
	t.Run("set forward is expiry and nothing else", func(t *testing.T) {
		c := newClock()
		th := start(t, nil, Options{Now: c.now, MaxEntries: 64})
		flood(t, th, usual, 1000)
		fail(t, th, from("juan"), usual, 3)
		c.forward(20 * 365 * 24 * time.Hour)
		fail(t, th, from("juan"), usual, 3)
		isBlocked(t, th, from("juan"), usual, ScopeAccount)
	})
	t.Run("before 1970 counts all the same", func(t *testing.T) {
		th := start(t, nil, Options{Now: func() time.Time { return time.Time{} }})
		fail(t, th, from("juan"), usual, 3)
		isBlocked(t, th, from("juan"), usual, ScopeAccount)
	})
}

func TestClampAllSeesEachEntry(t *testing.T) {
	c := newClock()
	th := start(t, nil, Options{Now: c.now})
	flood(t, th, usual, 3*sweepStep*len(th.accounts.shards))
	c.forward(-time.Hour)
	now := th.millis()
	th.accounts.clampAll(now)
	for i := range th.accounts.shards {
		for _, e := range th.accounts.shards[i].counted {
			if e.times[0] > now {
				t.Fatal("an entry was passed over")
			}
		}
	}
}
