package sessionstore

import "time"

// Handle is one request's hold on a live session. The zero Handle holds none.
type Handle struct {
	*Session

	sessions *Sessions
	entry    *entry
	limits   Limits // the shorter of the record's and the request's
}

// Alive tells whether the session still lives: not ended, replaced or past a
// limit since the Lookup. It asks the memory of this node, never the store.
func (h Handle) Alive() bool {
	if h.entry == nil {
		return false
	}
	e := h.current()
	if e.condition(h.limits, h.sessions.nanos()) != lives {
		return false
	}
	at := e.evictedAt.Load()
	return at == 0 || !h.sessions.ended.mayHave(e.key, at-1)
}

// Err is ErrClosed once the sessions are closed: nobody tells them of the session's
// end any more, so that whether it still lives is not known.
func (h Handle) Err() error {
	if h.sessions != nil && h.sessions.closed.Load() {
		return ErrClosed
	}
	return nil
}

// current is the session's entry: the handle's own, or the one that came after
// it if that was evicted and loaded again.
func (h Handle) current() *entry {
	if h.entry.evictedAt.Load() != 0 {
		if e := h.sessions.memory.get(h.entry.key); e != nil {
			return e
		}
	}
	return h.entry
}

// Left returns how long the session lives from now on without a further
// request (idle) and at the most (absolute; 0: no limit). Neither is below
// one nanosecond, so that a limit which has just passed is not taken for none.
func (h Handle) Left() (idle, absolute time.Duration) {
	if h.entry == nil {
		return 0, 0
	}
	e, now := h.current(), h.sessions.nanos()
	idle = max(h.limits.Idle-time.Duration(max(now-e.seen.Load(), 0)), 1)
	if h.limits.Absolute > 0 {
		absolute = max(h.limits.Absolute-time.Duration(max(now-e.created, 0)), 1)
		idle = min(idle, absolute)
	}
	return idle, absolute
}

// Age returns how long ago the user signed in.
func (h Handle) Age() time.Duration {
	if h.entry == nil {
		return 0
	}
	return time.Duration(h.sessions.nanos() - h.entry.created)
}

// Seen returns when the session was last used, in UTC.
func (h Handle) Seen() time.Time {
	if h.entry == nil {
		return time.Time{}
	}
	return time.Unix(0, h.current().seen.Load()).UTC()
}

// Renew tells whether this answer is to re-send the cookie: true for the first
// caller after each renewal step (Limits.RenewalStep), and once more for each
// later step.
func (h Handle) Renew() bool {
	if h.entry == nil {
		return false
	}
	// Whether it is due comes first: mostly it is not, and this runs with every
	// answer.
	e, now := h.current(), h.sessions.nanos()
	last := e.renewed.Load()
	return now-last >= int64(h.limits.RenewalStep()) && h.Alive() && e.renewed.CompareAndSwap(last, now)
}

// Derived returns what build made of the session, made at most a few times for
// as long as the session stays in memory: build must depend on the session
// alone, never on a configuration. What it returns is shared by all requests
// of the session and must not be changed.
func (h Handle) Derived(build func(*Session) any) any {
	if h.entry == nil {
		return nil
	}
	old := h.entry.derived.Load()
	if old != nil && old.from == h.Session {
		return old.value
	}
	made := &derived{from: h.Session, value: build(h.Session)}
	// A request that began before a Regroup makes its own: what it has made of
	// the groups of then must not take the place of what was made of today's.
	if h.entry.session.Load() == h.Session && !h.entry.derived.CompareAndSwap(old, made) {
		if first := h.entry.derived.Load(); first != nil && first.from == h.Session {
			return first.value
		}
	}
	return made.value
}

// derived is what was made of a session, and which one.
type derived struct {
	from  *Session
	value any
}
