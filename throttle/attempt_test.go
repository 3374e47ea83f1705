package throttle

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

func TestAccountLimit(t *testing.T) {
	c := newClock()
	th := start(t, nil, Options{Now: c.now})
	for range 3 {
		begin(t, th, from("juan"), usual).Fail()
		c.forward(time.Minute)
	}
	t.Run("is per name, with the time until the oldest failure leaves the window", func(t *testing.T) {
		if got := isBlocked(t, th, from("juan"), usual, ScopeAccount).RetryAfter; got != 12*time.Minute {
			t.Errorf("retry after %v, want 12m", got)
		}
		passes(t, th, from("maria"), usual)
	})
	t.Run("is the same from another address, and in another directory there is none", func(t *testing.T) {
		r := from("juan")
		r.Source = anywhere(1)
		isBlocked(t, th, r, usual, ScopeAccount)
		r.Directory = "other.test"
		passes(t, th, r, usual)
	})
	t.Run("rounds up to whole seconds, and is never zero", func(t *testing.T) {
		c.forward(12*time.Minute - time.Millisecond)
		if got := isBlocked(t, th, from("juan"), usual, ScopeAccount).RetryAfter; got != time.Second {
			t.Errorf("retry after %v, want 1s", got)
		}
	})
	t.Run("slides: one place a minute", func(t *testing.T) {
		c.forward(time.Millisecond)
		fail(t, th, from("juan"), usual, 1)
		if got := isBlocked(t, th, from("juan"), usual, ScopeAccount).RetryAfter; got != time.Minute {
			t.Errorf("retry after %v, want 1m", got)
		}
	})
}

func TestSourceLimit(t *testing.T) {
	tests := []struct {
		name, fails, then string
		blocked           bool
	}{
		{"the same address", "192.0.2.1", "192.0.2.1", true},
		{"its neighbour", "192.0.2.1", "192.0.2.2", false},
		{"written as IPv6", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"the same /64", "2001:db8::1", "2001:db8::ffff:1:2", true},
		{"the next /64", "2001:db8::1", "2001:db8:0:1::1", false},
		{"a zone does not matter", "fe80::1%eth0", "fe80::1%eth1", true},
		{"no address at all", "", "", true},
		{"IPv4 is not a corner of IPv6", "0.0.0.0", "::", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			th := start(t, nil, Options{Now: newClock().now})
			address := func(s string) netip.Addr { a, _ := netip.ParseAddr(s); return a }
			for i := range 20 {
				r := from("user" + string(rune('a'+i)))
				r.Source = address(tt.fails)
				fail(t, th, r, usual, 1)
			}
			r := from("another")
			r.Source = address(tt.then)
			if tt.blocked {
				isBlocked(t, th, r, usual, ScopeSource)
			} else {
				passes(t, th, r, usual)
			}
		})
	}
}

func TestOutcomes(t *testing.T) {
	t.Run("a release counts nothing and leaves nothing", func(t *testing.T) {
		th := start(t, nil, Options{})
		for range 50 {
			passes(t, th, from("juan"), usual)
		}
		for _, table := range []*table{th.accounts, th.sources} {
			if entries, _ := size(table); entries != 0 {
				t.Errorf("%d entries are left", entries)
			}
		}
	})
	t.Run("a success clears the account but not the source", func(t *testing.T) {
		th := start(t, nil, Options{})
		limits := usual
		limits.Source.Failures = 4
		fail(t, th, from("juan"), limits, 2)
		begin(t, th, from("juan"), limits).Succeed("id-juan", Own)
		fail(t, th, from("juan"), limits, 2)
		isBlocked(t, th, from("maria"), limits, ScopeSource)
	})
	t.Run("only the first outcome counts", func(t *testing.T) {
		th := start(t, nil, Options{})
		limits := usual
		limits.Account.Failures = 2
		a := begin(t, th, from("juan"), limits)
		a.Fail()
		a.Fail()
		a.Release()
		if cookie := a.Succeed("id-juan", Own); cookie != "" {
			t.Error("a success after a failure makes a device known")
		}
		if err := a.Identify(context.Background(), "id-juan"); err == nil {
			t.Error("an attempt that has ended may go on")
		}
		fail(t, th, from("juan"), limits, 1)
		isBlocked(t, th, from("juan"), limits, ScopeAccount)
	})
	t.Run("a success without an ID clears the name", func(t *testing.T) {
		th := start(t, nil, Options{})
		fail(t, th, from("juan"), usual, 2)
		if cookie := begin(t, th, from("juan"), usual).Succeed("", Own); cookie != "" {
			t.Errorf("device cookie %q of nobody", cookie)
		}
		fail(t, th, from("juan"), usual, 2)
		passes(t, th, from("juan"), usual)
	})
}

func TestIdentify(t *testing.T) {
	ctx := context.Background()
	t.Run("failures of one account meet, whatever it was called", func(t *testing.T) {
		th := start(t, nil, Options{})
		for _, name := range []string{"juan", `corp\juan`, "juan@corp.test"} {
			a := begin(t, th, from(name), usual)
			if err := a.Identify(ctx, "id-juan"); err != nil {
				t.Fatal(err)
			}
			a.Fail()
		}
		a := begin(t, th, from("juan.perez@mail.test"), usual)
		blockedAs(t, a.Identify(ctx, "id-juan"), ScopeAccount)
		blockedAs(t, a.Identify(ctx, "id-other"), ScopeAccount) // a caller that goes on gets no further
		a.Fail()                                                // it has ended: nothing is counted
		a = begin(t, th, from("juan.perez@mail.test"), usual)
		if entries, _ := size(th.accounts); entries != 5 {
			t.Errorf("%d entries, want 3 names, the account, and the attempt under way", entries)
		}
		a.Release()
	})
	t.Run("of two candidates each must have room, and each is counted", func(t *testing.T) {
		th := start(t, nil, Options{})
		for range 3 {
			a := begin(t, th, from("eve"), usual)
			if err := a.Identify(ctx, "id-eve", "id-victim"); err != nil {
				t.Fatal(err)
			}
			a.Fail()
		}
		a := begin(t, th, from("victim"), usual)
		blockedAs(t, a.Identify(ctx, "id-victim"), ScopeAccount)
		a = begin(t, th, from("someone"), usual)
		if err := a.Identify(ctx, "id-someone"); err != nil {
			t.Fatal(err)
		}
		blockedAs(t, a.Identify(ctx, "id-eve"), ScopeAccount)
	})
	t.Run("IDs of one directory are nobody's in another", func(t *testing.T) {
		th := start(t, nil, Options{})
		for range 3 {
			a := begin(t, th, from("juan"), usual)
			if err := a.Identify(ctx, "1"); err != nil {
				t.Fatal(err)
			}
			a.Fail()
		}
		r := Request{Source: home, Directory: "other.test", Name: "x"}
		a := begin(t, th, r, usual)
		defer a.Release()
		if err := a.Identify(ctx, "1"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLearnedNames(t *testing.T) {
	ctx := context.Background()
	names := []string{"juan", `corp\juan`, "juan@corp.test", "juan.perez"}
	t.Run("count for the account from the start", func(t *testing.T) {
		th := start(t, nil, Options{})
		for _, name := range names {
			begin(t, th, from(name), usual).Succeed("id-juan", Own)
		}
		for _, name := range names[:3] {
			fail(t, th, from(name), usual, 1)
		}
		for _, name := range names {
			isBlocked(t, th, from(name), usual, ScopeAccount)
		}
	})
	t.Run("clear the account for each other", func(t *testing.T) {
		th := start(t, nil, Options{})
		for _, name := range names {
			begin(t, th, from(name), usual).Succeed("id-juan", Own)
		}
		fail(t, th, from(names[0]), usual, 2)
		begin(t, th, from(names[1]), usual).Succeed("id-juan", Own)
		fail(t, th, from(names[2]), usual, 2)
		passes(t, th, from(names[3]), usual)
	})
	t.Run("are nothing when the directory says otherwise", func(t *testing.T) {
		th := start(t, nil, Options{})
		begin(t, th, from("juan"), usual).Succeed("id-old", Own)
		for range 3 {
			a := begin(t, th, from("juan"), usual)
			if err := a.Identify(ctx, "id-new"); err != nil {
				t.Fatal(err)
			}
			a.Fail()
		}
		a := begin(t, th, from("other"), usual)
		if err := a.Identify(ctx, "id-old"); err != nil {
			t.Errorf("the account that had the name before: %v", err)
		}
		a.Release()
	})
	t.Run("are forgotten half a year after the last success", func(t *testing.T) {
		c := newClock()
		th := start(t, nil, Options{Now: c.now})
		begin(t, th, from("juan"), usual).Succeed("id-juan", Own)
		c.forward(aliasKept - time.Hour)
		begin(t, th, from("juan"), usual).Succeed("id-juan", Own)
		k := th.derive(useAlias, "corp.test", "juan")
		c.forward(aliasKept - time.Hour)
		if _, ok := th.aliases.get(k, th.millis()); !ok {
			t.Error("a success did not renew the name")
		}
		c.forward(time.Hour)
		if _, ok := th.aliases.get(k, th.millis()); ok {
			t.Error("the name is still known")
		}
	})
	t.Run("are bounded", func(t *testing.T) {
		th := start(t, nil, Options{MaxEntries: 64})
		for i := range 1000 {
			r := from("user" + time.Duration(i).String())
			r.Source = anywhere(i)
			begin(t, th, r, usual).Succeed("id"+r.Name, Own)
		}
		n := 0
		for i := range th.aliases.shards {
			n += len(th.aliases.shards[i].entries)
			if d := len(th.aliases.shards[i].dirty); d > 4*4 {
				t.Errorf("%d names wait to be saved", d)
			}
		}
		if n > 64 {
			t.Errorf("%d names, at most 64 were asked for", n)
		}
	})
}

func TestChangedLimits(t *testing.T) {
	with := func(failures int, window time.Duration) Limits {
		l := usual
		l.Account = Limit{Failures: failures, Window: window}
		return l
	}
	c := newClock()
	th := start(t, nil, Options{Now: c.now})
	for range 5 {
		fail(t, th, from("juan"), with(5, 15*time.Minute), 1)
		c.forward(time.Minute)
	}
	isBlocked(t, th, from("juan"), with(5, 15*time.Minute), ScopeAccount)
	isBlocked(t, th, from("juan"), with(2, 15*time.Minute), ScopeAccount)
	passes(t, th, from("juan"), with(6, 15*time.Minute))
	passes(t, th, from("juan"), with(5, 4*time.Minute))
	isBlocked(t, th, from("juan"), with(4, 5*time.Minute), ScopeAccount)

	// A window that was made longer keeps what the old one would let go.
	isBlocked(t, th, from("juan"), with(5, time.Hour), ScopeAccount)
	c.forward(20 * time.Minute)
	th.accounts.sweepAll(th.millis())
	if got := isBlocked(t, th, from("juan"), with(5, time.Hour), ScopeAccount).RetryAfter; got != 35*time.Minute {
		t.Errorf("retry after %v, want 35m", got)
	}
	passes(t, th, from("juan"), with(5, 15*time.Minute))
}

func TestLargeLimit(t *testing.T) {
	c := newClock()
	th := start(t, nil, Options{Now: c.now})
	limits := usual
	limits.Account.Failures, limits.Source.Failures = MaxFailures, MaxFailures
	for i := range MaxFailures {
		r := from("juan")
		r.Source = anywhere(i)
		fail(t, th, r, limits, 1)
	}
	isBlocked(t, th, from("juan"), limits, ScopeAccount)
	c.forward(limits.Account.Window)
	passes(t, th, from("juan"), limits)
}

func TestInvalidUse(t *testing.T) {
	th := start(t, nil, Options{})
	tests := []struct {
		name   string
		change func(*Limits)
	}{
		{"no failures", func(l *Limits) { l.Account.Failures = 0 }},
		{"a negative number", func(l *Limits) { l.Source.Failures = -1 }},
		{"too many failures", func(l *Limits) { l.Device.Failures = MaxFailures + 1 }},
		{"no window", func(l *Limits) { l.Source.Window = 0 }},
		{"a window below a second", func(l *Limits) { l.Account.Window = time.Second - 1 }},
		{"a window that overflows sums", func(l *Limits) { l.Device.Window = 1<<63 - 1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			limits := usual
			tt.change(&limits)
			if _, err := th.Begin(context.Background(), from("juan"), limits); err == nil {
				t.Error("no error")
			}
		})
	}
	t.Run("a short secret", func(t *testing.T) {
		if th, err := New(context.Background(), make([]byte, 15), nil, Options{}); err == nil {
			th.Close()
			t.Error("no error")
		}
	})
	t.Run("a context that has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := th.Begin(ctx, from("juan"), usual); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("after Close", func(t *testing.T) {
		a := begin(t, th, from("juan"), usual)
		if err := th.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := th.Begin(context.Background(), from("juan"), usual); !errors.Is(err, ErrClosed) {
			t.Errorf("error is %v, want ErrClosed", err)
		}
		a.Fail()
		if err := th.Close(); err != nil {
			t.Errorf("closing again: %v", err)
		}
	})
}
