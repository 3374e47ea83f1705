package sessionstore

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// cleanupTimeout bounds deletions that a request makes in passing.
	cleanupTimeout = 2 * time.Second

	// loadTimeout bounds how long a request waits for the store, even for one
	// that does not look at its context.
	loadTimeout = 5 * time.Second
)

// flight is one read of the store that all requests of a key share: however
// many arrive at once, the store is asked once.
type flight struct {
	done   chan struct{}
	cancel context.CancelFunc

	// Under the shard's lock until done is closed.
	waiters int
	doomed  bool

	// Set before done is closed.
	entry *entry
	err   error

	// told is set by the one waiter that reports an invalid record.
	told atomic.Bool
}

// doom makes a read that is under way start again, because what it has read
// may be of the past. The caller holds the shard's lock.
func (sh *shard) doom(key Key) {
	if f := sh.flights[key]; f != nil {
		f.doomed = true
		delete(sh.flights, key)
	}
}

// reserve registers a flight that is no read: that of a session which is being
// created or dropped. Loads of key wait for it, and an end of the session that
// finds nothing in memory dooms it. The caller holds the shard's lock; there is
// no flight of key.
func (sh *shard) reserve(key Key) *flight {
	f := &flight{done: make(chan struct{}), cancel: func() {}, waiters: 1}
	sh.flights[key] = f
	return f
}

// release ends a reserved flight. Who has waited for it asks the store.
func (s *Sessions) release(key Key, f *flight) {
	sh := s.memory.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if f.doomed = true; sh.flights[key] == f {
		delete(sh.flights, key)
	}
	close(f.done)
}

// begin is called before a session is stored: from then on others can find and
// end it, and that must not be lost because it is not in memory yet.
func (s *Sessions) begin(key Key) (f *flight, position uint64) {
	sh := s.memory.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.reserve(key), s.ended.count()
}

// begun puts a session that was stored into memory, unless it may have ended
// meanwhile: then its handles look at what has ended since position, as those
// of evicted sessions do, and the next Lookup asks the store.
func (s *Sessions) begun(f *flight, e *entry, position uint64) {
	sh := s.memory.shard(e.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer close(f.done)
	if f.doomed {
		e.evictedAt.Store(1 + position)
		return
	}
	delete(sh.flights, e.key)
	f.entry = e
	s.memory.insertLocked(sh, e)
}

// load asks the store for the session of key and returns its entry, which is
// then in memory; nil if there is none. An entry that was there already gets
// the later of the two last-seen times. Of an invalid record one caller learns
// ErrInvalidRecord; for the others there is no session.
func (s *Sessions) load(ctx context.Context, key Key) (*entry, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := s.join(key)
		if err != nil {
			return nil, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			s.leave(key, f)
			return nil, ctx.Err()
		}
		switch {
		case f.doomed && !errors.Is(f.err, ErrInvalidRecord):
			continue
		case errors.Is(f.err, ErrInvalidRecord) && !f.told.CompareAndSwap(false, true):
			return nil, nil
		}
		return f.entry, f.err
	}
}

// join returns the flight of key, and starts it if there is none.
func (s *Sessions) join(key Key) (*flight, error) {
	sh := s.memory.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return nil, ErrClosed
	}
	if f := sh.flights[key]; f != nil {
		f.waiters++
		return f, nil
	}
	// The read is nobody's own: it outlives the request that began it, as
	// long as another one waits for it.
	ctx, cancel := context.WithCancel(s.ctx)
	f := &flight{done: make(chan struct{}), cancel: cancel, waiters: 1}
	sh.flights[key] = f
	s.flights.Go(func() { s.fly(ctx, key, f) })
	return f, nil
}

// leave is called by a request that does not wait any longer. The last one
// ends the read, and what it may have read until then is not used: nobody
// would tell it of an end of the session any more.
func (s *Sessions) leave(key Key, f *flight) {
	sh := s.memory.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if f.waiters--; f.waiters > 0 {
		return
	}
	f.cancel()
	if sh.flights[key] == f {
		f.doomed = true
		delete(sh.flights, key)
	}
}

// fly reads the store and puts what it finds into memory.
func (s *Sessions) fly(ctx context.Context, key Key, f *flight) {
	defer f.cancel()
	defer close(f.done)
	var session *Session
	var lastSeen time.Time
	var ok bool
	err := s.startClock(ctx)
	if err == nil {
		session, lastSeen, ok, err = s.store.Get(ctx, key)
	}
	if err == nil && ok && s.shared != nil {
		if _, plausible := s.plausible(session.Created, lastSeen); !plausible {
			err = s.catchUp(ctx)
		}
	}
	if errors.Is(err, ErrInvalidRecord) {
		// Refused for good: else the same record would be reported again
		// with every request. A failure means just that.
		s.drop(ctx, key)
	}
	if s.land(key, f, session, lastSeen, ok, err) {
		s.endAnswers(key, notThere)
	}
}

// land puts what a flight has found into memory. gone means that there is no
// such session any more.
func (s *Sessions) land(key Key, f *flight, session *Session, lastSeen time.Time, ok bool, err error) (gone bool) {
	sh := s.memory.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.flights[key] == f {
		delete(sh.flights, key)
	}
	// That a record was invalid holds in any case: our own drop of it, of which a
	// shared store tells, has doomed the flight.
	if f.doomed && !errors.Is(err, ErrInvalidRecord) {
		return false
	}
	e := sh.entries[key]
	switch {
	case errors.Is(err, ErrInvalidRecord), err == nil && !ok:
		if e != nil {
			e.dead.Store(true)
			s.ended.add(key, s.nanos())
			s.memory.removeLocked(sh, e)
		}
		f.err = err
		return true
	case err != nil:
		f.err = err
		return false
	}

	seen, plausible := s.plausible(session.Created, lastSeen)
	switch {
	case e == nil:
		// What an eviction left behind may not have reached the store yet.
		e = newEntry(key, session, max(seen, s.lastSeen.get(key)))
		if !plausible {
			e.refuse(s.nanos())
		}
		// When the cookie was last re-sent, nobody knows any more: the next
		// answer does it, or a session that is evicted often enough would
		// never renew its cookie.
		e.renewed.Store(e.created)
		s.memory.insertLocked(sh, e)
	case e.dead.Load():
		// Past its limits, and the store failed to delete it.
		e = nil
	case plausible:
		atLeast(&e.seen, seen)
		atLeast(&e.saved, seen)
	}
	f.entry = e
	return false
}

// plausible returns when a stored session was last seen, by this clock. A time
// that lies ahead was written by a clock that was: further ahead than clocks may
// differ it would let the session live for that much longer. It is false then,
// and the session is past its limits.
func (s *Sessions) plausible(created, lastSeen time.Time) (seen int64, ok bool) {
	now := s.nanos()
	latest := max(created.UnixNano(), lastSeen.UnixNano())
	if latest-now > int64(clockTolerance) {
		return 0, false
	}
	return min(latest, now), true
}

// refuse puts an entry that is not in memory yet past a limit, whatever limits
// the session has.
func (e *entry) refuse(now int64) {
	e.limits = Limits{Idle: 1, Absolute: 1}
	e.created = now - 1
}

// drop has the store drop a session that is refused anyway. The request's own
// end does not stop it, and its failure changes nothing for the request.
func (s *Sessions) drop(ctx context.Context, keys ...Key) bool {
	err := s.dropNow(ctx, keys...)
	if err != nil {
		s.logger.Debug("dropping a refused session failed", "error", err)
	}
	return err == nil
}

func (s *Sessions) dropNow(ctx context.Context, keys ...Key) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return s.store.Drop(ctx, keys)
}
