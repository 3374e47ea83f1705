package sessionstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// clockTolerance is how far ahead of this clock a time in a record may be:
	// what nodes differ by, and what a crash leaves out of the mark.
	clockTolerance = 2 * time.Minute

	// markEvery is how often the latest time is stored.
	markEvery = time.Minute

	// jumpAhead is from where on a step of the wall clock is worth a word.
	jumpAhead = time.Minute
)

// clock tells the time that limits are measured by. It never goes back: it
// starts at the later of the wall clock and the latest time that was ever seen
// here (Store.Mark), goes on with the time that has really passed, and follows
// the wall clock ahead, as after a machine's sleep, but not back. So a clock
// that is set back prolongs no session, and one that is set ahead ends some.
type clock struct {
	wall    func() time.Time
	elapsed func() time.Duration
	base    atomic.Int64 // the time at elapsed zero
	started atomic.Bool  // the stored mark is known
}

func newClock(wall func() time.Time, elapsed func() time.Duration) *clock {
	if elapsed == nil {
		now := wall
		if now == nil {
			now = time.Now
		}
		start := now()
		elapsed = func() time.Duration { return now().Sub(start) }
		if wall == nil {
			// Without the wall clock's part it costs half.
			elapsed = func() time.Duration { return time.Since(start) }
		}
	}
	if wall == nil {
		wall = time.Now
	}
	c := &clock{wall: wall, elapsed: elapsed}
	c.base.Store(wall().UnixNano() - int64(elapsed()))
	return c
}

// nanos is the time now, in Unix nanoseconds.
func (c *clock) nanos() int64 { return c.base.Load() + int64(c.elapsed()) }

// follow moves the clock ahead to at, if it is behind, and returns by how much.
func (c *clock) follow(at int64) time.Duration {
	for {
		base := c.base.Load()
		behind := at - base - int64(c.elapsed())
		if behind <= 0 {
			return 0
		}
		if c.base.CompareAndSwap(base, base+behind) {
			return time.Duration(behind)
		}
	}
}

// startClock asks the store, once, for the latest time that was ever seen.
// Until it is known no session can be judged.
func (s *Sessions) startClock(ctx context.Context) error {
	if s.clock.started.Load() {
		return nil
	}
	mark, err := s.store.Mark(ctx, time.Time{})
	if err != nil {
		return fmt.Errorf("reading the latest time seen: %w", err)
	}
	if !mark.IsZero() {
		s.marked.Store(mark.UnixNano())
		if behind := s.clock.follow(mark.UnixNano()); behind > jumpAhead {
			s.logger.Error("the clock is behind the latest time seen here: session times go on from that, so that none lives longer",
				"behind", behind.Round(time.Second))
		}
	}
	s.clock.started.Store(true)
	return nil
}

// saveMark stores the time now, unless nothing is known of the one before.
func (s *Sessions) saveMark(ctx context.Context) error {
	if !s.clock.started.Load() {
		return nil
	}
	mark, err := s.store.Mark(ctx, time.Unix(0, s.nanos()).UTC())
	if err != nil {
		return fmt.Errorf("storing the latest time seen: %w", err)
	}
	s.followMark(mark)
	return nil
}

// followMark moves the clock ahead to a stored mark: another node may be ahead.
func (s *Sessions) followMark(mark time.Time) {
	if mark.IsZero() {
		return
	}
	s.marked.Store(mark.UnixNano())
	if ahead := s.clock.follow(mark.UnixNano()); ahead > jumpAhead {
		s.logger.Error("another node's clock is ahead: sessions whose limits lie before it end on all nodes", "by", ahead.Round(time.Second))
	}
}

// list returns a page of sessions. Times that only another node's clock can have
// seen are judged by that one.
func (s *Sessions) list(ctx context.Context, query ListQuery) (page []Listed, next string, err error) {
	page, next, err = s.store.List(ctx, query)
	if err != nil || s.shared == nil {
		return page, next, err
	}
	for i := range page {
		if _, plausible := s.plausible(page[i].Created, page[i].LastSeen); !plausible {
			return page, next, s.catchUp(ctx)
		}
	}
	return page, next, nil
}

// catchUp asks a store that other nodes use for the latest time that any of them
// has seen. A node whose clock is ahead stores that before anything with its time.
func (s *Sessions) catchUp(ctx context.Context) error {
	mark, err := s.store.Mark(ctx, time.Time{})
	if err != nil {
		return fmt.Errorf("reading the latest time seen: %w", err)
	}
	s.followMark(mark)
	return nil
}

// markBefore stores the time now if the mark is further behind it than the
// tolerance: what is stored next has the time now, and must not lie in the
// future of a clock that goes on from the mark, after a crash and with the wall
// clock set back.
func (s *Sessions) markBefore(ctx context.Context) error {
	if s.nanos()-s.marked.Load() <= int64(clockTolerance) {
		return nil
	}
	return s.saveMark(ctx)
}

// watchLoop looks once a second at the wall clock and at the limits of the
// sessions whose answers are open. It never waits for the store: what that is to
// be asked goes to askLoop, as soon as it is done with what came before.
func (s *Sessions) watchLoop(ctx context.Context, questions chan<- map[Key]Handle) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	ask := make(map[Key]Handle)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s.followWall()
		s.lookAtAnswers(ask)
		select {
		case questions <- ask:
			ask = make(map[Key]Handle)
		default:
		}
	}
}

// followWall moves the clock ahead with the wall clock.
func (s *Sessions) followWall() {
	if ahead := s.clock.follow(s.clock.wall().UnixNano()); ahead > jumpAhead {
		s.logger.Warn("the clock was set ahead: sessions whose limits lie before it end", "by", ahead.Round(time.Second))
	}
}

// askLoop asks the store what watchLoop wants to know, and stores the latest
// time once a minute.
func (s *Sessions) askLoop(ctx context.Context, questions <-chan map[Key]Handle) {
	var tried int64
	for {
		select {
		case <-ctx.Done():
			return
		case ask := <-questions:
			s.askStore(ctx, ask)
			s.askDoubts(ctx)
		}
		if s.nanos()-max(s.marked.Load(), tried) < int64(markEvery) || !s.clock.started.Load() {
			continue
		}
		tried = s.nanos()
		markCtx, cancel := context.WithTimeout(ctx, touchTimeout)
		if err := s.saveMark(markCtx); err != nil && ctx.Err() == nil {
			s.logger.Debug("storing the latest time seen failed", "error", err)
		}
		cancel()
	}
}
