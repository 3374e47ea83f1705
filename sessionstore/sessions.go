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
	store   Store
	budgets Budgets // nil: the store has none
	clock   *clock
	marked  atomic.Int64 // the latest time that is known to be stored
	tell    func(*Session, Result)
	logger  *slog.Logger

	memory   *memory
	lastSeen *lastSeen

	// ended are the sessions that ended here, for handles whose entry has
	// left the memory; replaced those that a sign-in replaced.
	ended, replaced recent

	// watches are the open answers, by key.
	watches []watchList

	// doubts are the sessions that may have ended, suspects those with open
	// answers that somebody else may have ended.
	doubts   doubts
	suspects suspects
	shared   *guardedShared // nil: nobody else changes the store's records
	lease    lease

	// changes keeps two changes of one session apart, users two trims of one
	// user's sessions.
	changes, users turns

	// ctx ends at Close, and with it the loads and the flusher.
	ctx        context.Context
	cancel     context.CancelFunc
	flights    sync.WaitGroup
	keepers    sync.WaitGroup // the flusher, the looks at limits, the sweep
	flushFails bool           // the flusher's own

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

	// Now is the wall clock, and Elapsed how much time has really passed since
	// some moment: what the wall clock is set to meanwhile does not change it.
	// Default: time.Now, and what it says of that; with a Now, its own differences
	Now     func() time.Time
	Elapsed func() time.Duration

	// Ended is told of each session that was found past a limit (Expired), or
	// unreadable (Invalid, without the session), when no caller of Lookup was;
	// and of each that was to end, with an error, and has ended after all (Unknown).
	// It must not call the sessions. Default: nobody
	Ended func(*Session, Result)
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
	if options.Ended == nil {
		options.Ended = func(*Session, Result) {}
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	guard := &guarded{store: store, logger: logger}
	s := &Sessions{
		store:  guard,
		clock:  newClock(options.Now, options.Elapsed),
		tell:   options.Ended,
		logger: logger,
		// Room for all that are in memory and as many that have left it.
		lastSeen: newLastSeen(2 * options.MaxEntries),
	}
	s.memory = newMemory(options.MaxEntries, options.MaxBytes, s.save)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.watches = newWatchLists(len(s.memory.shards))
	s.suspects.wake = make(chan struct{}, 1)
	if budgets, ok := store.(Budgets); ok {
		s.budgets = &guardedBudgets{sessions: s, guard: guard, store: budgets}
	}
	if shared, ok := store.(Shared); ok {
		s.shared = &guardedShared{guard: guard, store: shared}
		shared.Notify(s.changedElsewhere, s.lostTrack, s.renew)
		s.keepers.Go(func() { s.suspectLoop(s.ctx) })
	}
	s.keepers.Go(func() { s.flushLoop(s.ctx) })
	questions := make(chan map[Key]Handle)
	s.keepers.Go(func() { s.watchLoop(s.ctx, questions) })
	s.keepers.Go(func() { s.askLoop(s.ctx, questions) })
	s.keepers.Go(func() { s.sweepLoop(s.ctx) })
	return s
}

func (s *Sessions) nanos() int64 { return s.clock.nanos() }

// tellEnded reports what a Lookup of our own found out.
func (s *Sessions) tellEnded(session *Session, result Result) {
	if result == Expired || result == Invalid {
		s.tell(session, result)
	}
}

// SignIn stores a new session of user and returns its token. The session that
// the same browser had before (replaces, nil: none) ends in the same step.
// After an error there is no new session that anybody could use; whether the
// old one ended is then not known, and the next request with it finds out. It
// has ended if the error is ErrGivenUp.
func (s *Sessions) SignIn(ctx context.Context, user User, clientIP string, limits Limits, replaces *Token) (Token, Handle, error) {
	if s.closed.Load() {
		return Token{}, Handle{}, fmt.Errorf("signing in: %w", ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return Token{}, Handle{}, fmt.Errorf("signing in: %w", err)
	}
	if err := s.startClock(ctx); err != nil {
		return Token{}, Handle{}, fmt.Errorf("signing in: %w", err)
	}
	if err := s.markBefore(ctx); err != nil {
		return Token{}, Handle{}, fmt.Errorf("signing in: %w", err)
	}
	user.Groups = slices.Clone(user.Groups) // the caller's may change
	session := &Session{
		ID:       newSessionID(),
		User:     user,
		CSRF:     NewCSRF(),
		Created:  time.Unix(0, s.nanos()).UTC(),
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
	storing, cancel := settling(ctx)
	defer cancel()
	if old != nil {
		s.askDoubt(storing, *old) // else it could not be told from one that is replaced now
	}
	f, position := s.begin(key)
	if err := s.store.Create(storing, key, session, old); err != nil {
		if !errors.Is(err, ErrNoSpace) {
			s.drop(ctx, key) // it may be there all the same, and nobody has its token
		}
		s.release(key, f)
		if old != nil {
			s.doubt(*old, nil)
		}
		return Token{}, Handle{}, fmt.Errorf("signing in: %w", err)
	}
	if old != nil {
		s.replaced.add(*old, s.nanos())
		s.kill(*old)
	}
	if err := ctx.Err(); err != nil {
		// It would take the place of a session that somebody uses.
		s.drop(ctx, key)
		s.release(key, f)
		return Token{}, Handle{}, fmt.Errorf("signing in: %w: %w", ErrGivenUp, err)
	}
	e := newEntry(key, session, session.Created.UnixNano())
	s.begun(f, e, position)
	return token, Handle{Session: session, sessions: s, entry: e, limits: limits}, nil
}

// ErrGivenUp is a sign-in whose context ended while its session was stored:
// nobody is left to get the token, and the session is gone again.
var ErrGivenUp = errors.New("the client has left")

// Replaced tells whether a sign-in replaced token within the last minute: answers
// to requests that crossed it must not delete the new cookie. Of other nodes'
// sign-ins the store is asked; while it cannot say, the answer is true. It
// remembers a bounded number of hashes.
func (s *Sessions) Replaced(ctx context.Context, token Token) bool {
	key := token.Key()
	if at, ok := s.replaced.when(key); ok && s.nanos()-at < int64(replacedFor) {
		return true
	}
	if s.shared == nil {
		return false
	}
	if s.closed.Load() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	replaced, err := s.shared.replaced(ctx, key)
	return replaced || err != nil
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
	s.keepers.Wait()
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
	err = errors.Join(err, s.saveMark(ctx), s.store.Close())
	if s.Watched() {
		go s.watchOut()
	}
	return err
}
