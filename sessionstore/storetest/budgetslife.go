package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

func budgetLease(t *testing.T, c *counting) {
	juan, home := account("juan"), source("home")
	dead, slow := c.take(juan, home), c.take(juan)
	c.fail(1, juan)
	c.full(juan)
	c.Age(t, sessionstore.PlaceLease-time.Second)
	c.Age(t, 2*time.Second)
	c.blocked(quarter-sessionstore.PlaceLease, juan)
	// One that was only slow is settled late, and counts what it was.
	c.release(slow, juan)
	c.roomy(juan)
	c.Age(t, time.Minute)
	c.settle(sessionstore.Settlement{Attempt: dead, Held: group{juan, home}, Failed: true})
	c.fail(1, juan)
	c.blocked(quarter-2*time.Minute, juan)
	// A success forgets the places of the dead with the failures.
	c.settle(sessionstore.Settlement{Attempt: newAttempt(), Cleared: group{juan, home}})
	c.keys(0, 0)
	c.take(juan)
	c.Age(t, 2*sessionstore.PlaceLease)
	c.settle(sessionstore.Settlement{Attempt: newAttempt(), Cleared: group{juan}})
	c.keys(0, 0)
	// It counts as of when it was taken, beside failures that came later.
	c.take(juan)
	c.Age(t, 10*time.Minute)
	c.fail(2, juan)
	c.blocked(5*time.Minute, juan)
	c.Age(t, 5*time.Minute)
	c.roomy(juan)
	// And for the window of whoever asks.
	long := account("long")
	long.Window, long.Limit = 24*time.Hour, 1
	short := long
	short.Window = quarter
	c.take(long)
	c.Age(t, time.Hour)
	c.blocked(23*time.Hour, long)
	short.Limit = 2
	c.take(short)
	c.roomy(short)
	c.blocked(23*time.Hour, long)
}

func budgetClock(t *testing.T, c *counting) {
	juan, maria, home := account("juan"), account("maria"), source("home")
	c.fail(3, juan, home)
	dead := account("dead")
	dead.Limit = 1
	c.take(dead)
	held := c.take(maria)
	c.fail(2, maria)
	c.Age(t, -48*time.Hour)
	c.blocked(quarter, juan)
	c.full(maria)
	c.full(dead)
	c.Age(t, sessionstore.PlaceLease)
	c.blocked(quarter-sessionstore.PlaceLease, dead)
	// What it was then taken for stays.
	c.Age(t, quarter)
	c.roomy(juan, maria)
	c.release(held, maria)
	// Nobody looks at it, and it goes all the same.
	c.fail(3, juan)
	c.Age(t, -100*24*time.Hour)
	for i := range 20 {
		c.roomy(account(fmt.Sprint("other ", i)), source(fmt.Sprint("other ", i)))
	}
	c.Age(t, time.Hour)
	for i := range 20 {
		c.roomy(account(fmt.Sprint("other ", i)), source(fmt.Sprint("other ", i)))
	}
	c.keys(0, 0)
}

func budgetDamaged(t *testing.T, c *counting) {
	juan := account("juan")
	for name, value := range map[string]string{
		"nothing":       "",
		"a byte":        "\x01",
		"text":          "<html>",
		"format 0":      "\x00\x00\x0d\xbb\xa0\x00\x00",
		"format 32":     "\x20\x00\x0d\xbb\xa0\x00\x00",
		"cut short":     "\x01\x00\x0d\xbb\xa0\x00\x02\x01\x02\x03\x04\x05\x06",
		"half a place":  "\x01\x00\x0d\xbb\xa0\x00\x00\x01\x02\x03\x04\x05\x06",
		"a huge number": "\x01\x00\x0d\xbb\xa0\xff\xff\x01\x02\x03\x04\x05\x06",
		"an endless window": "\x01\xff\xff\xff\xff\x00\x03" +
			"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		c.Damage(t, juan, value)
		attempt := c.take(juan)
		c.keys(1, 0)
		c.release(attempt, juan)
		c.keys(0, 0)
		c.Damage(t, juan, value)
		c.settle(sessionstore.Settlement{Attempt: attempt, Held: group{juan}, Failed: true})
		c.Damage(t, account("another"), value)
		c.settle(sessionstore.Settlement{Attempt: attempt, Cleared: group{juan, account("another")}})
		c.keys(0, 0)
		if t.Failed() {
			t.Fatalf("with %s", name)
		}
	}
	c.fail(3, juan)
	c.blocked(quarter, juan)
}

func budgetOverflow(t *testing.T, c *counting) {
	for i := range 5 {
		c.fail(1, account(fmt.Sprint("victim ", i)))
	}
	unknown, known, home := account("unknown"), account("known"), source("home")
	unknown.Room, known.Room, home.Room = 5, 6, 1
	held, attempt := group{known, unknown, home}, newAttempt()
	r := c.reserve(sessionstore.Reservation{Attempt: attempt, Groups: []group{held}})
	if !r.Taken || !slices.Equal(r.Standings[0].Overflow, []int{1}) {
		t.Errorf("%+v, want no room for the second", r)
	}
	c.keys(6, 1)
	another := account("another")
	another.Room = 6
	r = c.reserve(sessionstore.Reservation{Attempt: newAttempt(), Groups: []group{{another}, {unknown}}})
	if !r.Taken || len(r.Standings) != 1 || !slices.Equal(r.Standings[0].Overflow, []int{0}) {
		t.Errorf("%+v, want the first, without room", r)
	}
	// A failure whose place is gone needs room as well.
	if overflow := c.settle(sessionstore.Settlement{Attempt: attempt, Held: held, Failed: true}); !slices.Equal(overflow, []int{1}) {
		t.Errorf("overflow %v, want the second", overflow)
	}
	// Those that are there go on, and are blocked in the end.
	for i := range 5 {
		victim := account(fmt.Sprint("victim ", i))
		victim.Room = 1
		c.fail(2, victim)
		c.blocked(quarter, victim)
	}
	c.keys(6, 1)
	// Of two new ones the first takes the last room.
	last, late := account("last"), account("late")
	last.Room, late.Room = 7, 7
	attempt = newAttempt()
	r = c.reserve(sessionstore.Reservation{Attempt: attempt, Groups: []group{{last, late, known}}})
	if !r.Taken || !slices.Equal(r.Standings[0].Overflow, []int{1}) {
		t.Errorf("%+v, want room for one of two", r)
	}
	c.release(attempt, last, known)
	// What leaves makes room.
	c.settle(sessionstore.Settlement{Attempt: attempt, Cleared: group{account("victim 1"), known}})
	c.fail(3, unknown)
	c.blocked(quarter, unknown)
}

func budgetExpired(t *testing.T, c *counting) {
	const n = 200
	for i := range n {
		c.fail(1, account(fmt.Sprint("old ", i)), source(fmt.Sprint("old ", i)))
	}
	c.keys(n, n)
	c.Age(t, quarter)
	fresh := account("fresh")
	fresh.Room = n - 20
	c.fail(3, fresh)
	c.blocked(quarter, fresh)
	if accounts, sources := c.Keys(t); accounts >= n || sources >= n {
		t.Errorf("%d accounts and %d sources are left", accounts, sources)
	}
	for range n { // in passing
		c.roomy(account("another"))
	}
	c.keys(1, 0)
	// Whoever comes and goes keeps none of it.
	c.Age(t, 14*time.Minute)
	c.refused(fresh)
	held := fresh
	held.Limit = 4
	c.roomy(held)
	c.Age(t, 2*time.Minute)
	c.roomy(account("another"))
	c.keys(0, 0)
}
