package sessionstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// machine is a computer with a store: its clock can be set, it can sleep,
// restart and crash.
type machine struct {
	*world
	wall, elapsed atomic.Int64
	told          reports
	log           *lockedBuffer
}

func newMachine(t *testing.T) *machine {
	m := &machine{log: &lockedBuffer{}}
	m.wall.Store(time.Date(2025, 11, 21, 12, 0, 0, 0, time.UTC).UnixNano())
	m.start(t, newFakeStore())
	return m
}

func (m *machine) start(t *testing.T, store *fakeStore) {
	m.world = &world{t: t, store: store}
	m.Sessions = New(store, Options{
		Now:     func() time.Time { return time.Unix(0, m.wall.Load()) },
		Elapsed: func() time.Duration { return time.Duration(m.elapsed.Load()) },
		Ended:   m.told.ended,
	}, slog.New(slog.NewTextHandler(m.log, nil)))
	t.Cleanup(func() { m.world.Sessions.Close() })
}

// lockedBuffer is a log that several may write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// pass has the machine run for d.
func (m *machine) pass(d time.Duration) {
	m.elapsed.Add(int64(d))
	m.set(d)
}

// set moves the wall clock only: by hand, or while the machine sleeps.
func (m *machine) set(d time.Duration) {
	m.wall.Add(int64(d))
	m.followWall()
}

// restart is a clean one: the mark is stored.
func (m *machine) restart() {
	m.t.Helper()
	if err := m.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.start(m.t, m.store.reopened())
}

// crash loses what is only in memory. mark is the one that was stored last.
func (m *machine) crash(mark time.Time) {
	m.store.Close()
	m.Sessions.Close() // which stores nothing any more
	next := m.store.reopened()
	next.mark = mark
	m.start(m.t, next)
}

func (m *machine) time() time.Time { return time.Unix(0, m.nanos()).UTC() }

const day = 24 * time.Hour

func TestSettingTheClockBackProlongsNothing(t *testing.T) {
	m := newMachine(t)
	idle, h := m.signIn(hour)
	absolute, _ := m.signIn(Limits{Idle: day, Absolute: 2 * time.Hour})
	m.pass(30 * time.Minute)
	m.set(-day)
	if _, left := m.want(Live, absolute, Limits{}, true).Left(); left != 90*time.Minute {
		t.Errorf("%s left, want 90 min", left)
	}
	m.pass(30*time.Minute - 1)
	m.want(Live, idle, Limits{}, false)
	if h.Age() != time.Hour-1 {
		t.Errorf("age %s", h.Age())
	}
	m.pass(1)
	m.want(Expired, idle, Limits{}, true)
	m.pass(time.Hour - 1)
	m.want(Live, absolute, Limits{}, true)
	m.pass(1)
	m.want(Expired, absolute, Limits{}, true)

	// A new one lives its time too.
	next, _ := m.signIn(hour)
	m.pass(time.Hour - 1)
	m.want(Live, next, Limits{}, false)
	m.pass(1)
	m.want(Expired, next, Limits{}, false)
}

func TestSettingTheClockAheadEndsWhatItPasses(t *testing.T) {
	m := newMachine(t)
	short, h := m.signIn(hour)
	long, _ := m.signIn(Limits{Idle: 3 * day})
	a := m.open(h, true)
	m.set(day)
	m.look()
	if a.told.Load() != 1 || m.told.of(h.ID) != 1 {
		t.Errorf("the stream was told %d times, the end reported %d times", a.told.Load(), m.told.of(h.ID))
	}
	m.want(Unknown, short, Limits{}, true)
	if idle, _ := m.want(Live, long, Limits{}, false).Left(); idle != 2*day {
		t.Errorf("%s left, want 2 days", idle)
	}
	if !strings.Contains(m.log.String(), "set ahead") {
		t.Error("not logged")
	}
	between, _ := m.signIn(hour)

	// And back again.
	m.set(-day)
	m.want(Unknown, short, Limits{}, true)
	m.want(Live, between, Limits{}, false)
	after, late := m.signIn(hour)
	if late.Age() != 0 {
		t.Errorf("a new session is %s old", late.Age())
	}
	m.pass(time.Hour - 1)
	m.want(Live, between, Limits{}, false)
	m.want(Live, after, Limits{}, false)
	m.pass(1)
	m.want(Expired, between, Limits{}, false)
	m.want(Expired, after, Limits{}, false)
	m.pass(2*day - time.Hour - 1)
	m.want(Live, long, Limits{}, false)
	m.pass(1)
	m.want(Expired, long, Limits{}, false)
}

func TestAMachinesSleepCounts(t *testing.T) {
	m := newMachine(t)
	idle, _ := m.signIn(hour)
	other, _ := m.signIn(Limits{Idle: 2 * time.Hour})
	m.set(time.Hour) // the wall clock goes on, the time since the start does not
	m.want(Expired, idle, Limits{}, true)
	m.want(Live, other, Limits{}, true)
}

func TestRestartWithTheClockSetBack(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash %v", crash), func(t *testing.T) {
			m := newMachine(t)
			idle, _ := m.signIn(hour)
			absolute, _ := m.signIn(Limits{Idle: day, Absolute: 2 * time.Hour})
			m.pass(30 * time.Minute)
			mark := m.time()
			m.set(-day)
			if crash {
				m.crash(mark)
			} else {
				m.restart()
			}
			m.want(Live, idle, Limits{}, false)
			if m.time().Before(mark) {
				t.Errorf("the time is %s, it was %s", m.time(), mark)
			}
			if !strings.Contains(m.log.String(), "clock is behind") {
				t.Error("not logged")
			}
			m.pass(30*time.Minute - 1)
			m.want(Live, idle, Limits{}, false)
			m.pass(1)
			m.want(Expired, idle, Limits{}, false)
			fresh, h := m.signIn(hour)
			if h.Age() != 0 {
				t.Errorf("age %s", h.Age())
			}
			m.pass(time.Hour - 1)
			m.want(Live, absolute, Limits{}, true)
			m.want(Live, fresh, Limits{}, false)
			m.pass(1)
			m.want(Expired, absolute, Limits{}, true)
			m.want(Expired, fresh, Limits{}, false)
		})
	}
}

// The clock was a year ahead, nothing of that time was marked, and it is right
// again: what was signed in then must not live for a year.
func TestCrashWithAClockThatWasAhead(t *testing.T) {
	const year = 365 * day
	for name, limits := range map[string]Limits{
		"idle":                      hour,
		"absolute":                  {Idle: 10 * year, Absolute: time.Hour},
		"neither":                   {Idle: 10 * year},
		"as long as a duration can": {Idle: 1<<63 - 1, Absolute: 1<<63 - 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.signIn(hour)
			mark := m.time()
			m.set(year)
			token, h := m.signIn(limits)
			listed, other := m.signIn(limits)
			m.set(-year)
			m.crash(mark)
			if _, ok, err := m.Show(t.Context(), other.ID, Limits{}); ok || err != nil {
				t.Errorf("Show: %v, %v", ok, err)
			}
			page, _, err := m.List(t.Context(), ListQuery{Limit: 10}, Limits{})
			if err != nil || len(page) != 1 {
				t.Errorf("List: %d sessions, error %v, want the one from before", len(page), err)
			}
			if got := m.want(Expired, token, Limits{}, true); got.ID != h.ID {
				t.Errorf("session %s, want %s", got.ID, h.ID)
			}
			m.want(Unknown, token, Limits{}, true)
			m.pass(time.Minute)
			m.want(Unknown, token, Limits{}, true)

			// Nobody asks for the other one: it does not stay for a year either.
			if err := m.sweep(t.Context(), 0); err != nil || m.store.has(listed.Key()) {
				t.Errorf("sweep: %v, still there: %v", err, m.store.has(listed.Key()))
			}
			if m.told.of(other.ID) != 1 || m.told.of(h.ID) != 0 {
				t.Errorf("reported %d and %d times, want 1 and 0", m.told.of(other.ID), m.told.of(h.ID))
			}
			m.want(Unknown, listed, Limits{}, true)
		})
	}
}

// What a crash leaves out of the mark is less than the tolerance.
func TestCrashALittleAfterTheMark(t *testing.T) {
	m := newMachine(t)
	m.signIn(hour)
	mark := m.time()
	m.pass(time.Minute)
	limits := Limits{Idle: time.Hour, Absolute: 2 * time.Hour}
	idle, _ := m.signIn(hour)
	absolute, _ := m.signIn(limits)
	m.set(-day)
	m.crash(mark)
	h := m.want(Live, absolute, Limits{}, false)
	if idle, absolute := h.Left(); idle > time.Hour || absolute > 2*time.Hour || h.Seen().After(m.time()) {
		t.Errorf("%s and %s left, seen %s", idle, absolute, h.Seen())
	}
	m.want(Live, idle, Limits{}, false)
	m.pass(time.Hour + clockTolerance)
	m.want(Expired, idle, Limits{}, false)
	m.want(Expired, absolute, limits, false)

	// One that is used ends with its absolute limit all the same.
	mark = m.time()
	m.pass(time.Minute)
	absolute, _ = m.signIn(limits)
	m.crash(mark)
	for range 8 {
		m.want(Live, absolute, limits, true)
		m.pass(15 * time.Minute)
	}
	m.pass(clockTolerance)
	m.want(Expired, absolute, limits, true)
}

func TestTheMarkComesFirst(t *testing.T) {
	down := errors.New("disk on fire")
	m := newMachine(t)
	token, _ := m.signIn(hour)
	m.pass(2 * time.Hour)
	m.set(-day)
	m.restart()
	m.store.fail("Mark", down)
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Lookup": func() error { _, _, err := m.Lookup(ctx, token, Limits{}, true); return err },
		"SignIn": func() error {
			_, _, err := m.SignIn(ctx, User{Directory: "d", ID: "1"}, "", hour, nil)
			return err
		},
		"List":  func() error { _, _, err := m.List(ctx, ListQuery{Limit: 1}, Limits{}); return err },
		"Show":  func() error { _, _, err := m.Show(ctx, "x", Limits{}); return err },
		"sweep": func() error { return m.sweep(ctx, 0) },
	} {
		if err := call(); !errors.Is(err, down) {
			t.Errorf("%s judges without knowing the time: error %v", name, err)
		}
	}
	if !m.store.has(token.Key()) || m.store.gets.Load() != 0 {
		t.Error("a session was looked at")
	}
	// Ending needs no time.
	if _, err := m.End(ctx, NewToken()); err != nil {
		t.Errorf("End: %v", err)
	}
	m.store.fail("Mark", nil)
	m.want(Expired, token, Limits{}, true)
}

func TestTheMarkIsStoredOnceAMinuteAndAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hookStore{fakeStore: newFakeStore()}
		store.mark = time.Now().Add(time.Hour).UTC() // of before
		s := New(store, Options{}, nil)
		defer s.Close()
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if len(store.offered()) != 0 {
			t.Fatal("a mark is stored before the one of before was read")
		}
		start := time.Now()
		if _, _, err := s.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(markEvery + 2*time.Second - 1)
		synctest.Wait()
		if got := store.offered(); len(got) != 2 || !got[0].IsZero() || got[1].Before(start.Add(time.Hour-time.Minute)) {
			t.Errorf("marks %v, want the question and one", got)
		}
		store.fail("Mark", errors.New("disk on fire"))
		time.Sleep(5 * time.Minute)
		store.fail("Mark", nil)
		time.Sleep(25 * time.Minute)
		synctest.Wait()
		var last time.Time
		stored := 0
		for _, at := range store.offered() {
			if at.IsZero() {
				continue
			}
			stored++
			if !last.IsZero() && at.Sub(last) < markEvery {
				t.Errorf("marks at %s and %s", last, at)
			}
			last = at
		}
		if stored < 29 || stored > 31 {
			t.Errorf("%d marks in %s", stored, time.Since(start))
		}
		time.Sleep(30*time.Second + 1)
		synctest.Wait()
		want := time.Unix(0, s.nanos()).UTC()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if !store.mark.Equal(want) {
			t.Errorf("Close marks %s, want %s", store.mark, want)
		}
	})
}

func TestCloseMarksNothingThatItDoesNotKnow(t *testing.T) {
	store := &hookStore{fakeStore: newFakeStore()}
	if err := New(store, Options{}, nil).Close(); err != nil || len(store.offered()) != 0 {
		t.Errorf("marks %v, error %v", store.offered(), err)
	}
}

func TestAnotherNodesMarkIsFollowed(t *testing.T) {
	m := newMachine(t)
	token, _ := m.signIn(hour)
	m.store.mu.Lock()
	m.store.mark = m.time().Add(time.Hour)
	m.store.mu.Unlock()
	if err := m.saveMark(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.want(Expired, token, hour, true)
	before := m.store.mark
	m.set(-day)
	if err := m.saveMark(t.Context()); err != nil || m.store.mark.Before(before) {
		t.Errorf("the mark went back to %s, error %v", m.store.mark, err)
	}
}

func TestTheClockNeverGoesBackInAnyGoroutine(t *testing.T) {
	var wall, elapsed atomic.Int64
	c := newClock(func() time.Time { return time.Unix(0, wall.Load()) }, func() time.Duration { return time.Duration(elapsed.Load()) })
	var movers, readers sync.WaitGroup
	var done atomic.Bool
	for range 3 {
		movers.Go(func() {
			for range 20_000 {
				elapsed.Add(int64(rand.IntN(1000)))
				wall.Add(int64(rand.IntN(10_000) - 5000))
				c.follow(wall.Load())
			}
		})
		readers.Go(func() {
			for last := c.nanos(); !done.Load(); {
				now := c.nanos()
				if now < last {
					t.Errorf("from %d back to %d", last, now)
					return
				}
				last = now
			}
		})
	}
	movers.Wait()
	done.Store(true)
	readers.Wait()
	if c.follow(c.nanos()-1) != 0 {
		t.Error("a time that has passed moves the clock")
	}
}

func TestLimitsAsLongAsADurationCanBe(t *testing.T) {
	longest := Limits{Idle: 1<<63 - 1, Absolute: 1<<63 - 1}
	m := newMachine(t)
	m.signIn(hour)
	mark := m.time()
	m.pass(time.Minute)
	token, _ := m.signIn(longest)
	m.crash(mark) // signed in a minute from now
	m.set(-time.Minute)
	h := m.want(Live, token, Limits{}, true)
	if idle, absolute := h.Left(); idle < day || absolute < day {
		t.Errorf("left %s and %s", idle, absolute)
	}
	m.pass(1000 * day)
	m.want(Live, token, Limits{}, true)
	if err := m.sweep(t.Context(), 0); err != nil || !m.store.has(token.Key()) {
		t.Errorf("swept: %v", err)
	}
}

// A clock that is ahead for a moment, in which somebody signs in, and a crash
// before the minute's mark: the session must not start its life anew when the
// clock that is right again has come so far.
func TestSignInByAClockThatIsAheadAndACrash(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"the first mark": 0, "a later one": 2 * day} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if ahead > 0 {
				m.signIn(hour)
			}
			m.set(ahead)
			token, _ := m.signIn(Limits{Idle: 30 * time.Minute})
			m.set(-time.Hour)
			m.crash(m.store.mark)
			if err := m.sweep(t.Context(), 0); err != nil { // as within the first minute
				t.Fatal(err)
			}
			m.pass(61 * time.Minute)
			m.want(Expired, token, Limits{}, true)
		})
	}
}

// Whatever is done to the clock: no session outlives its limits in time that
// really passed, but for what each crash leaves out of the mark, and none is
// short of it unless the clock was set ahead.
func TestRandomClocks(t *testing.T) {
	for range 40 {
		seed := rand.Uint64()
		for _, honest := range []bool{true, false} {
			if !randomClock(t, rand.New(rand.NewPCG(seed, 0)), honest) {
				t.Fatalf("seed %d, honest clock %v", seed, honest)
			}
		}
	}
}

type clockedSession struct {
	token         Token
	limits        Limits
	created, used time.Duration // of the time that really passed
	crashes       int           // until then
}

func randomClock(t *testing.T, r *rand.Rand, honest bool) bool {
	m := newMachine(t)
	defer func() { m.Close() }()
	var sessions []*clockedSession
	var passed time.Duration
	crashes := 0
	marked := m.time()
	span := func(most time.Duration) time.Duration { return time.Duration(r.Int64N(int64(most))) + 1 }
	// run lets time pass in steps, with a mark once a minute.
	run := func(d time.Duration) {
		for d > 0 {
			step := min(d, 30*time.Second)
			passed += step
			d -= step
			m.pass(step)
			if m.time().Sub(marked) >= markEvery && m.Sessions.clock.started.Load() {
				if err := m.saveMark(context.Background()); err != nil {
					t.Fatal(err)
				}
				marked = m.time()
			}
		}
	}
	ok := true
	check := func(c *clockedSession) {
		_, got, err := m.Lookup(context.Background(), c.token, Limits{}, true)
		if err != nil {
			t.Fatal(err)
		}
		idle, age := passed-c.used, passed-c.created
		grace := time.Duration(crashes-c.crashes) * (markEvery + 30*time.Second + clockTolerance)
		past := idle >= c.limits.Idle+grace || c.limits.Absolute > 0 && age >= c.limits.Absolute+grace
		within := idle < c.limits.Idle && (c.limits.Absolute == 0 || age < c.limits.Absolute)
		switch {
		case got == Live && past:
			t.Errorf("lives: unused for %s, %s old, limits %+v", idle, age, c.limits)
			ok = false
		case got != Live && honest && within:
			t.Errorf("%v: unused for %s, %s old, limits %+v", got, idle, age, c.limits)
			ok = false
		}
		if got == Live {
			c.used = passed
		} else {
			c.limits.Idle = -1 << 62 // it must not come back
		}
	}
	for range 60 {
		if !ok {
			return false
		}
		switch op := r.IntN(12); {
		case op < 3:
			limits := Limits{Idle: span(time.Hour)}
			if r.IntN(2) == 0 {
				limits.Absolute = span(2 * time.Hour)
			}
			token, _ := m.signIn(limits)
			sessions = append(sessions, &clockedSession{token, limits, passed, passed, crashes})
		case op < 6:
			run(span(20 * time.Minute))
		case op < 9 && len(sessions) > 0:
			check(sessions[r.IntN(len(sessions))])
		case op == 9:
			m.restart()
			if !m.Sessions.clock.started.Load() {
				_, _, _ = m.Lookup(context.Background(), NewToken(), Limits{}, false)
			}
			marked = m.time()
		case op == 10 && honest: // the machine sleeps
			d := span(20 * time.Minute)
			passed += d
			m.set(d)
		case op == 10:
			jump := []time.Duration{-day, -time.Hour, -time.Minute, time.Minute, time.Hour, 2 * day}[r.IntN(6)]
			m.set(jump)
			if m.time().Sub(marked) >= markEvery && r.IntN(2) == 0 { // it may crash before
				run(time.Second)
			}
		case op == 11 && !honest:
			mark := m.store.mark
			m.crash(mark)
			_, _, _ = m.Lookup(context.Background(), NewToken(), Limits{}, false)
			crashes++
			marked = m.time()
		}
	}
	// None lives for ever.
	run(2 * time.Hour)
	for range crashes {
		run(markEvery + 30*time.Second + clockTolerance)
	}
	for _, c := range sessions {
		if _, got, err := m.Lookup(context.Background(), c.token, Limits{}, false); got == Live || err != nil {
			t.Errorf("in the end: %v, %v", got, err)
			ok = false
		}
	}
	return ok
}
