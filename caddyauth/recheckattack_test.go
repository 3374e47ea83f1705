package caddyauth

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// besides returns a re-check beside the server's own one, to take rounds by
// hand.
func besides(t *testing.T) *recheck {
	t.Helper()
	var c *recheck
	rechecks.Range(func(_, value any) bool {
		own := value.(*recheck)
		c = &recheck{directory: own.directory, store: own.store, apps: []*App{own.current()}, wake: make(chan struct{}, 1), ctx: t.Context()}
		return true
	})
	if c == nil {
		t.Fatal("the server re-checks nothing")
	}
	return c
}

// A program that loads the configuration again and again once put every round
// off for ever.
func TestReloadsDoNotPutTheRecheckOff(t *testing.T) {
	s := startRechecked(t, setup{}, "recheck 4s")
	c, asked := s.signIn("deshabilita"), s.countRechecks()
	eventually(t, "a first re-check", func() bool { s.do("GET", "/x", c.cookies); return asked.Load() >= 1 })
	s.replace(func(dir *ldaptest.Directory) { account(t, dir, "deshabilita").State = ldaptest.Disabled })
	eventually(t, "the session ends", func() bool {
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		return s.do("GET", "/x", c.cookies).StatusCode == 401
	})
}

// After an outage nobody waits for the others' turn, and a directory that fails
// in the middle of a round has not come back.
func TestRecheckAfterAnOutage(t *testing.T) {
	dir := rechecked()
	for i := range ldap.MaxRecheck {
		dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "many" + strconv.Itoa(i), Password: ldaptest.DemoPassword})
	}
	s := newServer(t, setup{directory: dir, auth: unthrottled})
	s.setup.servers = "servers " + s.directory.URL() + "\n" + bindService + "\nrecheck 24h"
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.signIn("caduca")
	for i := range ldap.MaxRecheck {
		s.signIn("many" + strconv.Itoa(i))
	}
	c := besides(t)
	const down = 1
	began := time.Now()
	c.failing.Store(down)
	if left, err := c.round(time.Time{}); left != 0 || err != nil || c.failing.Load() != 0 {
		t.Errorf("a round after an outage: %d, %v, failing %v", left, err, c.failing.Load())
	}
	if took := time.Since(began); took > 9*time.Second { // the pause of other rounds is 10 s
		t.Errorf("it took %v", took)
	}

	c.failing.Store(down)
	var batches, whileDown atomic.Int64
	s.directory.Observe(func(r ldaptest.Request) ldaptest.Fault {
		if !strings.Contains(r.Filter, "objectGUID") {
			return ldaptest.Fault{}
		}
		if c.failing.Load() == down {
			whileDown.Add(1)
		}
		if batches.Add(1) > 1 {
			return ldaptest.Fault{HangUp: true}
		}
		return ldaptest.Fault{}
	})
	_, err := c.round(time.Time{})
	if err == nil || c.failing.Load() != 0 {
		t.Fatalf("the second batch failed: %v, failing %v", err, c.failing.Load())
	}
	if whileDown.Load() != 1 {
		t.Errorf("%d questions were asked before the directory counted as back, want 1", whileDown.Load())
	}
	mark := logged.mark()
	c.failed(err, down)
	if c.failing.Load() != down {
		t.Error("a directory that fails in every round begins its time of grace anew")
	}
	for _, line := range logged.since(mark) {
		if strings.Contains(line, "accounts cannot be re-checked") {
			t.Errorf("one outage is logged twice: %s", line)
		}
	}
}

// A store that was down for a moment once kept a session of a disabled account
// alive until it was used again.
func TestRecheckTriesAgainWhatTheStoreDidNotTake(t *testing.T) {
	storage, faults := faultyStorage(t)
	s := startRechecked(t, setup{storage: storage}, "recheck 24h")
	s.signIn("deshabilita")
	moves := s.signIn("caduca")
	s.replace(func(dir *ldaptest.Directory) {
		account(t, dir, "deshabilita").State = ldaptest.Disabled
		account(t, dir, "caduca").MemberOf = []string{"IT Admins"}
	})
	c := besides(t)
	faults.down.Store(true)
	left, err := c.round(time.Time{})
	faults.down.Store(false)
	if left != 2 || err != nil {
		t.Errorf("with the store down: %d left, %v, want 2", left, err)
	}
	if left, err = c.round(time.Time{}); left != 0 || err != nil {
		t.Errorf("with the store back: %d left, %v", left, err)
	}
	wantStatus(t, s.do("GET", "/x", moves.cookies), 200)
}
