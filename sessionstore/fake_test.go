package sessionstore

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeStore is a store in memory whose calls a test can count, fail and hold.
type fakeStore struct {
	mu       sync.Mutex
	records  map[Key]*fakeRecord
	users    map[[2]string]UserRecord
	counters map[[16]byte]Counter
	secrets  map[string][]byte
	invalid  map[Key]bool
	newer    map[Key]bool
	mark     time.Time
	closed   bool
	touches  [][]Touch

	gets, updates atomic.Int32

	// fail is returned by every call of that name, "" for all.
	failing map[string]error

	// afterGet runs in Get once it has read and before it returns.
	afterGet func(ctx context.Context, key Key)

	// afterUpdate runs in Update once it has written and before it returns; its
	// error is returned.
	afterUpdate func(key Key) error
}

type fakeRecord struct {
	session *Session
	seen    time.Time
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		records: map[Key]*fakeRecord{}, users: map[[2]string]UserRecord{},
		counters: map[[16]byte]Counter{}, secrets: map[string][]byte{},
		invalid: map[Key]bool{}, newer: map[Key]bool{}, failing: map[string]error{},
	}
}

// reopened is another store with what this one, which is closed, has stored.
func (f *fakeStore) reopened() *fakeStore {
	next := newFakeStore()
	next.records, next.users = f.records, f.users
	next.counters, next.secrets = f.counters, f.secrets
	next.invalid, next.newer, next.mark = f.invalid, f.newer, f.mark
	return next
}

func (f *fakeStore) fail(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing[name] = err
}

func (f *fakeStore) check(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.closed {
		return ErrClosed
	}
	if err := f.failing[""]; err != nil {
		return err
	}
	return f.failing[name]
}

func (f *fakeStore) Create(ctx context.Context, key Key, s *Session, replaces *Key) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "Create"); err != nil {
		return err
	}
	if _, err := AppendSession(nil, key, s); err != nil {
		return err
	}
	user := [2]string{s.User.Directory, s.User.ID}
	f.users[user] = f.users[user].SignedIn(s)
	f.records[key] = &fakeRecord{s, s.Created}
	if replaces != nil {
		delete(f.records, *replaces)
	}
	return nil
}

func (f *fakeStore) Get(ctx context.Context, key Key) (*Session, time.Time, bool, error) {
	f.gets.Add(1)
	f.mu.Lock()
	err := f.check(ctx, "Get")
	var s *Session
	var seen time.Time
	r, ok := f.records[key]
	if ok {
		s, seen = r.session, r.seen
	}
	if err == nil && f.invalid[key] {
		err = ErrInvalidRecord
	}
	if err == nil && ok && f.newer[key] {
		err = ErrNewerRecord
	}
	after := f.afterGet
	f.mu.Unlock()
	if after != nil {
		after(ctx, key)
	}
	if err != nil {
		return nil, time.Time{}, false, err
	}
	return s, seen, ok, nil
}

func (f *fakeStore) Update(ctx context.Context, key Key, s *Session) (bool, error) {
	f.updates.Add(1)
	ok, err := f.update(ctx, key, s)
	f.mu.Lock()
	after := f.afterUpdate
	f.mu.Unlock()
	if after != nil && err == nil {
		err = after(key)
	}
	return ok && err == nil, err
}

func (f *fakeStore) update(ctx context.Context, key Key, s *Session) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "Update"); err != nil {
		return false, err
	}
	if _, err := AppendSession(nil, key, s); err != nil {
		return false, err
	}
	if f.invalid[key] {
		return false, ErrInvalidRecord
	}
	r := f.records[key]
	if r != nil && f.newer[key] {
		return false, ErrNewerRecord
	}
	if r != nil {
		f.records[key] = &fakeRecord{s, r.seen}
	}
	return r != nil, nil
}

func (f *fakeStore) Touch(ctx context.Context, touches []Touch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "Touch"); err != nil {
		return err
	}
	f.touches = append(f.touches, append([]Touch(nil), touches...))
	for _, t := range touches {
		if r := f.records[t.Key]; r != nil && t.Seen.After(r.seen) {
			r.seen = t.Seen
		}
	}
	return nil
}

func (f *fakeStore) Delete(ctx context.Context, key Key) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "Delete"); err != nil {
		return false, err
	}
	ok := f.records[key] != nil || f.invalid[key]
	delete(f.records, key)
	delete(f.invalid, key)
	return ok, nil
}

func (f *fakeStore) Drop(ctx context.Context, keys []Key) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "Drop"); err != nil {
		return err
	}
	for _, key := range keys {
		delete(f.records, key)
		delete(f.invalid, key)
	}
	return nil
}

func (f *fakeStore) User(ctx context.Context, directory, id string) (UserRecord, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "User"); err != nil {
		return UserRecord{}, false, err
	}
	r, ok := f.users[[2]string{directory, id}]
	return r, ok, nil
}

func (f *fakeStore) Mark(ctx context.Context, at time.Time) (time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "Mark"); err != nil {
		return time.Time{}, err
	}
	if !at.IsZero() && (at.Unix() < 0 || at.Unix() >= math.MaxInt64/int64(time.Second)) {
		return time.Time{}, errors.New("storing the latest time: out of range")
	}
	if at.After(f.mark) {
		f.mark = at.Round(0).UTC()
	}
	return f.mark, nil
}

func (f *fakeStore) SaveCounters(ctx context.Context, counters []Counter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "SaveCounters"); err != nil {
		return err
	}
	for i := range counters {
		if err := CheckCounter(&counters[i]); err != nil {
			return err
		}
	}
	for _, c := range counters {
		if c.Value = bytes.Clone(c.Value); len(c.Value) == 0 {
			delete(f.counters, c.Key)
		} else {
			f.counters[c.Key] = c
		}
	}
	return nil
}

func (f *fakeStore) Counters(ctx context.Context, yield func(Counter) error) error {
	f.mu.Lock()
	err := f.check(ctx, "Counters")
	all := slices.Collect(maps.Values(f.counters))
	f.mu.Unlock()
	for _, c := range all {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if c.Expires.After(time.Now()) {
			c.Value = bytes.Clone(c.Value)
			err = yield(c)
		}
	}
	return err
}

func (f *fakeStore) Secret(ctx context.Context, name string, fresh []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "Secret"); err != nil {
		return nil, err
	}
	if _, err := AppendSecret(nil, name, fresh); err != nil {
		return nil, err
	}
	if f.secrets[name] == nil {
		f.secrets[name] = bytes.Clone(fresh)
	}
	return bytes.Clone(f.secrets[name]), nil
}

func (f *fakeStore) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// set puts a record past the rules, as another node does.
func (f *fakeStore) set(key Key, s *Session, seen time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records[key] = &fakeRecord{s, seen}
}

func (f *fakeStore) seen(key Key) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.records[key].seen
}

func (f *fakeStore) has(key Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.records[key] != nil
}

// testClock is one that tests move.
type testClock struct{ at atomic.Int64 }

func (c *testClock) now() time.Time { return time.Unix(0, c.at.Load()) }

func (c *testClock) pass(d time.Duration) { c.at.Add(int64(d)) }

// world is a Sessions with a store and a clock of the test's.
type world struct {
	*Sessions
	t     *testing.T
	store *fakeStore
	clock *testClock
}

// hour is an idle timeout of 1 h and no other: its renewal step is a minute.
var hour = Limits{Idle: time.Hour}

func newWorld(t *testing.T, options Options) *world {
	w := &world{t: t, store: newFakeStore(), clock: &testClock{}}
	w.clock.at.Store(time.Date(2025, 11, 21, 12, 0, 0, 0, time.UTC).UnixNano())
	options.Now = w.clock.now
	w.Sessions = New(w.store, options, nil)
	t.Cleanup(func() { w.Sessions.Close() })
	return w
}

// restart is what a crash and a new start leave: the store without memory.
func (w *world) restart() *world {
	next := &world{t: w.t, store: w.store, clock: w.clock}
	next.Sessions = New(w.store, Options{Now: w.clock.now}, nil)
	w.t.Cleanup(func() { next.Sessions.Close() })
	return next
}

func (w *world) signIn(limits Limits) (Token, Handle) {
	w.t.Helper()
	token, h, err := w.SignIn(w.t.Context(), User{Directory: "d", ID: "1", Username: "ana"}, "192.0.2.1", limits, nil)
	if err != nil {
		w.t.Fatalf("SignIn: %v", err)
	}
	return token, h
}

// want looks token up and checks the result.
func (w *world) want(want Result, token Token, limits Limits, touch bool) Handle {
	w.t.Helper()
	h, got, err := w.Lookup(w.t.Context(), token, limits, touch)
	if err != nil || got != want {
		w.t.Fatalf("Lookup: %v, error %v, want %v", got, err, want)
	}
	if (got == Live || got == Expired) != (h.Session != nil) {
		w.t.Fatalf("Lookup: %v with session %v", got, h.Session)
	}
	if h.Alive() != (got == Live) {
		w.t.Fatalf("Lookup: %v, but Alive is %v", got, h.Alive())
	}
	return h
}

func (w *world) inMemory() int {
	n := 0
	w.memory.all(func(*entry) { n++ })
	return n
}

// writes returns the batches of touches so far.
func (f *fakeStore) writes() [][]Touch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.touches
}
