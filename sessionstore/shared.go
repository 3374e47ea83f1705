package sessionstore

// What follows keeps the memory true while others change the records of a store
// (Shared). A session that may have changed leaves the memory, and a read of it
// that is under way begins again: its result may be of before the change, and
// nobody would tell of that change a second time.

// changedElsewhere forgets a session that somebody may have changed. The next
// request asks the store; for open answers, which make none, it is asked at once.
func (s *Sessions) changedElsewhere(key Key) {
	s.memory.changed(key)
	list := s.watchList(key)
	list.mu.Lock()
	defer list.mu.Unlock()
	for w := list.ring.next; w != &list.ring; w = w.next {
		if w.handle.entry.key == key {
			s.suspect(w.handle, true)
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
			s.suspect(w.handle, false)
		}
		list.mu.Unlock()
	}
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
