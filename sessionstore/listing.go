package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Entry is a session in a listing.
type Entry struct {
	*Session

	// Seen is when it was last used, in UTC.
	Seen time.Time

	// IdleLeft is how long it lives without a further request, AbsoluteLeft how
	// long at the most; 0: no limit.
	IdleLeft, AbsoluteLeft time.Duration
}

// List returns a page of the live sessions of a user, or of all, under the
// shorter of limits and those of their sign-ins; see Store.List for the order
// and next. A page may have fewer than query.Limit sessions, or none, and still
// a next one. It starts no idle timer.
func (s *Sessions) List(ctx context.Context, query ListQuery, limits Limits) (page []Entry, next string, err error) {
	if s.closed.Load() {
		return nil, "", fmt.Errorf("listing sessions: %w", ErrClosed)
	}
	if err := s.startClock(ctx); err != nil {
		return nil, "", fmt.Errorf("listing sessions: %w", err)
	}
	listed, next, err := s.list(ctx, query)
	if err != nil {
		return nil, "", fmt.Errorf("listing sessions: %w", err)
	}
	for i := range listed {
		entry, ok, err := s.show(ctx, &listed[i], limits)
		if err != nil {
			return nil, "", fmt.Errorf("listing sessions: %w", err)
		}
		if ok {
			page = append(page, entry)
		}
	}
	return page, next, nil
}

// Show returns the live session with a public id. A missing one is ok == false.
func (s *Sessions) Show(ctx context.Context, id string, limits Limits) (entry Entry, ok bool, err error) {
	if s.closed.Load() {
		return Entry{}, false, fmt.Errorf("showing session: %w", ErrClosed)
	}
	if err := s.startClock(ctx); err != nil {
		return Entry{}, false, fmt.Errorf("showing session: %w", err)
	}
	key, ok, err := s.store.Find(ctx, id)
	if err == nil && ok {
		entry, ok, err = s.showKey(ctx, key, limits)
	}
	if err != nil {
		return Entry{}, false, fmt.Errorf("showing session: %w", err)
	}
	return entry, ok, nil
}

// show reads the record of a listed session, unless the session is past its
// limits or its record cannot be read.
func (s *Sessions) show(ctx context.Context, l *Listed, limits Limits) (Entry, bool, error) {
	if s.past(l, limits, 0) {
		return Entry{}, false, nil
	}
	entry, ok, err := s.showKey(ctx, l.Key, limits)
	if errors.Is(err, ErrNewerRecord) {
		return Entry{}, false, nil // the others are to be seen, and ended, all the same
	}
	return entry, ok, err
}

func (s *Sessions) showKey(ctx context.Context, key Key, limits Limits) (Entry, bool, error) {
	e := s.memory.get(key)
	if e == nil {
		// Beside the memory: a listing must not push out who is working.
		session, lastSeen, ok, err := s.store.Get(ctx, key)
		switch {
		case errors.Is(err, ErrInvalidRecord) || err == nil && !ok:
			return Entry{}, false, nil
		case err != nil:
			return Entry{}, false, err
		}
		seen, plausible := s.plausible(session.Created, lastSeen)
		e = newEntry(key, session, max(seen, s.lastSeen.get(key)))
		if !plausible {
			e.refuse(s.nanos())
		}
	}
	h := Handle{Session: e.session.Load(), sessions: s, entry: e, limits: e.limits.shorter(limits)}
	if e.condition(h.limits, s.nanos()) != lives {
		return Entry{}, false, nil
	}
	entry := Entry{Session: h.Session, Seen: time.Unix(0, e.seen.Load()).UTC()}
	entry.IdleLeft, entry.AbsoluteLeft = h.Left()
	return entry, true, nil
}

// Count returns how many sessions and users the store holds. Sessions that have
// expired count until they are swept, within about a quarter of an hour.
func (s *Sessions) Count(ctx context.Context) (Counts, error) {
	if s.closed.Load() {
		return Counts{}, fmt.Errorf("counting sessions: %w", ErrClosed)
	}
	counts, err := s.store.Count(ctx)
	if err != nil {
		return Counts{}, fmt.Errorf("counting sessions: %w", err)
	}
	return counts, nil
}

// InMemory returns how many sessions are in memory, the recently used ones.
func (s *Sessions) InMemory() int {
	n := 0
	for i := range s.memory.shards {
		sh := &s.memory.shards[i]
		sh.mu.RLock()
		n += len(sh.entries)
		sh.mu.RUnlock()
	}
	return n
}

// User returns the record of a user. A missing one is ok == false.
func (s *Sessions) User(ctx context.Context, directory, id string) (record UserRecord, ok bool, err error) {
	if s.closed.Load() {
		return UserRecord{}, false, fmt.Errorf("reading user: %w", ErrClosed)
	}
	if record, ok, err = s.store.User(ctx, directory, id); err != nil {
		return UserRecord{}, false, fmt.Errorf("reading user: %w", err)
	}
	return record, ok, nil
}

// Users returns a page of those who ever signed in; see Store.Users.
func (s *Sessions) Users(ctx context.Context, after string, limit int) (page []UserRecord, next string, err error) {
	if s.closed.Load() {
		return nil, "", fmt.Errorf("listing users: %w", ErrClosed)
	}
	if page, next, err = s.store.Users(ctx, after, limit); err != nil {
		return nil, "", fmt.Errorf("listing users: %w", err)
	}
	return page, next, nil
}

// listed yields the stored sessions of a user, in the order of their sign-ins.
func (s *Sessions) listed(ctx context.Context, directory, id string) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		if directory == "" || id == "" {
			yield(Listed{}, errNoUser) // of nobody would be of everybody
			return
		}
		for query := (ListQuery{Directory: directory, UserID: id, Limit: listPage}); ; {
			page, next, err := s.list(ctx, query)
			if err != nil {
				yield(Listed{}, err)
				return
			}
			for _, l := range page {
				if !yield(l, nil) {
					return
				}
			}
			if query.After = next; next == "" {
				return
			}
		}
	}
}

// listPage is how many sessions of a user are read at once.
const listPage = 256

var errNoUser = errors.New("no user is named")
