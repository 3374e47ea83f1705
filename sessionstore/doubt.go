package sessionstore

import (
	"context"
	"maps"
	"sync"
	"time"
)

const (
	// settleTimeout bounds an end's part of the store. It goes on when its caller
	// leaves: the store may do what it was asked for all the same, and then
	// somebody must still be there to end the open answers and to write it down.
	// It has a bound because callers that have left would pile up before a store
	// that hangs; it is far longer than a disk that works needs.
	settleTimeout = 10 * time.Second

	// doubtFor is for how long a store may still do what it gave no answer to.
	doubtFor = time.Minute

	// maxDoubts bounds the sessions in doubt, whatever clients do.
	maxDoubts = 4096
)

// settling is the context of an end that has begun.
func settling(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
}

// doubts are the sessions that somebody wanted to end and whose end the store
// has not acknowledged. It may have ended them, or still do so: until it has
// said what became of them, it is asked once a second.
type doubts struct {
	mu       sync.Mutex
	sessions map[Key]doubt
}

type doubt struct {
	session *Session
	since   int64
}

// add is false if there is no room.
func (d *doubts) add(key Key, session *Session, now int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, there := d.sessions[key]; !there && len(d.sessions) >= maxDoubts {
		return false
	}
	if d.sessions == nil {
		d.sessions = make(map[Key]doubt)
	}
	d.sessions[key] = doubt{session, now}
	return true
}

func (d *doubts) get(key Key) (one doubt, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	one, ok = d.sessions[key]
	return one, ok
}

// take removes key, and returns its session if it was there.
func (d *doubts) take(key Key) *Session {
	d.mu.Lock()
	defer d.mu.Unlock()
	session := d.sessions[key].session
	delete(d.sessions, key)
	return session
}

// settled removes key, unless it was added again after since.
func (d *doubts) settled(key Key, since int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sessions[key].since == since {
		delete(d.sessions, key)
	}
}

// all returns those there are now, nil if none.
func (d *doubts) all() map[Key]doubt {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.sessions) == 0 {
		return nil
	}
	return maps.Clone(d.sessions)
}

// doubt is called when the store has not acknowledged the end of a session.
// session is what is known of it, nil: nothing. One that nobody here has to do
// with needs no more than the next request's own question.
func (s *Sessions) doubt(key Key, session *Session) {
	if session == nil {
		session = s.known(key)
	}
	if session != nil && !s.doubts.add(key, session, s.nanos()) {
		// Its end was wanted, and nobody would learn that it came.
		s.endAnswers(key, forGood)
	}
	s.memory.forget(key)
}

// known returns what this node knows of a session without asking the store, nil
// if it is neither in memory nor has an open answer.
func (s *Sessions) known(key Key) *Session {
	if e := s.memory.get(key); e != nil {
		return e.session.Load()
	}
	list := s.watchList(key)
	list.mu.Lock()
	defer list.mu.Unlock()
	for w := list.ring.next; w != &list.ring; w = w.next {
		if w.handle.entry.key == key {
			return w.handle.Session
		}
	}
	return nil
}

// settle makes the end of a session known that was in doubt: the store has just
// said that it has none with that public id. Whoever asked has ended it, if at
// the second attempt. It is nil for one that was not in doubt, or of another user
// than of (nil: whosever).
func (s *Sessions) settle(id string, of *User) *Session {
	for key, d := range s.doubts.all() {
		if d.session.ID == id && (of == nil || of.Directory == d.session.User.Directory && of.ID == d.session.User.ID) {
			return s.kill(key)
		}
	}
	return nil
}

// tellLate reports an end that took place after all, unless late is nil.
func (s *Sessions) tellLate(late *Session) {
	if late != nil {
		s.tell(late, Unknown)
	}
}

// askDoubts asks the store for the sessions in doubt. Those that are gone end
// here too, and are reported. One that is still there after doubtFor lives on.
func (s *Sessions) askDoubts(ctx context.Context) {
	all := s.doubts.all()
	if all == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	for key := range all {
		if s.askDoubt(ctx, key); ctx.Err() != nil {
			return
		}
	}
}

// askDoubt is askDoubts for one session. It does nothing for one that is not in
// doubt, or while the store cannot say.
func (s *Sessions) askDoubt(ctx context.Context, key Key) {
	d, ok := s.doubts.get(key)
	if !ok {
		return
	}
	asked := s.nanos()
	_, _, there, err := s.store.Get(ctx, key)
	switch {
	case err == nil && !there:
		s.tellLate(s.kill(key))
	case err != nil && !isThere(err):
	case asked-d.since >= int64(doubtFor):
		s.doubts.settled(key, d.since)
	}
}
