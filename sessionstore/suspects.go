package sessionstore

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// suspectEvery is how often a store that fails is asked again whether the
	// sessions with open answers are still there.
	suspectEvery = 250 * time.Millisecond

	// suspectsAtOnce bounds the questions that are under way: enough to be through
	// with thousands of sessions within a second, and too few for requests to
	// notice.
	suspectsAtOnce = 32

	// suspectFor is how long an open answer goes on while the store cannot say
	// whether its session does. A request is refused meanwhile; this is what spares
	// streams a short outage. Without a bound a session that was ended elsewhere
	// would be served for as long as the outage takes.
	suspectFor = time.Minute
)

// suspects are sessions with open answers that may have been ended elsewhere, in
// the order in which the store is asked: those that somebody has changed come
// before those of which that is not known, as after a lost connection, when that
// is all of them. There are no more than open answers.
type suspects struct {
	mu          sync.Mutex
	waiting     map[Key]*suspect
	named, lost list.List
	oldest      time.Duration // none has been one since before
	wake        chan struct{} // has one when somebody was added
}

type suspect struct {
	handle Handle
	since  time.Duration // by the clock's elapsed time: when it became one
	named  bool          // this very session was changed
	place  *list.Element
}

// add has a session asked about that is a suspect since then. One that waits
// already keeps its place, or those that are changed all the time would never come
// to it; only a change takes it from one queue to the other.
func (u *suspects) add(h Handle, named bool, since time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.waiting) == 0 {
		u.waiting, u.oldest = make(map[Key]*suspect), since
	}
	one := u.waiting[h.entry.key]
	if one == nil {
		one = &suspect{handle: h, since: since, named: named}
		one.place = u.queue(named).PushBack(one)
		u.waiting[h.entry.key] = one
	} else if named && !one.named {
		u.lost.Remove(one.place)
		one.named, one.place = true, u.named.PushBack(one)
	}
	one.since = min(one.since, since)
	u.oldest = min(u.oldest, one.since)
}

func (u *suspects) queue(named bool) *list.List {
	if named {
		return &u.named
	}
	return &u.lost
}

// remove takes one out. The caller holds the lock.
func (u *suspects) remove(one *suspect) {
	u.queue(one.named).Remove(one.place)
	delete(u.waiting, one.handle.entry.key)
}

// take returns the next one to ask about, nil if there is none. It is out of the
// set before it is read: one that is changed during the read is a suspect anew.
func (u *suspects) take() *suspect {
	u.mu.Lock()
	defer u.mu.Unlock()
	next := u.queue(u.named.Len() > 0).Front()
	if next == nil {
		return nil
	}
	one := next.Value.(*suspect)
	u.remove(one)
	return one
}

// overdue takes those out that the store was silent about for too long.
func (u *suspects) overdue(now time.Duration) (all []*suspect) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.waiting) == 0 || now-u.oldest < suspectFor {
		return nil
	}
	u.oldest = now
	for _, one := range u.waiting {
		if now-one.since < suspectFor {
			u.oldest = min(u.oldest, one.since)
			continue
		}
		u.remove(one)
		all = append(all, one)
	}
	return all
}

// suspect has the store asked whether the session of h is still there.
func (s *Sessions) suspect(h Handle, named bool) {
	s.suspects.add(h, named, s.clock.elapsed())
	select {
	case s.suspects.wake <- struct{}{}:
	default:
	}
}

// suspectLoop asks the store about suspects until ctx ends, and ends the answers
// of those that it is silent about. After a failure it pauses.
func (s *Sessions) suspectLoop(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	asked := make(chan *suspect, suspectsAtOnce) // nil: the store has said
	free, fails := suspectsAtOnce, false
	var tick <-chan time.Time
	for {
		for free > 0 && !fails {
			one := s.suspects.take()
			if one == nil {
				break
			}
			free--
			asking.Go(func() {
				if s.askSuspect(ctx, one) {
					one = nil
				}
				asked <- one
			})
		}
		if tick == nil && (fails || free == 0) { // else nobody waits
			tick = time.After(suspectEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.suspects.wake:
		case one := <-asked:
			free++
			if one != nil {
				s.suspects.add(one.handle, one.named, one.since)
				fails = true
			}
		case <-tick:
			tick, fails = nil, false
			s.endOverdue()
		}
	}
}

// askSuspect ends the answers of a suspect that the store does not have any more.
// It is false if the store could not say.
func (s *Sessions) askSuspect(ctx context.Context, one *suspect) (known bool) {
	h := one.handle
	if h.answered() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, min(touchTimeout, one.since+suspectFor-s.clock.elapsed()))
	defer cancel()
	key := h.entry.key
	_, _, there, err := s.store.Get(ctx, key)
	switch {
	case errors.Is(err, ErrInvalidRecord):
		found, result, err := s.lookupStored(ctx, key, h.limits, false)
		if err == nil {
			s.tellEnded(found.Session, result)
		}
		return err == nil
	case errors.Is(err, ErrNewerRecord):
		// It is there, so nobody has ended it. To ask again would bring no other
		// answer, and keep those waiting that have one.
		return true
	case err != nil:
		return false
	case !there:
		// Why, only the other node knows. If it was the idle limit, answers end
		// that it would spare here: that is the safe side. It may have been this
		// node, which has spared those that it knows of.
		late, how := s.forgetEnded(key), notThere
		if late != nil {
			how = forGood
		}
		s.endAnswers(key, how)
		s.tellLate(late)
	}
	return true
}

// answered tells that there is nothing to ask about a suspect: its session has
// ended here, and whoever ended it tells the answers; or it is in memory, and so
// was read since.
func (h Handle) answered() bool {
	e := h.current()
	return e.dead.Load() || e.evictedAt.Load() == 0
}

// endOverdue ends the answers of suspects that the store was silent about for too
// long. Nothing else of their sessions ends: they may be live.
func (s *Sessions) endOverdue() {
	ended := 0
	for _, one := range s.suspects.overdue(s.clock.elapsed()) {
		if !one.handle.answered() {
			ended += s.endAnswers(one.handle.entry.key, notThere)
		}
	}
	if ended > 0 {
		s.logger.Warn("open answers were ended: for too long the session store could not say whether their sessions were", "answers", ended)
	}
}
