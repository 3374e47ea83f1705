package sessionstore

import "time"

// InUse calls yield for the sessions in memory that users of directory signed
// in to, that live, and that were used at or after since, in no order, until
// yield returns false. It starts no idle timer. Limits are those of the
// sign-in. yield may take its time: no lock is held meanwhile, and a session
// is looked at right before its turn. Which sessions come into memory meanwhile,
// it may miss: they were read from the store just now.
func (s *Sessions) InUse(directory string, since time.Time, yield func(Handle) bool) {
	var entries []*entry
	for i := range s.memory.shards {
		entries = s.memory.list(&s.memory.shards[i], entries[:0])
		for _, e := range entries {
			if e.evictedAt.Load() != 0 {
				// It may have been loaded again since, and changed.
				if e = s.memory.get(e.key); e == nil {
					continue
				}
			}
			h := Handle{Session: e.session.Load(), sessions: s, entry: e, limits: e.limits}
			if h.User.Directory != directory || h.Seen().Before(since) || !h.Alive() {
				continue
			}
			if s.closed.Load() || !yield(h) {
				return
			}
		}
	}
}

// list appends the entries of sh to list. It copies no more than pointers, as
// sign-ins and loads wait for it.
func (m *memory) list(sh *shard, list []*entry) []*entry {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for _, e := range sh.entries {
		list = append(list, e)
	}
	return list
}
