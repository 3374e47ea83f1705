package sessionstore

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	touchBatch   = 500
	touchTimeout = 5 * time.Second
	retryFirst   = 250 * time.Millisecond
	retryLast    = 5 * time.Second

	// shortestDelay is the flushDelay of the shortest renewal step.
	shortestDelay = 100 * time.Millisecond
)

// flushDelay is how long a last-seen time waits for others to be stored with
// it. It is taken off the renewal step, so that both together are the step.
func flushDelay(step time.Duration) time.Duration {
	return min(step/10, 250*time.Millisecond)
}

// lastSeen holds the last-seen times that are on their way to the store. A
// time stays here until the store has acknowledged it.
type lastSeen struct {
	timer *time.Timer
	limit int

	mu    sync.Mutex
	times map[Key]int64
	due   time.Time // when timer fires; zero: not set

	// waiting is true from a failure to the next attempt: a store that fails
	// is not asked more often because more requests come.
	waiting bool
}

func newLastSeen(limit int) *lastSeen {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &lastSeen{timer: timer, limit: limit, times: make(map[Key]int64)}
}

// add hands a time over, to be stored within delay. It is false if there is no
// room: the store has been failing for long.
func (l *lastSeen) add(key Key, seen int64, delay time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, there := l.times[key]
	if !there && len(l.times) >= l.limit {
		return false
	}
	l.times[key] = max(old, seen)
	if !l.waiting {
		l.arm(delay)
	}
	return true
}

// arm sets the timer, unless it fires earlier anyway. The caller holds mu.
func (l *lastSeen) arm(delay time.Duration) {
	due := time.Now().Add(delay)
	if l.due.IsZero() || due.Before(l.due) {
		l.due = due
		l.timer.Reset(delay)
	}
}

// flushed sets the timer for what is left after a flush. retry is how long to
// wait after a failure, 0 after a success.
func (l *lastSeen) flushed(retry time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = time.Time{}
	l.waiting = retry > 0
	if len(l.times) > 0 {
		l.arm(max(retry, shortestDelay))
	}
}

// get returns the time of key that waits here, 0 if there is none.
func (l *lastSeen) get(key Key) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.times[key]
}

// drop removes what waits for an ended session.
func (l *lastSeen) drop(key Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.times, key)
}

// all returns the times that wait now.
func (l *lastSeen) all() []Touch {
	l.mu.Lock()
	defer l.mu.Unlock()
	touches := make([]Touch, 0, len(l.times))
	for key, seen := range l.times {
		touches = append(touches, Touch{Key: key, Seen: time.Unix(0, seen).UTC()})
	}
	return touches
}

// stored removes what the store has acknowledged, except where a later time
// has come in meanwhile.
func (l *lastSeen) stored(batch []Touch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range batch {
		if l.times[t.Key] == t.Seen.UnixNano() {
			delete(l.times, t.Key)
		}
	}
}

// touch starts the idle timer of e again.
func (s *Sessions) touch(e *entry, limits Limits, now int64) {
	atLeast(&e.seen, now)
	step := limits.RenewalStep()
	delay := flushDelay(step)
	saved := e.saved.Load()
	if now-saved < int64(step-delay) || !e.saved.CompareAndSwap(saved, now) {
		return
	}
	if !s.lastSeen.add(e.key, now, delay) {
		// Offered again with the next request.
		e.saved.CompareAndSwap(now, saved)
	}
}

// save hands over the last-seen time of an entry that leaves the memory.
func (s *Sessions) save(e *entry) {
	e.evictedAt.Store(1 + s.ended.count())
	if seen := e.seen.Load(); seen > e.saved.Load() {
		s.lastSeen.add(e.key, seen, flushDelay(e.limits.RenewalStep()))
	}
}

// flushLoop stores last-seen times until ctx ends.
func (s *Sessions) flushLoop(ctx context.Context) {
	retry := retryFirst
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.lastSeen.timer.C:
		}
		err := s.flush(ctx)
		if ctx.Err() != nil {
			return
		}
		s.logFlush(err)
		if err != nil {
			s.lastSeen.flushed(retry)
			retry = min(2*retry, retryLast)
			continue
		}
		s.lastSeen.flushed(0)
		retry = retryFirst
	}
}

// flush stores the times that wait now, in batches.
func (s *Sessions) flush(ctx context.Context) error {
	waiting := s.lastSeen.all()
	for batch := range slices.Chunk(waiting, touchBatch) {
		if err := s.storeTouches(ctx, batch); err != nil {
			return err
		}
		s.lastSeen.stored(batch)
	}
	return nil
}

func (s *Sessions) storeTouches(ctx context.Context, batch []Touch) error {
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	if err := s.markBefore(ctx); err != nil {
		return err
	}
	return s.store.Touch(ctx, batch)
}

// logFlush logs when storing begins to fail and when it works again, not every
// attempt between. It runs in the flusher only.
func (s *Sessions) logFlush(err error) {
	switch {
	case err != nil && !s.flushFails:
		s.logger.Error("storing last-seen times fails; they are kept in memory and tried again", "error", err)
	case err == nil && s.flushFails:
		s.logger.Info("storing last-seen times works again")
	}
	s.flushFails = err != nil
}
