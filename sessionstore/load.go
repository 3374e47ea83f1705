package sessionstore

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// cleanupTimeout bounds deletions that a request makes in passing.
const cleanupTimeout = 2 * time.Second

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

// load asks the store for the session of key and returns its entry, which is
// then in memory; nil if there is none. An entry that was there already gets
// the later of the two last-seen times. Of an invalid record one caller learns
// ErrInvalidRecord; for the others there is no session.
func (s *Sessions) load(ctx context.Context, key Key) (*entry, error) {
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
		case f.doomed:
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
	session, lastSeen, ok, err := s.store.Get(ctx, key)
	if errors.Is(err, ErrInvalidRecord) {
		// Refused for good: else the same record would be reported again
		// with every request. A failure means just that.
		s.deleteQuietly(ctx, key)
	}

	sh := s.memory.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.flights[key] == f {
		delete(sh.flights, key)
	}
	if f.doomed {
		return
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
		return
	case err != nil:
		f.err = err
		return
	}

	seen := max(lastSeen.UnixNano(), session.Created.UnixNano())
	switch {
	case e == nil:
		// What an eviction left behind may not have reached the store yet.
		e = newEntry(key, session, max(seen, s.lastSeen.get(key)))
		// When the cookie was last re-sent, nobody knows any more: the next
		// answer does it, or a session that is evicted often enough would
		// never renew its cookie.
		e.renewed.Store(e.created)
		s.memory.insertLocked(sh, e)
	case e.dead.Load():
		// Past its limits, and the store failed to delete it.
		e = nil
	default:
		atLeast(&e.seen, seen)
		atLeast(&e.saved, seen)
	}
	f.entry = e
}

// deleteQuietly deletes a session that is refused anyway. The request's own
// end does not stop it, and its failure changes nothing for the request.
func (s *Sessions) deleteQuietly(ctx context.Context, key Key) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	_, err := s.store.Delete(ctx, key)
	if err != nil {
		s.logger.Debug("deleting a refused session failed", "error", err)
	}
	return err == nil
}
