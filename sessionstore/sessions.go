package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Sessions applies the rules to the sessions of one store and keeps the ones
// in use in a bounded memory. It outlives configurations: limits are given at
// each call, by whoever asks. It is safe for concurrent use.
//
// Every request starts the idle timer in memory; the store learns of it once
// in a renewal step, in batches, and at Close. A crash therefore shortens an
// idle timer by at most one step, and by the requests of the last 250 ms.
type Sessions struct {
	store  Store
	now    func() time.Time
	logger *slog.Logger

	memory   *memory
	lastSeen *lastSeen

	// ended are the sessions that ended here, for handles whose entry has
	// left the memory; replaced those that a sign-in replaced.
	ended, replaced recent

	// changes keeps two changes of one session apart.
	changes turns

	// ctx ends at Close, and with it the loads and the flusher.
	ctx        context.Context
	cancel     context.CancelFunc
	flights    sync.WaitGroup
	flusher    sync.WaitGroup
	flushFails bool // the flusher's own

	closed   atomic.Bool
	close    sync.Once
	closeErr error
}

// Options of New. The zero value means the defaults.
type Options struct {
	// MaxEntries bounds the sessions in memory. Default: 100000
	MaxEntries int

	// MaxBytes bounds their size in memory, about. Default: 256 MiB
	MaxBytes int64

	// Now is the clock. Default: time.Now
	Now func() time.Time
}

const (
	replacedFor  = time.Minute
	closeTimeout = 10 * time.Second
)

// New returns the sessions of store. Close ends it, and the store with it. The
// sessions may outlive the configuration that made them, so logger must. nil: nowhere.
func New(store Store, options Options, logger *slog.Logger) *Sessions {
	if options.MaxEntries <= 0 {
		options.MaxEntries = 100_000
	}
	if options.MaxBytes <= 0 {
		options.MaxBytes = 256 << 20
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Sessions{
		store:  store,
		now:    options.Now,
		logger: logger,
		// Room for all that are in memory and as many that have left it.
		lastSeen: newLastSeen(2 * options.MaxEntries),
	}
	s.memory = newMemory(options.MaxEntries, options.MaxBytes, s.save)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.flusher.Go(func() { s.flushLoop(s.ctx) })
	return s
}

func (s *Sessions) nanos() int64 { return s.now().UnixNano() }

// SignIn stores a new session of user and returns its token. The session that
// the same browser had before (replaces, nil: none) ends in the same step.
// After an error there is no new session that anybody could use; whether the
// old one ended is then not known, and the next request with it finds out.
func (s *Sessions) SignIn(ctx context.Context, user User, clientIP string, limits Limits, replaces *Token) (Token, Handle, error) {
	if s.closed.Load() {
		return Token{}, Handle{}, fmt.Errorf("signing in: %w", ErrClosed)
	}
	user.Groups = slices.Clone(user.Groups) // the caller's may change
	session := &Session{
		ID:       newSessionID(),
		User:     user,
		CSRF:     NewCSRF(),
		Created:  s.now().Round(0).UTC(),
		Limits:   limits,
		ClientIP: clientIP,
	}
	if err := session.check(); err != nil {
		return Token{}, Handle{}, fmt.Errorf("signing in: %w", err)
	}
	token := NewToken()
	key := token.Key()
	var old *Key
	if replaces != nil {
		k := replaces.Key()
		old = &k
	}
	if err := s.store.Create(ctx, key, session, old); err != nil {
		if old != nil {
			s.memory.forget(*old)
		}
		return Token{}, Handle{}, fmt.Errorf("signing in: %w", err)
	}
	if old != nil {
		s.replaced.add(*old, s.nanos())
		s.kill(*old)
	}
	e := newEntry(key, session, session.Created.UnixNano())
	s.memory.insert(e)
	return token, Handle{Session: session, sessions: s, entry: e, limits: limits}, nil
}

// End deletes the session of token, durably, before it returns. ended is the
// session that it was, for the audit log; nil if there was none, if somebody
// else ended it first, or if its record could not be read. After an error the
// session may still live.
func (s *Sessions) End(ctx context.Context, token Token) (ended *Session, err error) {
	if s.closed.Load() {
		return nil, fmt.Errorf("ending session: %w", ErrClosed)
	}
	key := token.Key()
	session := s.peek(ctx, key)
	ok, err := s.end(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("ending session: %w", err)
	}
	if !ok {
		return nil, nil
	}
	return session, nil
}

// Revoke ends the session that h holds, durably, before it returns. ok is
// false if it was gone already. After an error the session may still live.
func (s *Sessions) Revoke(ctx context.Context, h Handle) (ok bool, err error) {
	if s.closed.Load() {
		return false, fmt.Errorf("revoking session: %w", ErrClosed)
	}
	if h.entry == nil {
		return false, nil
	}
	if ok, err = s.end(ctx, h.entry.key); err != nil {
		return false, fmt.Errorf("revoking session: %w", err)
	}
	return ok, nil
}

// end deletes the session of key in the store, then here.
func (s *Sessions) end(ctx context.Context, key Key) (ok bool, err error) {
	ok, err = s.store.Delete(ctx, key)
	if err != nil {
		// It may have been deleted all the same: memory must not know better.
		s.memory.forget(key)
		return false, err
	}
	s.kill(key)
	return ok, nil
}

// peek returns the session of key for the audit log. That it cannot be read
// must not keep it from being deleted, so this has no error.
func (s *Sessions) peek(ctx context.Context, key Key) *Session {
	if e := s.memory.get(key); e != nil {
		return e.session.Load()
	}
	session, _, ok, err := s.store.Get(ctx, key)
	if err != nil || !ok {
		return nil
	}
	return session
}

// kill makes the end of a session, which the store has acknowledged, known
// here. The list comes last: an eviction that came before the memory's part
// has its position in the list from before this entry.
func (s *Sessions) kill(key Key) {
	s.memory.kill(key)
	s.ended.add(key, s.nanos())
	s.lastSeen.drop(key)
}

// Replaced tells whether a sign-in on this node replaced token within the last
// minute: answers to requests that crossed it must not delete the new cookie.
// It remembers a bounded number of hashes.
func (s *Sessions) Replaced(token Token) bool {
	at, ok := s.replaced.when(token.Key())
	return ok && s.nanos()-at < int64(replacedFor)
}

// Close stores the last-seen times that are still only in memory, then closes
// the store. Calls that come later return ErrClosed.
func (s *Sessions) Close() error {
	s.close.Do(func() { s.closeErr = s.shutDown() })
	return s.closeErr
}

func (s *Sessions) shutDown() error {
	s.closed.Store(true)
	for i := range s.memory.shards {
		sh := &s.memory.shards[i]
		sh.mu.Lock()
		sh.closed = true
		sh.mu.Unlock()
	}
	s.cancel()
	s.flusher.Wait()
	s.flights.Wait()

	s.memory.all(func(e *entry) {
		if seen := e.seen.Load(); seen > e.saved.Load() && !e.dead.Load() {
			s.lastSeen.add(e.key, seen, time.Hour)
		}
	})
	s.lastSeen.timer.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.flush(ctx)
	if err != nil {
		err = fmt.Errorf("storing last-seen times: %w", err)
	}
	return errors.Join(err, s.store.Close())
}
