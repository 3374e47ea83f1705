package throttle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errDisk = errors.New("no space left on device")

func TestRestart(t *testing.T) {
	c := newClock()
	backend := newFakeBackend()
	options := Options{Now: c.now}
	th := start(t, backend, options)
	cookie := signedIn(t, th, "juan", "id-juan", "")
	fail(t, th, from("juan"), usual, 2)
	fail(t, th, with(from("juan"), cookie), usual, 1)
	fail(t, th, from("maria"), usual, 2)
	fail(t, th, from("leo"), usual, 1)
	begin(t, th, from("leo"), usual).Succeed("id-leo", Own)
	for i := range 15 {
		fail(t, th, from(fmt.Sprint("user", i)), usual, 1)
	}
	c.forward(time.Minute)
	fail(t, th, from("maria"), Limits{Account: usual.Account, Device: usual.Device, Source: Limit{Failures: 25, Window: time.Hour}}, 1)
	if err := th.Close(); err != nil {
		t.Fatal(err)
	}

	t.Run("keeps failures, learned names and devices", func(t *testing.T) {
		th := start(t, backend, options)
		isBlocked(t, th, from("another"), usual, ScopeSource)
		r := from("maria")
		r.Source = anywhere(1)
		if got := isBlocked(t, th, r, usual, ScopeAccount).RetryAfter; got != 14*time.Minute {
			t.Errorf("retry after %v, want 14m", got)
		}
		r = from("juan")
		r.Source = anywhere(1)
		fail(t, th, r, usual, 1)
		isBlocked(t, th, r, usual, ScopeAccount)
		fail(t, th, with(r, cookie), usual, 1)
		isBlocked(t, th, with(r, cookie), usual, ScopeAccount)
	})
	t.Run("keeps no failures that were cleared", func(t *testing.T) {
		th := start(t, backend, options)
		r := from("leo")
		r.Source = anywhere(1)
		fail(t, th, r, usual, 2)
		passes(t, th, r, usual)
	})
	t.Run("drops what has expired", func(t *testing.T) {
		c := newClock()
		c.forward(2 * time.Hour)
		th := start(t, backend, Options{Now: c.now})
		for _, table := range []*table{th.accounts, th.sources} {
			if entries, _ := size(table); entries != 0 {
				t.Errorf("%d entries", entries)
			}
		}
	})
	t.Run("with another secret knows nobody", func(t *testing.T) {
		th, err := New(context.Background(), []byte("another secret of some length"), backend, options)
		if err != nil {
			t.Fatal(err)
		}
		defer th.Close()
		passes(t, th, from("maria"), usual)
	})
	t.Run("with little room keeps what fits, and says so", func(t *testing.T) {
		var l log
		th := start(t, backend, Options{Now: c.now, MaxEntries: 4, Logger: l.logger()})
		if _, counted := size(th.accounts); counted != 8 {
			t.Errorf("%d entries, want twice 4", counted)
		}
		if n := l.count("more saved sign-in counters"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
	t.Run("saves no name and no address", func(t *testing.T) {
		for _, counter := range backend.all() {
			all := string(counter.Key[:]) + string(counter.Value)
			if strings.Contains(all, "maria") || strings.Contains(all, "192.0.2.1") {
				t.Errorf("value %q", counter.Value)
			}
		}
	})
}

func TestSaving(t *testing.T) {
	t.Run("happens within a second, in batches", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			backend := newFakeBackend()
			th := start(t, backend, Options{})
			for i := range 2500 {
				r := from(fmt.Sprint("user", i))
				r.Source = anywhere(i)
				fail(t, th, r, usual, 1)
			}
			time.Sleep(saveEvery)
			synctest.Wait()
			if n := len(backend.all()); n != 5000 {
				t.Errorf("%d counters are saved, want 2500 names and 2500 sources", n)
			}
			for _, n := range backend.saves {
				if n > saveBatch {
					t.Errorf("a batch of %d", n)
				}
			}
			if len(backend.saves) != 5 {
				t.Errorf("%d batches, want 5", len(backend.saves))
			}
			time.Sleep(10 * saveEvery)
			if len(backend.saves) != 5 {
				t.Error("what is saved was saved again")
			}
		})
	})
	t.Run("deletes what a success has cleared", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			backend := newFakeBackend()
			th := start(t, backend, Options{})
			fail(t, th, from("juan"), usual, 1)
			time.Sleep(saveEvery)
			synctest.Wait()
			if n := len(backend.all()); n != 2 {
				t.Errorf("%d counters, want name and source", n)
			}
			begin(t, th, from("juan"), usual).Succeed("id-juan", Own)
			time.Sleep(saveEvery)
			synctest.Wait()
			if n := len(backend.all()); n != 2 {
				t.Errorf("%d counters, want source and learned name", n)
			}
			if _, ok := backend.all()[th.derive(useName, "corp.test", "juan")]; ok {
				t.Error("the failure is still there")
			}
		})
	})
	t.Run("goes on after an outage, which is logged once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l log
			backend := newFakeBackend()
			th := start(t, backend, Options{Logger: l.logger()})
			backend.fail(errDisk)
			fail(t, th, from("juan"), usual, 2)
			time.Sleep(10 * saveEvery)
			fail(t, th, from("juan"), usual, 1)
			time.Sleep(10 * saveEvery)
			isBlocked(t, th, from("juan"), usual, ScopeAccount)
			if n := l.count("counted in memory only"); n != 1 {
				t.Errorf("the outage is logged %d times", n)
			}
			backend.fail(nil)
			time.Sleep(2 * saveEvery)
			synctest.Wait()
			if n := l.count("saved again"); n != 1 {
				t.Errorf("its end is logged %d times", n)
			}
			if n := len(backend.all()); n != 2 {
				t.Errorf("%d counters are saved, want 2", n)
			}
		})
	})
	t.Run("is bounded in an outage", func(t *testing.T) {
		backend := newFakeBackend()
		th := start(t, backend, Options{MaxEntries: 8})
		backend.fail(errDisk)
		for i := range 500 {
			r := from(fmt.Sprint("user", i))
			r.Source = anywhere(i)
			fail(t, th, r, usual, 1)
			r.Source = anywhere(i + 1)
			begin(t, th, r, usual).Succeed("id-"+r.Name, Own)
		}
		for i := range th.accounts.shards {
			if n := len(th.accounts.shards[i].dirty); n > 4*8 {
				t.Errorf("%d changes wait", n)
			}
		}
		backend.fail(nil)
	})
	t.Run("Close reports what it could not save", func(t *testing.T) {
		backend := newFakeBackend()
		th := start(t, backend, Options{})
		fail(t, th, from("juan"), usual, 1)
		backend.fail(errDisk)
		if err := th.Close(); !errors.Is(err, errDisk) {
			t.Errorf("error is %v", err)
		}
	})
}

// hanging is a backend that never answers.
type hanging struct{ *fakeBackend }

func (h hanging) Save(ctx context.Context, _ []Counter) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestHangingBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := start(t, hanging{newFakeBackend()}, Options{})
		fail(t, th, from("juan"), usual, 2)
		time.Sleep(saveEvery + saveTimeout/2)
		began := time.Now()
		fail(t, th, from("juan"), usual, 1)
		isBlocked(t, th, from("juan"), usual, ScopeAccount)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("sign-ins waited %v for the backend", waited)
		}
		if err := th.Close(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error of Close is %v", err)
		}
		if took := time.Since(began); took > closeTimeout {
			t.Errorf("Close took %v", took)
		}
	})
}

func TestLoading(t *testing.T) {
	t.Run("passes over what it cannot read, and says so once", func(t *testing.T) {
		backend := newFakeBackend()
		now := time.Now()
		for i, value := range []string{"", "\x01", "\x09abc", "\x02short"} {
			backend.counters[[16]byte{byte(i + 1)}] = Counter{Key: [16]byte{byte(i + 1)}, Value: []byte(value), Expires: now.Add(time.Hour)}
		}
		good := appendCounter(nil, savedCounter{window: 900_000, times: []int64{now.UnixMilli()}})
		backend.counters[[16]byte{}] = Counter{Value: good, Expires: now.Add(time.Hour)}
		var l log
		th := start(t, backend, Options{Logger: l.logger()})
		if entries, _ := size(th.accounts); entries != 1 {
			t.Errorf("%d entries, want 1", entries)
		}
		if l.count("could not be read") != 1 || l.count("count=4") != 1 {
			t.Errorf("log: %s", l.buf.String())
		}
	})
	t.Run("that fails is an error of New", func(t *testing.T) {
		backend := newFakeBackend()
		backend.fail(errDisk)
		if th, err := New(context.Background(), testSecret, backend, Options{}); !errors.Is(err, errDisk) {
			if err == nil {
				th.Close()
			}
			t.Errorf("error is %v", err)
		}
	})
	t.Run("ends with its context", func(t *testing.T) {
		backend := newFakeBackend()
		backend.counters[[16]byte{}] = Counter{Value: []byte{1}}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if th, err := New(ctx, testSecret, backend, Options{}); !errors.Is(err, context.Canceled) {
			if err == nil {
				th.Close()
			}
			t.Errorf("error is %v", err)
		}
	})
}
