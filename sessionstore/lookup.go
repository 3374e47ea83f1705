package sessionstore

import (
	"context"
	"errors"
	"fmt"
)

// Result of a Lookup.
type Result int

const (
	Live    Result = iota // the session is live
	Unknown               // there is no such session
	Expired               // it was there, and is past one of its limits
	Invalid               // its record cannot be trusted
)

// String names the result for messages.
func (r Result) String() string {
	switch r {
	case Live:
		return "live"
	case Unknown:
		return "unknown"
	case Expired:
		return "expired"
	case Invalid:
		return "invalid"
	}
	return fmt.Sprintf("Result(%d)", int(r))
}

// Lookup returns the live session of token, and starts its idle timer again
// when touch is true. The shorter of limits and of those that were in force at
// sign-in holds; a limit that is zero here is that of the sign-in. Result says
// why there is none; err is a failure of the store (or the end of ctx), and
// then nothing is known: never treat it as Unknown. Expired and Invalid are
// told to one caller; the handle of a session that this call found Expired
// still holds the record, for the audit log. On a session in memory Lookup
// allocates nothing and takes no lock that all requests share.
func (s *Sessions) Lookup(ctx context.Context, token Token, limits Limits, touch bool) (Handle, Result, error) {
	if s.closed.Load() {
		return Handle{}, Unknown, ErrClosed
	}
	if s.shared != nil {
		s.keepLease()
	}
	key := token.Key()
	if e := s.memory.get(key); e != nil {
		if h, why := s.use(e, limits, touch); why == lives {
			return h, Live, nil
		}
	}
	return s.lookupStored(ctx, key, limits, touch)
}

// lookupStored is Lookup for a session that is not in memory, or looks expired
// there.
func (s *Sessions) lookupStored(ctx context.Context, key Key, limits Limits, touch bool) (Handle, Result, error) {
	e := s.memory.get(key)
	// What looks idle for too long is read from the store, twice at the most:
	// another node may have been used, or a last-seen time of this one may
	// have arrived there while the first read was under way.
	for reads := 0; ; reads++ {
		if e != nil {
			h, why := s.use(e, limits, touch)
			switch {
			case why == lives:
				return h, Live, nil
			case why == isDead:
				return Handle{}, Unknown, nil
			case why == pastAbsolute, reads == 2:
				return s.expire(ctx, h, why == pastIdle)
			}
		}
		var err error
		e, err = s.load(ctx, key)
		switch {
		case errors.Is(err, ErrInvalidRecord):
			return Handle{}, Invalid, nil
		case err != nil:
			return Handle{}, Unknown, fmt.Errorf("looking up session: %w", err)
		case e == nil:
			return Handle{}, Unknown, nil
		}
	}
}

// condition of an entry under the limits of a call.
type condition int

const (
	lives condition = iota
	isDead
	pastIdle
	pastAbsolute
)

// use returns the handle of e and, if it lives, touches it.
func (s *Sessions) use(e *entry, limits Limits, touch bool) (Handle, condition) {
	h := Handle{
		Session:  e.session.Load(),
		sessions: s,
		entry:    e,
		limits:   e.limits.shorter(limits),
	}
	now := s.nanos()
	why := e.condition(h.limits, now)
	if why == lives && touch {
		s.touch(e, h.limits, now)
	}
	return h, why
}

// condition compares durations, not deadlines: those would overflow for the
// longest ones.
func (e *entry) condition(limits Limits, now int64) condition {
	switch {
	case e.dead.Load():
		return isDead
	case e.pastAbsolute(limits, now):
		return pastAbsolute
	case now-e.seen.Load() >= int64(limits.Idle):
		return pastIdle
	}
	return lives
}

func (e *entry) pastAbsolute(limits Limits, now int64) bool {
	return limits.Absolute > 0 && now-e.created >= int64(limits.Absolute)
}

// expire ends a session that is past a limit. One caller is told so; for the
// others it is gone. If the store fails to drop it, its entry stays in memory,
// dead, so that it is not found expired again with every request.
func (s *Sessions) expire(ctx context.Context, h Handle, idle bool) (Handle, Result, error) {
	dropped := false
	if idle && s.shared != nil {
		// A store that refuses this refuses last-seen times too, so the session may be
		// in use on another node all the while.
		if err := s.dropNow(ctx, h.entry.key); err != nil {
			return Handle{}, Unknown, fmt.Errorf("ending session past its idle limit: %w", err)
		}
		dropped = true
	}
	if !h.entry.dead.CompareAndSwap(false, true) {
		return Handle{}, Unknown, nil
	}
	if dropped || s.drop(ctx, h.entry.key) {
		s.forgetEnded(h.entry.key)
	}
	how := forGood
	if idle {
		how = byIdleLimit
	}
	s.endAnswers(h.entry.key, how)
	return h, Expired, nil
}
