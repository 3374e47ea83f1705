package storetest

import (
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

func budgetFails(t *testing.T, c *counting) {
	juan := account("juan")
	c.fail(1, juan)
	c.Age(t, 2*time.Minute)
	c.fail(1, juan)
	c.Age(t, 2*time.Minute)
	c.fail(1, juan)
	c.blocked(11*time.Minute, juan)
	c.roomy(account("maria"))
	c.Age(t, 11*time.Minute)
	c.fail(1, juan) // the oldest has left the window
	c.blocked(2*time.Minute, juan)
	c.Age(t, time.Hour)
	c.roomy(juan)
}

func budgetBlocked(t *testing.T, c *counting) {
	first, second, third := account("first"), source("second"), account("third")
	c.fail(3, first)
	c.Age(t, 5*time.Minute)
	c.fail(3, third)
	c.fail(3, second)
	second.Window = 20 * time.Minute
	for _, test := range []struct {
		budgets group
		want    time.Duration
		by      int
	}{
		{group{first}, 10 * time.Minute, 0},
		{group{third, first}, 15 * time.Minute, 0},
		{group{first, third}, 15 * time.Minute, 1},
		{group{first, second, third}, 20 * time.Minute, 1},
		{group{account("free"), first}, 10 * time.Minute, 1},
	} {
		if got := c.blocked(test.want, test.budgets...); got.By != test.by || got.Full {
			t.Errorf("%+v, want budget %d", got, test.by)
		}
	}
}

func budgetFull(t *testing.T, c *counting) {
	juan, maria := account("juan"), account("maria")
	c.fail(1, juan)
	one, two := c.take(juan), c.take(juan)
	c.full(juan)
	c.fail(3, maria)
	if s := c.blocked(quarter, juan, maria); !s.Full || s.By != 1 {
		t.Errorf("%+v, want the one full and the other blocked", s)
	}
	c.settle(sessionstore.Settlement{Attempt: one, Held: group{juan}, Failed: true})
	c.full(juan)
	c.settle(sessionstore.Settlement{Attempt: two, Held: group{juan}, Failed: true})
	c.blocked(quarter, juan)
}

func budgetAllOrNone(_ *testing.T, c *counting) {
	juan, home := account("juan"), source("home")
	c.fail(3, juan)
	c.refused(home, juan)
	c.keys(1, 0)
	for range 3 {
		c.take(home)
	}
	c.full(home)
	c.refused(account("maria"), home)
	c.keys(1, 1)
}

func budgetGroups(t *testing.T, c *counting) {
	device, juan, home := account("device"), account("juan"), source("home")
	reserve := func(groups ...group) sessionstore.Reserved {
		return c.reserve(sessionstore.Reservation{Attempt: newAttempt(), Groups: groups})
	}
	if r := reserve(group{device}, group{juan, home}); !r.Taken || len(r.Standings) != 1 {
		t.Errorf("%+v, want the first", r)
	}
	c.keys(1, 0)
	if r := reserve(nil, group{juan, home}); !r.Taken || len(r.Standings) != 2 {
		t.Errorf("%+v, want the second: the first has no budgets", r)
	}
	c.fail(2, device)
	if r := reserve(group{device}, group{juan, home}); !r.Taken || len(r.Standings) != 2 || !r.Standings[0].Full {
		t.Errorf("%+v, want the second: the first is full", r)
	}
	c.fail(1, juan)
	r := reserve(group{device}, group{juan, home})
	if r.Taken || len(r.Standings) != 2 || !r.Standings[0].Full || !r.Standings[1].Full {
		t.Errorf("%+v, want both full", r)
	}
	for name, groups := range map[string][]group{"no groups": nil, "empty ones": {nil, {}}} {
		if r := reserve(groups...); r.Taken || len(r.Standings) != len(groups) {
			t.Errorf("%s: %+v, want no room", name, r)
		}
	}
}

func budgetHeld(t *testing.T, c *counting) {
	juan, id, home := account("juan"), account("id"), source("home")
	c.fail(2, juan)
	attempt := c.take(juan, home)
	c.full(juan)
	// With more budgets than before: its own place does not stand in its way.
	all := group{juan, id, home}
	if r := c.reserve(sessionstore.Reservation{Attempt: attempt, Held: group{juan, home}, Groups: []group{all}}); !r.Taken {
		t.Errorf("%+v, want room", r)
	}
	c.full(juan)
	// Into a budget that is blocked: then it holds nothing any more.
	c.fail(3, account("other"))
	r := c.reserve(sessionstore.Reservation{Attempt: attempt, Held: all, Groups: []group{{juan, account("other")}}})
	if r.Taken || r.Standings[0].Blocked == 0 {
		t.Errorf("%+v, want it blocked", r)
	}
	c.roomy(juan)
	c.keys(2, 0)
	// Another attempt takes nothing from it.
	attempt = c.take(juan)
	c.reserve(sessionstore.Reservation{Attempt: newAttempt(), Held: group{juan}})
	c.release(newAttempt(), juan)
	c.full(juan)
	c.reserve(sessionstore.Reservation{Attempt: attempt, Held: group{juan}})
	c.roomy(juan)
}

func budgetReleased(_ *testing.T, c *counting) {
	juan, home := account("juan"), source("home")
	for range 10 {
		c.roomy(juan, home)
	}
	c.keys(0, 0)
	c.release(newAttempt(), juan, home) // of what was never held
	c.keys(0, 0)
	c.fail(1, juan)
	c.roomy(juan)
	c.keys(1, 0)
}

func budgetCleared(_ *testing.T, c *counting) {
	juan, home := account("juan"), source("home")
	c.fail(2, juan, home)
	attempt, other := c.take(juan, home), newAttempt()
	c.settle(sessionstore.Settlement{Attempt: other, Cleared: group{juan, account("never there")}})
	two, three := c.take(juan), c.take(juan)
	c.full(juan) // with the three places
	c.full(home) // which was not cleared
	c.settle(sessionstore.Settlement{Attempt: attempt, Held: group{juan, home}, Cleared: group{juan}})
	c.release(two, juan)
	c.release(three, juan)
	c.keys(0, 1)
	c.fail(3, juan)
	c.settle(sessionstore.Settlement{Attempt: other, Cleared: group{juan}})
	c.keys(0, 1)
	// A failure of an attempt that was under way before counts all the same.
	attempt = c.take(juan)
	c.settle(sessionstore.Settlement{Attempt: other, Cleared: group{juan}})
	c.settle(sessionstore.Settlement{Attempt: attempt, Held: group{juan}, Failed: true})
	c.keys(1, 1)
}

func budgetSpaces(_ *testing.T, c *counting) {
	c.fail(3, account("same"))
	c.roomy(source("same"))
	c.fail(3, source("same"))
	c.keys(1, 1)
	c.settle(sessionstore.Settlement{Attempt: newAttempt(), Cleared: group{account("same")}})
	c.keys(0, 1)
	c.blocked(quarter, source("same"))
}

func budgetLimits(t *testing.T, c *counting) {
	short := account("juan")
	c.fail(3, short)
	long, narrow := short, short
	long.Limit, long.Window = 4, 30*24*time.Hour
	narrow.Window = time.Second
	c.fail(1, long)
	c.blocked(quarter, short)
	c.Age(t, time.Minute)
	c.roomy(narrow)
	c.Age(t, 29*24*time.Hour)
	c.roomy(short)
	c.blocked(24*time.Hour-time.Minute, long)
	c.fail(1, short) // which keeps what the long window wants
	c.blocked(24*time.Hour-time.Minute, long)
	c.Age(t, 24*time.Hour)
	c.roomy(long)
	// With fewer failures than there are, the newest of them count.
	maria := account("maria")
	c.fail(1, maria)
	c.Age(t, 5*time.Minute)
	c.fail(1, maria)
	maria.Limit = 1
	c.blocked(quarter, maria)
}
