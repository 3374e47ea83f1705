package sessionstore

import (
	"sync"
	"sync/atomic"
	"time"
)

// leaseFor is how long what a shared store has told is taken for all that there is
// to tell. A store says within a second that it cannot say; but a process that was
// stopped, as on a machine that is paused, goes on before its store has noticed.
const leaseFor = time.Second

// lease is until when the memory is true although nobody has told of a change.
type lease struct {
	until atomic.Int64 // of elapsed; 0: the store has not begun to say
	mu    sync.Mutex   // held while it is over and the memory is emptied
}

// renew notes that all changes have been told that were made until a time.
func (s *Sessions) renew(heard time.Time) {
	until := int64(s.clock.elapsed() - time.Since(heard) + leaseFor)
	for {
		old := s.lease.until.Load()
		if old >= until || s.lease.until.CompareAndSwap(old, until) {
			return
		}
	}
}

// keepLease forgets all sessions when the lease is over. What is read after that is
// as good as new, so it is done once.
func (s *Sessions) keepLease() {
	until := s.lease.until.Load()
	if until == 0 {
		return
	}
	if int64(s.clock.elapsed()) < until {
		return
	}
	// The others wait: until it is done, memory has what may be of the past.
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	now := int64(s.clock.elapsed())
	if until = s.lease.until.Load(); now < until {
		return
	}
	s.lostTrack()
	s.lease.until.CompareAndSwap(until, now+int64(leaseFor))
}
