package sessionstore

import (
	"context"
	"errors"
	"time"
)

const (
	// A sweep begins at most so often, looks at so many sessions at a time, and
	// pauses between them so that it takes a fiftieth of one core.
	sweepEvery = 10 * time.Minute
	sweepPage  = 256
	sweepShare = 50
	sweepPause = 50 * time.Millisecond

	// sweepSlack is how long after its limit a session is swept: last-seen
	// times of other nodes, and of this one, are on their way for so long.
	sweepSlack = 2*time.Minute + clockTolerance
)

// sweepLoop deletes sessions that are past their limits and that nobody asks
// for any more, so that counts and listings stay true and the disk small.
func (s *Sessions) sweepLoop(ctx context.Context) {
	timer := time.NewTimer(sweepEvery / 10)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		if err := s.sweep(ctx, sweepShare); err != nil && ctx.Err() == nil {
			s.logger.Debug("sweeping expired sessions failed", "error", err)
		}
		timer.Reset(max(sweepEvery-time.Since(began), sweepEvery/10))
	}
}

// sweep goes through all sessions once. After each page it pauses for share
// times as long as the page took.
func (s *Sessions) sweep(ctx context.Context, share int) error {
	if err := s.startClock(ctx); err != nil {
		return err
	}
	for query := (ListQuery{Limit: sweepPage}); ; {
		began := time.Now()
		page, next, err := s.list(ctx, query)
		if err != nil {
			return err
		}
		if err := s.sweepPage(ctx, page); err != nil {
			return err
		}
		if query.After = next; next == "" {
			return nil
		}
		if share == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(time.Since(began)*time.Duration(share), sweepPause)):
		}
	}
}

// sweepPage drops what has expired of a page. The records of those, and of no
// others, are read, to report them.
func (s *Sessions) sweepPage(ctx context.Context, page []Listed) error {
	for i := range page {
		if l := &page[i]; s.past(l, Limits{}, sweepSlack) {
			if _, err := s.dropListed(ctx, l, Limits{}, sweepSlack); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropListed drops a session that was past its limits when it was listed (see
// past), and reports it, unless a Lookup has found it, which then tells its
// caller. used: it was used since the listing, and lives.
func (s *Sessions) dropListed(ctx context.Context, l *Listed, limits Limits, slack time.Duration) (used bool, err error) {
	e, f := s.claim(l.Key)
	session, first := l.session(), f != nil
	switch {
	case e != nil:
		if !e.dead.Load() && !s.past(l, limits, slack) {
			return true, nil
		}
		// One that is dead stayed there because the store failed to drop it.
		session, first = e.session.Load(), e.dead.CompareAndSwap(false, true)
	case f != nil:
		defer s.release(l.Key, f)
		stored, seen, ok, err := s.store.Get(ctx, l.Key)
		switch {
		case errors.Is(err, ErrInvalidRecord):
		case errors.Is(err, ErrNewerRecord):
			return false, nil // whoever can read it sweeps it
		case err != nil:
			return false, err
		case !ok:
			return false, nil // ended meanwhile
		default:
			// It may have come into memory, and left it, with a later time.
			if l.LastSeen = seen; !s.past(l, limits, slack) {
				return true, nil
			}
			session = stored
		}
	default:
		return false, nil // being read: whoever does finds out
	}
	err = s.store.Drop(ctx, []Key{l.Key})
	if err == nil {
		s.forgetEnded(l.Key)
	}
	// Without an entry nobody will know that it was reported.
	if first && (err == nil || e != nil) {
		s.endAnswers(l.Key, byIdleLimit)
		s.tell(session, Expired)
	}
	return false, err
}

// claim returns the entry of key or, if it is not in memory, a reserved flight:
// a Lookup waits for it. Neither: it is being read.
func (s *Sessions) claim(key Key) (*entry, *flight) {
	sh := s.memory.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.entries[key]; e != nil {
		return e, nil
	}
	if sh.flights[key] != nil {
		return nil, nil
	}
	return nil, sh.reserve(key)
}

// past tells whether, slack ago, a listed session was past a limit: one of its
// own, or of limits. What this node knows of its use counts too.
func (s *Sessions) past(l *Listed, limits Limits, slack time.Duration) bool {
	seen, plausible := s.plausible(l.Created, l.LastSeen)
	seen = max(seen, s.lastSeen.get(l.Key))
	if e := s.memory.get(l.Key); e != nil {
		seen = max(seen, e.seen.Load())
	} else if !plausible {
		return true
	}
	limits = l.Limits.shorter(limits)
	now := s.nanos() - int64(slack)
	return limits.Absolute > 0 && now-l.Created.UnixNano() >= int64(limits.Absolute) ||
		now-seen >= int64(limits.Idle)
}

// session is what a listing tells of one, for those whose record tells nothing.
func (l *Listed) session() *Session {
	return &Session{ID: l.ID, User: User{Directory: l.Directory, ID: l.UserID}, Created: l.Created, Limits: l.Limits}
}
