package sessionstore

import (
	"context"
	"errors"
	"sync"
)

// Watcher is told that the session of an answer that is still open has ended, or
// that nobody can say any more whether it has.
type Watcher interface {
	// SessionEnded ends the answer. It must not block, must not call the
	// sessions, and is called at most once, never after Watch.Stop has returned.
	SessionEnded()
}

// Watch is the place of one open answer in the list of those that are to end
// with their session. The zero value watches nothing. It must not be copied.
type Watch struct {
	watcher    Watcher
	handle     Handle
	list       *watchList
	prev, next *Watch
	whenIdle   bool
	spared     bool // the session ended by its idle limit
}

// watchList holds the open answers of the sessions of one shard, in a ring: an
// answer joins and leaves without any memory of its own.
type watchList struct {
	mu   sync.Mutex
	ring Watch
	_    [32]byte // not on a cache line with the next one's lock
}

func newWatchLists(n int) []watchList {
	lists := make([]watchList, n)
	for i := range lists {
		ring := &lists[i].ring
		ring.prev, ring.next = ring, ring
	}
	return lists
}

func (s *Sessions) watchList(key Key) *watchList {
	return &s.watches[int(key[0])&(len(s.watches)-1)]
}

// Watch has watcher told, through w, when the session ends: signed out, revoked,
// replaced or past its absolute limit; and, from WhenIdle on, past its idle
// limit too. An end on this node is told before it is acknowledged, one by a
// limit or on another node within two seconds. A Shared store that for a minute
// cannot say whether somebody else has ended the session ends the watched answers
// too, and those alone: the session may live, and the next request asks the store.
// Watch is false, and nothing is watched, if the session has ended already. The
// caller stops every watch.
func (h Handle) Watch(w *Watch, watcher Watcher) bool {
	if h.entry == nil {
		return false
	}
	list := h.sessions.watchList(h.entry.key)
	list.mu.Lock()
	*w = Watch{watcher: watcher, handle: h, list: list}
	last := list.ring.prev
	w.prev, w.next = last, &list.ring
	last.next, list.ring.prev = w, w
	list.mu.Unlock()
	// In this order: an end that came before the watch is seen here, a later
	// one finds the watch.
	if h.ended() {
		w.Stop()
		return false
	}
	// What was changed elsewhere before the watch has left the memory, and nobody
	// was there to be told.
	if h.sessions.shared != nil && h.entry.evictedAt.Load() != 0 {
		h.sessions.suspect(h, true)
	}
	return true
}

// ended tells whether the session was ended. Limits that have passed are left
// to the next look.
func (h Handle) ended() bool {
	e := h.current()
	if e.dead.Load() {
		return true
	}
	at := e.evictedAt.Load()
	return at != 0 && h.sessions.ended.mayHave(e.key, at-1)
}

// WhenIdle has the answer end with the idle limit too: it may stay open for as
// long as somebody listens, and its own traffic keeps no session alive.
func (w *Watch) WhenIdle() {
	if w.list == nil {
		return
	}
	w.list.mu.Lock()
	w.whenIdle = true
	w.list.mu.Unlock()
}

// Stop ends the watch. When it returns, the watcher is not called any more.
func (w *Watch) Stop() {
	if w.list == nil {
		return
	}
	w.list.mu.Lock()
	w.unlink()
	w.list.mu.Unlock()
}

// unlink takes w out of its ring, if it is in one. The caller holds the lock.
func (w *Watch) unlink() {
	if w.next == nil {
		return
	}
	w.prev.next, w.next.prev = w.next, w.prev
	w.prev, w.next = nil, nil
}

// Watched tells whether any answer is watched now.
func (s *Sessions) Watched() bool {
	for i := range s.watches {
		list := &s.watches[i]
		list.mu.Lock()
		watched := list.ring.next != &list.ring
		list.mu.Unlock()
		if watched {
			return true
		}
	}
	return false
}

// ending is how a session's end became known.
type ending int

const (
	forGood     ending = iota // for all its answers
	byIdleLimit               // for those that end WhenIdle
	notThere                  // for all but those that its idle limit did not end
)

// endAnswers tells the open answers of a session that it has ended, and returns
// how many it has told. Those that its idle limit does not end go on, at most to
// the absolute limit.
func (s *Sessions) endAnswers(key Key, how ending) (told int) {
	list := s.watchList(key)
	list.mu.Lock()
	defer list.mu.Unlock()
	for w := list.ring.next; w != &list.ring; {
		next := w.next
		switch {
		case w.handle.entry.key != key:
		case how == byIdleLimit && !w.whenIdle:
			w.spared = true
		case how == notThere && w.spared && !w.whenIdle:
		default:
			w.tell()
			told++
		}
		w = next
	}
	return told
}

// tell takes w out of its ring and ends its answer. The caller holds the lock.
func (w *Watch) tell() {
	w.unlink()
	w.watcher.SessionEnded()
}

// lookAtAnswers ends the answers of sessions that are past their absolute limit,
// at once: a store that hangs keeps none of them open. It adds to ask what is
// left to the store: to drop and report these sessions, and to say of those that
// look idle whether they were used elsewhere.
func (s *Sessions) lookAtAnswers(ask map[Key]Handle) {
	for i := range s.watches {
		s.watches[i].look(ask, s.nanos())
	}
}

func (l *watchList) look(ask map[Key]Handle, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := l.ring.next; w != &l.ring; {
		next, h := w.next, w.handle
		e := h.current()
		dead := e.dead.Load()
		switch {
		case e.pastAbsolute(h.limits, now):
			w.tell()
			if !dead {
				ask[e.key] = h
			}
		case !w.whenIdle:
		case dead:
			// Whoever ended it tells the answers, but those that its idle limit
			// did not end then.
			if w.spared {
				w.tell()
			}
		case e.condition(h.limits, now) == pastIdle:
			ask[e.key] = h
		}
		w = next
	}
}

// askStore looks sessions up that have passed a limit: those that were not used
// elsewhere end, and with them their answers. A store that fails cannot say
// whether they were, and the next look asks it again.
func (s *Sessions) askStore(ctx context.Context, ask map[Key]Handle) {
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	for key, h := range ask {
		found, result, err := s.lookupStored(ctx, key, h.limits, false)
		switch {
		case err == nil:
			s.tellEnded(found.Session, result)
		case errors.Is(err, ErrNewerRecord):
			// No later look would be told either: what is known here holds.
			s.endAnswers(key, byIdleLimit)
		}
	}
}
