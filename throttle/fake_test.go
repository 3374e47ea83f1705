package throttle

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"time"
)

var testSecret = []byte("0123456789abcdef0123456789abcdef")

// usual are the limits of most tests.
var usual = Limits{
	Account: Limit{Failures: 3, Window: 15 * time.Minute},
	Device:  Limit{Failures: 2, Window: 15 * time.Minute},
	Source:  Limit{Failures: 20, Window: 15 * time.Minute},
}

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// fakeBackend keeps counters in memory, and fails when it is told to.
type fakeBackend struct {
	mu       sync.Mutex
	counters map[[16]byte]Counter
	saves    []int // sizes
	err      error
}

func newFakeBackend() *fakeBackend { return &fakeBackend{counters: map[[16]byte]Counter{}} }

func (f *fakeBackend) Save(ctx context.Context, counters []Counter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(ctx.Err(), f.err); err != nil {
		return err
	}
	f.saves = append(f.saves, len(counters))
	for _, c := range counters {
		if len(c.Value) == 0 {
			delete(f.counters, c.Key)
			continue
		}
		c.Value = bytes.Clone(c.Value)
		f.counters[c.Key] = c
	}
	return nil
}

func (f *fakeBackend) Load(_ context.Context, yield func(Counter) error) error {
	for _, c := range f.all() {
		if err := yield(c); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *fakeBackend) all() map[[16]byte]Counter {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counters)
}

func (f *fakeBackend) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// log collects what is logged.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.buf.Bytes(), []byte(text))
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func start(t testing.TB, backend Backend, options Options) *Throttle {
	t.Helper()
	th, err := New(context.Background(), testSecret, backend, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { th.Close() })
	return th
}

// home is where the tests' attempts come from, unless they say otherwise.
var home = netip.MustParseAddr("192.0.2.1")

func from(name string) Request {
	return Request{Source: home, Directory: "corp.test", Name: name}
}

// anywhere gives each attempt a source of its own.
func anywhere(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func begin(t testing.TB, th *Throttle, r Request, limits Limits) *Attempt {
	t.Helper()
	a, err := th.Begin(context.Background(), r, limits)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return a
}

func fail(t testing.TB, th *Throttle, r Request, limits Limits, times int) {
	t.Helper()
	for range times {
		begin(t, th, r, limits).Fail()
	}
}

// passes takes a place and gives it back.
func passes(t testing.TB, th *Throttle, r Request, limits Limits) {
	t.Helper()
	begin(t, th, r, limits).Release()
}

func blockedAs(t testing.TB, err error, scope Scope) *BlockedError {
	t.Helper()
	var blocked *BlockedError
	if !errors.As(err, &blocked) {
		t.Fatalf("error is %v, want a BlockedError", err)
	}
	if blocked.Scope != scope {
		t.Fatalf("blocked by %s, want %s", blocked.Scope, scope)
	}
	return blocked
}

func isBlocked(t testing.TB, th *Throttle, r Request, limits Limits, scope Scope) *BlockedError {
	t.Helper()
	a, err := th.Begin(context.Background(), r, limits)
	if err == nil {
		a.Release()
	}
	return blockedAs(t, err, scope)
}

// size counts all entries of a table, and those that are counted.
func size(tb *table) (entries, counted int) {
	for i := range tb.shards {
		sh := &tb.shards[i]
		sh.mu.Lock()
		entries += len(sh.entries)
		counted += len(sh.counted)
		sh.mu.Unlock()
	}
	return entries, counted
}
