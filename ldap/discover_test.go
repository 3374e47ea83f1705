package ldap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeDNS answers from a table, after a delay.
type fakeDNS struct {
	mu      sync.Mutex
	answers map[string]answer
	delay   time.Duration
	asked   []string
	times   []time.Time // of questions for the first name
}

func newFakeDNS() *fakeDNS { return &fakeDNS{answers: map[string]answer{}} }

func (f *fakeDNS) set(name string, a answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[name] = a
}

func (f *fakeDNS) slow(delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = delay
}

func (f *fakeDNS) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// lookups are the times of look-ups, each of which asks for the first name.
func (f *fakeDNS) lookups() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.times)
}

func (f *fakeDNS) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	name = "_" + service + "._" + proto + "." + name
	f.mu.Lock()
	f.asked = append(f.asked, name)
	if name == firstName {
		f.times = append(f.times, time.Now())
	}
	delay := f.delay
	f.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return "", nil, errTimeout
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.answers[name]
	if !ok {
		return "", nil, errNotFound
	}
	return name, a.records, a.err
}

// discoveryTest is a discovery of corp.test, and what it runs in.
type discoveryTest struct {
	*discovery
	dns  *fakeDNS
	logs *logs

	life  context.Context
	end   context.CancelFunc
	work  sync.WaitGroup
	mu    sync.Mutex
	ended bool
}

func (d *discoveryTest) start(work func(ctx context.Context)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ended {
		d.work.Go(func() { work(d.life) })
	}
}

// close is what Directory.Close does.
func (d *discoveryTest) close() {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.end()
	d.work.Wait()
}

// discovering runs a test on a clock of its own.
func discovering(t *testing.T, test func(t *testing.T, d *discoveryTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &discoveryTest{dns: newFakeDNS(), logs: &logs{}}
		d.life, d.end = context.WithCancel(context.Background())
		d.discovery = newDiscovery("Corp.Test", d.dns, Config{}.serverAt, d.logs.logger(), d.start)
		test(t, d)
		d.close()
	})
}

// must returns the hosts that are found.
func (d *discoveryTest) must(t *testing.T) []string {
	t.Helper()
	servers, err := d.servers(context.Background())
	if err != nil {
		t.Fatalf("servers: %v", err)
	}
	hosts := make([]string, len(servers))
	for i, s := range servers {
		hosts[i] = s.host
	}
	return hosts
}

// mustBe also waits for the look-up that may have been started.
func (d *discoveryTest) mustBe(t *testing.T, want ...string) {
	t.Helper()
	if got := d.must(t); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("servers %q, want %q", got, want)
	}
	synctest.Wait()
}

// mustFail checks that the error comes within the time.
func (d *discoveryTest) mustFail(t *testing.T, within time.Duration) error {
	t.Helper()
	started := time.Now()
	servers, err := d.servers(context.Background())
	if err == nil {
		t.Fatalf("servers %v, want an error", servers)
	}
	if took := time.Since(started); took > within {
		t.Errorf("the error took %s, want at most %s", took, within)
	}
	return err
}

func (d *discoveryTest) mustHaveLookedUp(t *testing.T, times int) {
	t.Helper()
	synctest.Wait()
	if n := len(d.dns.lookups()); n != times {
		t.Errorf("%d look-ups, want %d", n, times)
	}
}

func manyTargets(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("dc%03d.corp.test.", i)
	}
	return names
}

func TestDiscoveryLooksUpOnlyWhileAsked(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		d.dns.set(firstName, srvAt("dc1.corp.test."))
		d.mustHaveLookedUp(t, 0)
		d.mustBe(t, "dc1.corp.test")
		time.Sleep(5*time.Minute - time.Second)
		d.mustBe(t, "dc1.corp.test")
		d.mustHaveLookedUp(t, 1)
		time.Sleep(time.Hour)
		d.mustHaveLookedUp(t, 1)

		// The old answer is given out while a new one is waited for.
		d.dns.set(firstName, srvAt("dc2.corp.test."))
		d.dns.slow(2 * time.Second)
		started := time.Now()
		d.mustBe(t, "dc1.corp.test")
		if took := time.Since(started); took != 0 {
			t.Errorf("waited %s although servers are known", took)
		}
		time.Sleep(3 * time.Second)
		d.mustBe(t, "dc2.corp.test")
		d.mustHaveLookedUp(t, 2)
	})
}

func TestDiscoveryMakesServersOfTheRecords(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		d.dns.set(firstName, answer{records: []*net.SRV{
			{Target: "DC2.corp.test.", Port: 389, Priority: 20},
			{Target: "dc1.corp.test.", Port: 389, Priority: 10},
			{Target: "dc1.corp.test.", Port: 636, Priority: 20}, // the same server once more
			{Target: "dc2.corp.test.", Port: 10636, Priority: 30},
		}})
		servers, err := d.servers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := []server{
			{url: "ldaps://dc1.corp.test:636", host: "dc1.corp.test", address: "dc1.corp.test:636", implicit: true},
			{url: "ldaps://dc2.corp.test:636", host: "dc2.corp.test", address: "dc2.corp.test:636", implicit: true},
			{url: "ldaps://dc2.corp.test:10636", host: "dc2.corp.test", address: "dc2.corp.test:10636", implicit: true},
		}
		if !slices.Equal(servers, want) {
			t.Errorf("servers %+v, want %+v", servers, want)
		}
		// What a caller does to its list is nobody else's business.
		slices.Reverse(servers)
		if again, _ := d.servers(t.Context()); !slices.Equal(again, want) {
			t.Errorf("servers %+v after the caller changed its list", again)
		}
	})
}

func TestDiscoveryKeepsTheOrderWhileTheRecordsStay(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		names := manyTargets(30)
		d.dns.set(firstName, srvAt(names...))
		order := d.must(t)
		for range 20 {
			slices.Reverse(names)
			d.dns.set(firstName, srvAt(names...))
			time.Sleep(6 * time.Minute)
			d.must(t)
			synctest.Wait()
			if got := d.must(t); !slices.Equal(got, order) {
				t.Fatalf("order %q, want %q as before", got, order)
			}
		}
		d.mustHaveLookedUp(t, 21)
		if n := d.logs.count("directory servers found in DNS"); n != 1 {
			t.Errorf("%d lines about servers found, want 1", n)
		}

		// With another weight they are drawn anew.
		changed := srvAt(names...)
		changed.records[0].Weight = 1
		d.dns.set(firstName, changed)
		time.Sleep(6 * time.Minute)
		d.must(t)
		synctest.Wait()
		if got := d.must(t); slices.Equal(got, order) || len(got) != len(order) {
			t.Errorf("order %q is the old one, or one is lost", got)
		}
		if n := d.logs.count("directory servers found in DNS"); n != 2 {
			t.Errorf("%d lines about servers found, want 2", n)
		}
	})
}

func TestDiscoveryKeepsAtMost64Servers(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		d.dns.set(firstName, srvAt(manyTargets(500)...))
		if n := len(d.must(t)); n != 64 {
			t.Errorf("%d servers, want 64", n)
		}
	})
}

func TestDiscoveryLooksUpOnceForAllWhoWait(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		d.dns.set(firstName, srvAt("dc1.corp.test."))
		d.dns.slow(time.Second)
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				d.hurry()
				if servers, err := d.servers(context.Background()); err != nil || len(servers) != 1 {
					t.Errorf("servers %v, %v", servers, err)
				}
			})
		}
		callers.Wait()
		d.mustHaveLookedUp(t, 1)
	})
}

func TestHurryLooksUpSoonerButNotMoreThanEvery5s(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		d.dns.set(firstName, srvAt("dc1.corp.test."))
		d.mustBe(t, "dc1.corp.test")
		time.Sleep(5 * time.Second)
		d.dns.set(firstName, srvAt("dc2.corp.test."))
		d.hurry()
		synctest.Wait()
		d.mustBe(t, "dc2.corp.test")
		d.mustHaveLookedUp(t, 2)

		// Too early, but not forgotten.
		d.hurry()
		d.mustBe(t, "dc2.corp.test")
		d.mustHaveLookedUp(t, 2)
		time.Sleep(5 * time.Second)
		d.mustBe(t, "dc2.corp.test")
		d.mustHaveLookedUp(t, 3)
		time.Sleep(30 * time.Second)
		d.mustBe(t, "dc2.corp.test")
		d.mustHaveLookedUp(t, 3)

		for range 6000 { // a minute of trouble
			d.hurry()
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		if n := len(d.dns.lookups()) - 3; n < 10 || n > 13 {
			t.Errorf("%d look-ups in a minute of trouble, want about 12", n)
		}
	})
}

func TestDiscoveryWaitsLongerAfterEachFailure(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		d.dns.set(firstName, answer{err: errServfail})
		for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			d.hurry() // which does not help
			d.mustFail(t, 0)
			synctest.Wait()
		}
		times := d.dns.lookups()
		var pauses []time.Duration
		for i := range times[1:] {
			pauses = append(pauses, times[i+1].Sub(times[i]).Round(time.Second))
		}
		want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60}
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(pauses, want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
		if n := d.logs.count("level=WARN"); n != 1 {
			t.Errorf("%d warnings of one outage, want 1", n)
		}

		d.dns.set(firstName, srvAt("dc1.corp.test."))
		time.Sleep(time.Minute)
		d.mustBe(t, "dc1.corp.test")
		if d.logs.count("works again") != 1 || d.logs.count("found in DNS") != 1 {
			t.Errorf("log: %s", d.logs)
		}

		// The next outage begins with a short pause again.
		d.dns.set(firstName, answer{err: errServfail})
		time.Sleep(6 * time.Minute)
		d.mustBe(t, "dc1.corp.test")
		before := len(d.dns.lookups())
		time.Sleep(time.Second)
		d.mustBe(t, "dc1.corp.test")
		d.mustHaveLookedUp(t, before+1)
		if n := d.logs.count("level=WARN"); n != 2 {
			t.Errorf("%d warnings of two outages, want 2", n)
		}
	})
}

func TestKnownServersOutlastDNS(t *testing.T) {
	for _, row := range []struct {
		name string
		says answer
		slow time.Duration
	}{
		{"server failure", answer{err: errServfail}, 0},
		{"timeout", answer{err: errTimeout}, 0},
		{"no answer", answer{}, time.Hour},
		{"the names are gone", answer{err: errNotFound}, 0},
		{"the records are gone", srvAt(), 0},
		{"decidedly no such service", srvAt("."), 0},
		{"only forged records", srvAt("evil.test.", "evilcorp.test."), 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			discovering(t, func(t *testing.T, d *discoveryTest) {
				d.dns.set(firstName, srvAt("dc1.corp.test.", "dc2.corp.test."))
				order := d.must(t)
				d.dns.set(firstName, row.says)
				d.dns.slow(row.slow)
				for end := time.Now().Add(24 * time.Hour); time.Now().Before(end); time.Sleep(time.Minute) {
					started := time.Now()
					if got := d.must(t); !slices.Equal(got, order) || time.Since(started) != 0 {
						t.Fatalf("servers %q after %s, want %q at once", got, time.Since(started), order)
					}
				}
				if n := d.logs.count("looking up directory servers in DNS fails"); n != 1 {
					t.Errorf("%d warnings of the outage, want 1", n)
				}
				d.dns.set(firstName, srvAt("dc2.corp.test.", "dc1.corp.test."))
				d.dns.slow(0)
				time.Sleep(2 * time.Minute)
				d.must(t)
				synctest.Wait()
				if got := d.must(t); !slices.Equal(got, order) || d.logs.count("works again") != 1 {
					t.Errorf("servers %q, want %q; log: %s", got, order, d.logs)
				}
			})
		})
	}
}

func TestErrorsNameTheNamesAndTheCure(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		check := func(err error) {
			t.Helper()
			for _, part := range []string{`"corp.test"`, firstName, secondName, "write servers ldaps://<host>, or let this machine ask the domain's DNS"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		}
		check(d.mustFail(t, 0))
		time.Sleep(time.Minute)
		d.dns.slow(time.Hour)
		check(d.mustFail(t, 3*time.Second))
	})
}

func TestHangingDNSCosts3sOnce(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		d.dns.slow(time.Hour)
		d.mustFail(t, 3*time.Second)
		for range 100 {
			d.mustFail(t, 0)
			time.Sleep(100 * time.Millisecond)
		}
		d.mustHaveLookedUp(t, 1)
	})
}

func TestADeadFirstNameServerIsOutwaited(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		d.dns.set(secondName, srvAt("ldap.corp.test."))
		d.dns.slow(5 * time.Second) // for each of the two names
		d.mustFail(t, 3*time.Second)
		time.Sleep(8 * time.Second)
		d.mustBe(t, "ldap.corp.test")
		d.mustHaveLookedUp(t, 1)
		if d.logs.count("level=WARN") != 0 {
			t.Errorf("log: %s", d.logs)
		}
	})
}

func TestOneWhoGoesAwayDoesNotEndTheLookUpOfOthers(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		d.dns.set(firstName, srvAt("dc1.corp.test."))
		d.dns.slow(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		started := time.Now()
		if _, err := d.servers(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(started) != time.Second {
			t.Errorf("error %v after %s, want that of the context after 1 s", err, time.Since(started))
		}
		d.mustBe(t, "dc1.corp.test")
		d.mustHaveLookedUp(t, 1)

		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if servers, err := d.servers(cancelled); err != nil || len(servers) != 1 {
			t.Errorf("known servers cost no time, but: %v, %v", servers, err)
		}
	})
}

func TestCloseEndsALookUpAndTakesNothingAway(t *testing.T) {
	t.Run("while servers are known", func(t *testing.T) {
		discovering(t, func(t *testing.T, d *discoveryTest) {
			d.dns.set(firstName, srvAt("dc1.corp.test."))
			d.mustBe(t, "dc1.corp.test")
			time.Sleep(time.Hour)
			d.dns.slow(time.Hour)
			d.mustBe(t, "dc1.corp.test")
			started := time.Now()
			d.close()
			if took := time.Since(started); took != 0 {
				t.Errorf("closing took %s", took)
			}
			for range 3 {
				time.Sleep(time.Hour)
				d.hurry()
				d.mustBe(t, "dc1.corp.test")
			}
			d.mustHaveLookedUp(t, 2)
			if d.logs.count("level=WARN") != 0 {
				t.Errorf("log: %s", d.logs)
			}
		})
	})
	t.Run("while somebody waits for the first", func(t *testing.T) {
		discovering(t, func(t *testing.T, d *discoveryTest) {
			d.dns.set(firstName, srvAt("dc1.corp.test."))
			d.dns.slow(time.Second)
			var callers sync.WaitGroup
			for range 10 {
				callers.Go(func() { d.must(t) })
			}
			time.Sleep(500 * time.Millisecond)
			d.close()
			callers.Wait()
			d.mustHaveLookedUp(t, 2)
			if d.logs.count("level=WARN") != 0 {
				t.Errorf("log: %s", d.logs)
			}
		})
	})
	t.Run("before anybody asked", func(t *testing.T) {
		discovering(t, func(t *testing.T, d *discoveryTest) {
			d.close()
			d.hurry()
			time.Sleep(time.Hour)

			// The only one who waits does the look-up, and goes away.
			d.dns.slow(time.Hour)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := d.servers(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want that of the context", err)
			}
			d.mustFail(t, 4*time.Second)

			d.dns.set(firstName, srvAt("dc1.corp.test."))
			d.dns.slow(0)
			time.Sleep(time.Second)
			d.mustBe(t, "dc1.corp.test")
		})
	})
}

func TestIgnoredTargetsAreWarnedOfOnce(t *testing.T) {
	discovering(t, func(t *testing.T, d *discoveryTest) {
		warnings := func(says answer) int {
			t.Helper()
			before := d.logs.count("level=WARN")
			d.dns.set(firstName, says)
			time.Sleep(6 * time.Minute)
			d.mustBe(t, "dc1.corp.test")
			return d.logs.count("level=WARN") - before
		}
		evil := srvAt("dc1.corp.test.", "evil.test.", "evil.test.", "dc 2.corp.test.")
		if n := warnings(evil); n != 2 {
			t.Errorf("%d warnings, want 2; log: %s", n, d.logs)
		}
		for range 5 {
			if n := warnings(evil); n != 0 {
				t.Errorf("%d warnings of the same targets, want none", n)
			}
		}
		if n := warnings(answer{err: errServfail}); n != 1 {
			t.Errorf("%d warnings, want 1, of the outage", n)
		}
		if n := warnings(evil); n != 0 {
			t.Errorf("%d warnings of the same targets after an outage, want none", n)
		}
		if n := warnings(srvAt("dc1.corp.test.", "evil.test.", "worse.test.")); n != 1 {
			t.Errorf("%d warnings of one more target, want 1", n)
		}
		if n := warnings(evil); n != 1 {
			t.Errorf("%d warnings of a target that came back, want 1", n)
		}

		flood := []string{"dc1.corp.test."}
		for i := range 3000 {
			flood = append(flood, fmt.Sprintf("evil%d.test.", i))
		}
		if n := warnings(srvAt(flood...)); n == 0 || n > 11 {
			t.Errorf("%d warnings of a flood, want 11 at the most", n)
		}
		if d.logs.count("found in DNS") != 1 {
			t.Errorf("log: %s", d.logs)
		}
	})
}
