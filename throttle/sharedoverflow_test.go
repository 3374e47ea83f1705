package throttle

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSharedOverflow: what there is no room for is counted by each process.
func TestSharedOverflow(t *testing.T) {
	noRoom := func(Budget) bool { return false }
	t.Run("is blocked here, and there in the end too", func(t *testing.T) {
		shared := newFakeShared()
		a, b := nodes(t, shared, Options{})
		shared.set(func() { shared.hasRoom = noRoom })
		fail(t, a, from("juan"), usual, 3)
		isBlocked(t, a, from("juan"), usual, ScopeAccount)
		fail(t, b, from("juan"), usual, 3)
		isBlocked(t, b, from("juan"), usual, ScopeAccount)
		shared.wants(t, 0, 0)
	})
	t.Run("goes on when there is room again", func(t *testing.T) {
		shared := newFakeShared()
		a, _ := nodes(t, shared, Options{})
		shared.set(func() { shared.hasRoom = noRoom })
		fail(t, a, from("juan"), usual, 2)
		shared.set(func() { shared.hasRoom = nil })
		fail(t, a, from("juan"), usual, 1)
		isBlocked(t, a, from("juan"), usual, ScopeAccount)
		shared.wants(t, 2, 0) // its name and its source are counted there as well
		// A success forgets both.
		attempt := begin(t, a, from("other"), usual)
		attempt.name, attempt.limits = a.derive(useName, "corp.test", "juan"), usual
		attempt.Succeed("id-juan", Own)
		fail(t, a, from("juan"), usual, 2)
		passes(t, a, from("juan"), usual)
	})
	t.Run("waits and is refused as what is shared", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			shared := newFakeShared()
			a, _ := nodes(t, shared, Options{})
			shared.set(func() { shared.hasRoom = func(b Budget) bool { return b.Source } })
			attempts := []*Attempt{begin(t, a, from("juan"), usual), begin(t, a, from("juan"), usual), begin(t, a, from("juan"), usual)}
			if _, err := a.Begin(t.Context(), from("juan"), usual); err != ErrBusy {
				t.Errorf("error %v, want ErrBusy", err)
			}
			shared.wants(t, 0, 3) // the sources of those three only
			time.AfterFunc(time.Second, attempts[0].Release)
			passes(t, a, from("juan"), usual)
			attempts[1].Fail()
			attempts[2].Fail()
			shared.wants(t, 2, 0)
		})
	})
	t.Run("is taken again by Identify, not twice", func(t *testing.T) {
		shared := newFakeShared()
		a, _ := nodes(t, shared, Options{MaxWait: time.Millisecond})
		shared.set(func() { shared.hasRoom = noRoom })
		one := usual
		one.Account.Failures = 1
		attempt := begin(t, a, from("juan"), one)
		if err := attempt.Identify(t.Context(), "id-juan"); err != nil {
			t.Error(err)
		}
		attempt.Release()
		if entries, _ := size(a.accounts); entries != 0 {
			t.Errorf("%d entries are left", entries)
		}
	})
	t.Run("of a device leads to the common budgets", func(t *testing.T) {
		c, shared := newClock(), newFakeShared()
		shared.now = c.now
		a, _ := nodes(t, shared, Options{Now: c.now})
		cookie := signedIn(t, a, "juan", "id-juan", "")
		device := a.deviceKey(parseDevices(cookie)[0], a.derive(useID, "corp.test", "id-juan"))
		shared.set(func() { shared.hasRoom = func(b Budget) bool { return b.Key != device } })
		fail(t, a, with(from("juan"), cookie), usual, 2)
		shared.wants(t, 0, 0)
		c.forward(5 * time.Minute)
		fail(t, a, with(from("juan"), cookie), usual, 3)
		shared.wants(t, 9, 0) // source, name and account
		if got := isBlocked(t, a, with(from("juan"), cookie), usual, ScopeDevice); got.RetryAfter != 10*time.Minute {
			t.Errorf("retry after %v", got.RetryAfter)
		}
		shared.wants(t, 9, 0)
	})
	t.Run("of a failure whose place is gone", func(t *testing.T) {
		shared := newFakeShared()
		a, _ := nodes(t, shared, Options{})
		attempts := []*Attempt{begin(t, a, from("juan"), usual), begin(t, a, from("juan"), usual), begin(t, a, from("juan"), usual)}
		shared.set(func() { clear(shared.budgets); shared.hasRoom = noRoom })
		for _, attempt := range attempts {
			attempt.Fail()
		}
		shared.wants(t, 0, 0)
		isBlocked(t, a, from("juan"), usual, ScopeAccount)
	})
	t.Run("has the bounds of the options", func(t *testing.T) {
		shared := newFakeShared()
		th := start(t, shared, Options{MaxEntries: 400})
		rooms := map[string]int{}
		shared.set(func() {
			shared.hasRoom = func(b Budget) bool {
				kind := "made-up"
				switch b.Key {
				case th.derive(useName, "corp.test", "juan"), th.derive(useID, "corp.test", "id-juan"):
					kind = "known"
				}
				if b.Source {
					kind = "source"
				}
				rooms[kind] = b.Room
				return true
			}
		})
		passes(t, th, from(strings.Repeat("x", 3)), usual)
		begin(t, th, from("juan"), usual).Succeed("id-juan", Own)
		passes(t, th, from("juan"), usual)
		if rooms["made-up"] != 400 || rooms["known"] != 800 || rooms["source"] != 100 {
			t.Errorf("rooms %v", rooms)
		}
	})
}
