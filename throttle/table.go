package throttle

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
)

const (
	// sweepStep is how many entries a second each shard is searched for
	// expired ones in passing, under one hold of its lock.
	sweepStep = 256

	// sweepFull is how many are looked at when there is no room.
	sweepFull = 64
)

// table holds the entries of some kinds of keys, in shards that are locked on
// their own. Keys are HMACs, so any of their bytes spreads them evenly.
type table struct {
	shards  []shard
	windows *windows

	// What there was no room for. Known keys have a sketch of their own, so
	// that a flood of made-up names does not count against them.
	unknown, known sketch
}

type shard struct {
	table *table
	order int // the order of locking
	most  int // counted entries of unknown keys; twice as many in all

	mu      sync.Mutex
	entries map[key]*entry
	counted []*entry // those with failures, in no order
	hand    int      // the sweep's place in counted
	dirty   map[key]struct{}
}

func newTable(maxEntries int, w *windows, order int) *table {
	const smallest, most = 64, 64
	n := 1
	for n < 16*runtime.GOMAXPROCS(0) && n < most && maxEntries/(2*n) >= smallest {
		n *= 2
	}
	t := &table{shards: make([]shard, n), windows: w}
	for i := range t.shards {
		t.shards[i] = shard{
			table:   t,
			order:   order + i,
			most:    max(maxEntries/n, 1),
			entries: make(map[key]*entry),
			dirty:   make(map[key]struct{}),
		}
	}
	return t
}

func (t *table) shard(k key) *shard { return &t.shards[int(k[0])&(len(t.shards)-1)] }

func (t *table) overflow(known bool) *sketch {
	if known {
		return &t.known
	}
	return &t.unknown
}

func (t *table) retention(k kind) int64 { return t.windows[k].Load() }

// lockAll locks shards in their one order, each once, so that two attempts
// with the same budgets cannot lock each other out.
func lockAll(shards []*shard) (unlock func()) {
	slices.SortFunc(shards, func(a, b *shard) int { return cmp.Compare(a.order, b.order) })
	shards = slices.Compact(shards)
	for _, sh := range shards {
		sh.mu.Lock()
	}
	return func() {
		for _, sh := range shards {
			sh.mu.Unlock()
		}
	}
}

// standing is what one budget says to a further attempt: both zero, it has room.
type standing struct {
	// blocked is for how long failures alone use the budget up, in
	// milliseconds; 0: they do not.
	blocked int64

	// full is the entry whose reservations use up the rest.
	full *entry
}

// standing judges the budget of c. The caller holds the lock, as it does for
// all methods of shard below.
func (sh *shard) standing(c claim, now int64) standing {
	window, limit := c.limit.Window.Milliseconds(), c.limit.Failures
	e := sh.entries[c.key]
	failures := 0
	if e != nil && e.place != uncounted {
		e.clamp(now)
		failures = e.failures(now, window)
		if failures >= limit {
			return standing{blocked: e.times[len(e.times)-limit] + window - now}
		}
	} else {
		// For a key with an entry of its own the sketch is never asked:
		// collisions do not touch it.
		s := sh.table.overflow(c.known).verdict(c.key, now, limit)
		failures = s.last + s.current
		if failures >= limit {
			return standing{blocked: max(s.freeAt(limit)-now, 1)}
		}
	}
	if e != nil && failures+e.reserved >= limit {
		return standing{full: e}
	}
	return standing{}
}

// reserve takes a place for one attempt.
func (sh *shard) reserve(c claim) *entry {
	e := sh.entries[c.key]
	if e == nil {
		e = &entry{key: c.key, kind: c.kind, place: uncounted}
		sh.entries[c.key] = e
	}
	e.reserved++
	return e
}

// release gives a place back.
func (sh *shard) release(e *entry) {
	e.reserved--
	e.changed()
	if e.reserved == 0 && e.place == uncounted {
		delete(sh.entries, e.key)
	}
}

// fail turns a place into a failure.
func (sh *shard) fail(e *entry, c claim, now int64) {
	sh.sweep(2, now)
	if e.place == uncounted && !sh.makeRoom(c.known, now) {
		sh.table.overflow(c.known).add(c.key, now, max(sh.table.retention(c.kind), c.limit.Window.Milliseconds()))
		sh.release(e)
		return
	}
	if e.place == uncounted {
		sh.seed(e, c, now)
		sh.enlist(e)
	}
	e.clamp(now)
	e.add(now, c.limit.Window.Milliseconds(), sh.table.retention(c.kind))
	sh.markDirty(e.key)
	sh.release(e)
}

// seed takes over what the sketch counts for a key that gets an entry: what
// came in its last generation as of that one's end, what came in the current
// one as of now. Both are the latest that is possible.
func (sh *shard) seed(e *entry, c claim, now int64) {
	s := sh.table.overflow(c.known).verdict(c.key, now, c.limit.Failures)
	for range min(s.last, MaxFailures) {
		e.times = append(e.times, min(s.start, now))
	}
	for range min(s.current, MaxFailures) {
		e.times = append(e.times, now)
	}
}

// clear forgets the failures of k: somebody knew the password.
func (sh *shard) clear(k key, kd kind, now int64) {
	e := sh.entries[k]
	was := e != nil && e.place != uncounted
	settled := max(sh.table.unknown.settled(k, now), sh.table.known.settled(k, now))
	if settled > now && (was || sh.makeRoom(true, now)) {
		// Nothing can be taken out of the sketch. An entry without failures
		// says that what is there for this key does not count.
		if e == nil {
			e = &entry{key: k, kind: kd, place: uncounted}
			sh.entries[k] = e
		}
		e.keep = settled
		if !was {
			sh.enlist(e)
		}
		e.times = nil
	} else if was {
		sh.unlist(e)
	}
	if was {
		sh.markDirty(k)
	}
	if e != nil {
		e.changed()
	}
}

// makeRoom tells whether there is room for one more counted entry.
func (sh *shard) makeRoom(known bool, now int64) bool {
	most := sh.most
	if known {
		most *= 2
	}
	if len(sh.counted) >= most {
		sh.sweep(sweepFull, now)
	}
	return len(sh.counted) < most
}

func (sh *shard) enlist(e *entry) {
	e.place = len(sh.counted)
	sh.counted = append(sh.counted, e)
}

// unlist drops the counter of e, and e itself if no attempt holds it.
func (sh *shard) unlist(e *entry) {
	last := len(sh.counted) - 1
	sh.counted[e.place] = sh.counted[last]
	sh.counted[e.place].place = e.place
	sh.counted[last] = nil
	sh.counted = sh.counted[:last]
	e.place, e.times, e.window, e.keep = uncounted, nil, 0, 0
	if e.reserved == 0 {
		delete(sh.entries, e.key)
	}
}

// sweep looks at the next n counted entries and drops those that have expired.
// It goes round, whatever order they expire in: windows differ, and clocks jump.
func (sh *shard) sweep(n int, now int64) {
	for range min(n, len(sh.counted)) {
		if sh.hand >= len(sh.counted) {
			sh.hand = 0
		}
		e := sh.counted[sh.hand]
		if now < e.expires(sh.table.retention(e.kind)) {
			sh.hand++
			continue
		}
		// The backend drops it by itself, by the same time.
		delete(sh.dirty, e.key)
		sh.unlist(e)
	}
}

// clampAll is clamp for all entries, after the clock was set back. It goes
// down, so that what takes the place of an entry that is dropped meanwhile has
// been seen before, and lets others in between.
func (t *table) clampAll(now int64) {
	for i := range t.shards {
		sh := &t.shards[i]
		for next, more := int(^uint(0)>>1), true; more; {
			sh.mu.Lock()
			next = min(next, len(sh.counted))
			for range min(sweepStep, next) {
				next--
				sh.counted[next].clamp(now)
			}
			more = next > 0
			sh.mu.Unlock()
		}
	}
}

// sweepAll takes one step of the sweep in each shard.
func (t *table) sweepAll(now int64) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		sh.sweep(sweepStep, now)
		sh.mu.Unlock()
	}
}
