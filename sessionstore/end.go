package sessionstore

import (
	"context"
	"fmt"
)

// End deletes the session of token, durably, before it returns. ended is the
// session that it was, for the audit log; nil if there was none, if somebody
// else ended it first, or if its record could not be read. After an error the
// session may still live.
//
// An end that has begun is seen through when ctx ends: here, and wherever else
// sessions are ended. What comes of it is for the audit log, if for nobody else.
func (s *Sessions) End(ctx context.Context, token Token) (ended *Session, err error) {
	if s.closed.Load() {
		return nil, fmt.Errorf("ending session: %w", ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ending session: %w", err)
	}
	ctx, cancel := settling(ctx)
	defer cancel()
	key := token.Key()
	session := s.peek(ctx, key)
	ok, err := s.end(ctx, key, session)
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
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("revoking session: %w", err)
	}
	ctx, cancel := settling(ctx)
	defer cancel()
	if ok, err = s.end(ctx, h.entry.key, h.Session); err != nil {
		return false, fmt.Errorf("revoking session: %w", err)
	}
	return ok, nil
}

// EndID ends the session with a public id, durably, before it returns. ended is
// what it was, nil if there is none. After an error it may still live.
func (s *Sessions) EndID(ctx context.Context, id string) (ended *Session, err error) {
	if s.closed.Load() {
		return nil, fmt.Errorf("ending session: %w", ErrClosed)
	}
	key, ok, err := s.store.Find(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("ending session: %w", err)
	}
	if !ok {
		return s.settle(id, nil), nil
	}
	return s.endKey(ctx, key, id)
}

// EndOwn is EndID for a session of h's user: one of anybody else is none.
func (s *Sessions) EndOwn(ctx context.Context, h Handle, id string) (ended *Session, err error) {
	if s.closed.Load() {
		return nil, fmt.Errorf("ending session: %w", ErrClosed)
	}
	if h.entry == nil {
		return nil, nil
	}
	for listed, err := range s.listed(ctx, h.User.Directory, h.User.ID) {
		if err != nil {
			return nil, fmt.Errorf("ending session: %w", err)
		}
		if listed.ID == id {
			return s.endKey(ctx, listed.Key, id)
		}
	}
	return s.settle(id, &h.User), nil
}

func (s *Sessions) endKey(ctx context.Context, key Key, id string) (*Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ending session: %w", err)
	}
	ctx, cancel := settling(ctx)
	defer cancel()
	session := s.peek(ctx, key)
	ok, err := s.end(ctx, key, session)
	if err != nil {
		return nil, fmt.Errorf("ending session: %w", err)
	}
	if !ok {
		return nil, nil
	}
	if session == nil {
		session = &Session{ID: id} // its record cannot be read
	}
	return session, nil
}

// EndUser ends the sessions of a user, but the one that keep holds (the zero
// Handle: none), durably, before it returns: those of every sign-in that was
// acknowledged before. ended are what they were, as far as their records could
// be read. After an error none is returned, and some may have ended: the next
// call returns them, or Options.Ended is told.
func (s *Sessions) EndUser(ctx context.Context, directory, id string, keep Handle) (ended []*Session, err error) {
	if s.closed.Load() {
		return nil, fmt.Errorf("ending a user's sessions: %w", ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ending a user's sessions: %w", err)
	}
	ctx, cancel := settling(ctx)
	defer cancel()
	var kept *Key
	if keep.entry != nil {
		kept = &keep.entry.key
	}
	var doubted []Key
	for key, d := range s.doubts.all() {
		if u := &d.session.User; u.Directory == directory && u.ID == id && (kept == nil || key != *kept) {
			doubted = append(doubted, key)
		}
	}
	known := make(map[Key]*Session) // for the audit log
	for listed, err := range s.listed(ctx, directory, id) {
		if err != nil {
			return nil, fmt.Errorf("ending a user's sessions: %w", err)
		}
		if kept == nil || listed.Key != *kept {
			known[listed.Key] = s.peek(ctx, listed.Key)
		}
	}
	deleted, err := s.store.DeleteUser(ctx, directory, id, kept)
	if err != nil {
		// Of sign-ins since the listing too.
		for key, session := range known {
			s.doubt(key, session)
		}
		s.doubtUser(directory, id, kept)
		return nil, fmt.Errorf("ending a user's sessions, of which some may have ended: %w", err)
	}
	for i := range deleted {
		l := &deleted[i]
		s.kill(l.Key)
		session := known[l.Key]
		if session == nil {
			session = l.session()
		}
		ended = append(ended, session)
	}
	for _, key := range doubted {
		// Those that were not deleted now are gone since an end that failed.
		if late := s.kill(key); late != nil {
			ended = append(ended, late)
		}
	}
	return ended, nil
}

// doubtUser doubts each of a user's sessions in memory but the one under keep.
func (s *Sessions) doubtUser(directory, id string, keep *Key) {
	found := make(map[Key]*Session)
	s.memory.all(func(e *entry) {
		session := e.session.Load()
		if u := &session.User; u.Directory == directory && u.ID == id && (keep == nil || e.key != *keep) {
			found[e.key] = session
		}
	})
	for key, session := range found {
		s.doubt(key, session)
	}
}

// end deletes the session of key in the store, then here. session is what is
// known of it. ok is true as well if an earlier end, which had failed, turns out
// to have deleted it.
func (s *Sessions) end(ctx context.Context, key Key, session *Session) (ok bool, err error) {
	ok, err = s.store.Delete(ctx, key)
	if err != nil {
		s.doubt(key, session)
		return false, err
	}
	late := s.kill(key)
	return ok || late != nil, nil
}

// peek returns the session of key for the audit log. That it cannot be read
// must not keep it from being deleted, so this has no error.
func (s *Sessions) peek(ctx context.Context, key Key) *Session {
	if e := s.memory.get(key); e != nil {
		return e.session.Load()
	}
	if d, ok := s.doubts.get(key); ok {
		return d.session
	}
	session, _, ok, err := s.store.Get(ctx, key)
	if err != nil || !ok {
		return nil
	}
	return session
}

// kill makes the end of a session, which the store has acknowledged, known
// here, to its open answers too. It returns the session if it was in doubt.
func (s *Sessions) kill(key Key) *Session {
	late := s.forgetEnded(key)
	s.endAnswers(key, forGood)
	return late
}

// forgetEnded takes an ended session out of the memory. The list comes last: an
// eviction that came before the memory's part has its position in the list from
// before this entry. It returns the session if it was in doubt.
func (s *Sessions) forgetEnded(key Key) *Session {
	s.memory.kill(key)
	s.ended.add(key, s.nanos())
	s.lastSeen.drop(key)
	return s.doubts.take(key)
}
