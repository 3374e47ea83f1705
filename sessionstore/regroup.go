package sessionstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Regroup stores the session that h holds with other groups and passwordSet.
// When it returns, every Lookup finds the new ones and what Derived makes of
// them; requests under way keep the *Session that they have. All else of the
// session stays: no timer starts again, and handles of before see its end.
//
// ok is false if the session was gone: its end wins over a Regroup, whichever
// comes first. After an error either groups may be stored, and the next Lookup
// asks the store; the caller tries again, or revokes the session.
func (s *Sessions) Regroup(ctx context.Context, h Handle, groups []Group, passwordSet string) (regrouped Handle, ok bool, err error) {
	if s.closed.Load() {
		return Handle{}, false, fmt.Errorf("storing other groups: %w", ErrClosed)
	}
	if h.entry == nil || h.current().dead.Load() {
		return Handle{}, false, nil
	}
	key := h.entry.key
	session := *h.Session
	session.User.Groups = slices.Clone(groups) // the caller's may change
	session.User.PasswordSet = passwordSet

	// Two at once would reach the store in one order and the memory in the
	// other.
	release, err := s.changes.take(ctx, key)
	if err != nil {
		return Handle{}, false, fmt.Errorf("storing other groups: %w", err)
	}
	defer release()

	changes := s.memory.changesNear(key)
	ok, err = s.store.Update(ctx, key, &session)
	if err != nil {
		// It may have been stored all the same: memory must not know better.
		s.memory.forget(key)
		return Handle{}, false, fmt.Errorf("storing other groups: %w", err)
	}
	if !ok {
		s.tellLate(s.kill(key))
		return Handle{}, false, nil
	}
	e := s.memory.replace(key, &session, changes)
	if e == nil {
		e = h.entry // it has left the memory, or never comes back: it knows
	}
	if e.dead.Load() {
		return Handle{}, false, nil
	}
	return Handle{Session: &session, sessions: s, entry: e, limits: h.limits}, true, nil
}

// turns lets one caller at a time have a key. It holds no more keys than there
// are callers.
type turns struct {
	mu    sync.Mutex
	taken map[Key]chan struct{}
}

// take waits for the turn of key, at most until ctx ends.
func (t *turns) take(ctx context.Context, key Key) (release func(), err error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t.mu.Lock()
		busy := t.taken[key]
		if busy == nil {
			break
		}
		t.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer t.mu.Unlock()
	if t.taken == nil {
		t.taken = make(map[Key]chan struct{})
	}
	mine := make(chan struct{})
	t.taken[key] = mine
	return func() {
		t.mu.Lock()
		delete(t.taken, key)
		t.mu.Unlock()
		close(mine)
	}, nil
}
