package sessionstore

import (
	"context"
	"errors"
	"sync"
	"time"
)

// What follows keeps the memory true while others change the records of a store
// (Shared). A session that may have changed leaves the memory, and a read of it
// that is under way begins again: its result may be of before the change, and
// nobody would tell of that change a second time.

// suspectEvery is how often a store that fails is asked again whether the
// sessions with open answers are still there.
const suspectEvery = 250 * time.Millisecond

// suspects are sessions with open answers that may have been ended elsewhere.
// There are no more of them than open answers.
type suspects struct {
	mu       sync.Mutex
	sessions map[Key]Handle
	wake     chan struct{} // has one when somebody was added
}

func (u *suspects) add(key Key, h Handle) {
	u.mu.Lock()
	if u.sessions == nil {
		u.sessions = make(map[Key]Handle)
	}
	u.sessions[key] = h
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

func (u *suspects) take() map[Key]Handle {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := u.sessions
	u.sessions = nil
	return all
}

// changedElsewhere forgets a session that somebody may have changed. The next
// request asks the store; for open answers, which make none, it is asked at once.
func (s *Sessions) changedElsewhere(key Key) {
	s.memory.changed(key)
	list := s.watchList(key)
	list.mu.Lock()
	defer list.mu.Unlock()
	for w := list.ring.next; w != &list.ring; w = w.next {
		if w.handle.entry.key == key {
			s.suspects.add(key, w.handle)
			return
		}
	}
}

// lostTrack forgets all sessions: any of them may have changed unnoticed. What
// was seen of them here is kept for the store.
func (s *Sessions) lostTrack() {
	s.memory.changedAll()
	for i := range s.watches {
		list := &s.watches[i]
		list.mu.Lock()
		for w := list.ring.next; w != &list.ring; w = w.next {
			s.suspects.add(w.handle.entry.key, w.handle)
		}
		list.mu.Unlock()
	}
}

// suspectLoop asks the store for suspects until ctx ends.
func (s *Sessions) suspectLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.suspects.wake:
		}
		if s.askSuspects(ctx) {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(suspectEvery):
		}
	}
}

// askSuspects ends the answers of suspects that the store does not have any
// more. It is false if the store could not say of all: those stay suspects.
func (s *Sessions) askSuspects(ctx context.Context) (all bool) {
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	all = true
	for key, h := range s.suspects.take() {
		if !all || !s.askSuspect(ctx, key, h) {
			all = false
			s.suspects.add(key, h)
		}
	}
	return all
}

func (s *Sessions) askSuspect(ctx context.Context, key Key, h Handle) (known bool) {
	if h.current().dead.Load() {
		return true // it ended here, and whoever ended it tells the answers
	}
	_, _, there, err := s.store.Get(ctx, key)
	switch {
	case errors.Is(err, ErrInvalidRecord):
		found, result, err := s.lookupStored(ctx, key, h.limits, false)
		if err == nil {
			s.tellEnded(found.Session, result)
		}
		return err == nil
	case err != nil:
		return false
	case !there:
		// Why, only the other node knows. If it was the idle limit, answers end
		// that it would spare here: that is the safe side.
		s.tellLate(s.kill(key))
	}
	return true
}

// changed forgets the session of key, and notes that it was changed elsewhere.
func (m *memory) changed(key Key) {
	sh := m.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.changes++
	sh.doom(key)
	if e := sh.entries[key]; e != nil && !e.dead.Load() {
		m.removeLocked(sh, e)
	}
}

// changedAll is changed for all sessions. Those that are dead stay: they are
// refused without a question.
func (m *memory) changedAll() {
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		sh.changes++
		for key := range sh.flights {
			sh.doom(key)
		}
		for _, e := range sh.entries {
			if !e.dead.Load() {
				m.removeLocked(sh, e)
			}
		}
		sh.mu.Unlock()
	}
}

// changesNear counts the changes that were made elsewhere to sessions of key's
// shard.
func (m *memory) changesNear(key Key) uint64 {
	sh := m.shard(key)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.changes
}
