package sessionstore

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// entry is a session in memory. All that changes is atomic, so that requests
// of one session do not wait for each other.
type entry struct {
	// What a request needs stands together, so that it reads one or two cache
	// lines; created and limits are the session's. A session with other groups
	// takes the place of the one before in the same entry: timers, marks and the
	// handles of requests under way need not follow it anywhere.
	session atomic.Pointer[Session]
	created int64 // unix nanoseconds, as are all times here
	limits  Limits
	seen    atomic.Int64 // last request that touched it
	saved   atomic.Int64 // last-seen time that was last handed to the store

	// dead: ended, replaced, expired. It never becomes false again.
	dead atomic.Bool

	renewed atomic.Int64 // last time the cookie was re-sent
	key     Key
	size    int64 // under the shard's lock

	// evictedAt is set when the entry left the memory alive: 1 + the position
	// in the list of ended keys. What happens to its session later cannot
	// reach it; handles that still hold it look there.
	evictedAt atomic.Uint64

	derived atomic.Pointer[derived]
}

func newEntry(key Key, session *Session, seen int64) *entry {
	e := &entry{
		key:     key,
		created: session.Created.UnixNano(),
		limits:  session.Limits,
		size:    session.size(),
	}
	e.session.Store(session)
	e.seen.Store(seen)
	e.saved.Store(seen)
	e.renewed.Store(seen)
	return e
}

// atLeast raises v to n.
func atLeast(v *atomic.Int64, n int64) {
	for {
		old := v.Load()
		if old >= n || v.CompareAndSwap(old, n) {
			return
		}
	}
}

// memory holds the sessions in use, in shards that are locked on their own: no
// lock is shared by all requests. Keys are hashes, so any of their bytes
// spreads them evenly and no client can aim at one shard.
type memory struct {
	shards []shard

	// entries and bytes bound each shard.
	entries int
	bytes   int64

	// evicted is called, under the shard's lock, for each entry that leaves
	// while its session lives. Under the lock, because what it saves must be
	// there before the session can be loaded again.
	evicted func(*entry)
}

type shard struct {
	mu      sync.RWMutex
	entries map[Key]*entry
	flights map[Key]*flight
	bytes   int64
	closed  bool   // no new flights
	changes uint64 // made elsewhere; with it the shard has a cache line of its own
}

func newMemory(maxEntries int, maxBytes int64, evicted func(*entry)) *memory {
	// Enough shards that two cores rarely meet in one, and few enough that
	// the bounds, which hold for each shard, mean what the operator wrote.
	const smallest, most = 64, 256
	n := 1
	for n < 16*runtime.GOMAXPROCS(0) && n < most && maxEntries/(2*n) >= smallest {
		n *= 2
	}
	m := &memory{
		shards:  make([]shard, n),
		entries: max(maxEntries/n, 1),
		bytes:   maxBytes / int64(n),
		evicted: evicted,
	}
	for i := range m.shards {
		m.shards[i].entries = make(map[Key]*entry)
		m.shards[i].flights = make(map[Key]*flight)
	}
	return m
}

func (m *memory) shard(key Key) *shard {
	return &m.shards[int(key[0])&(len(m.shards)-1)]
}

// get returns the entry of key, nil if it is not in memory.
func (m *memory) get(key Key) *entry {
	sh := m.shard(key)
	sh.mu.RLock()
	e := sh.entries[key]
	sh.mu.RUnlock()
	return e
}

// insert adds a new session's entry.
func (m *memory) insert(e *entry) {
	sh := m.shard(e.key)
	sh.mu.Lock()
	m.insertLocked(sh, e)
	sh.mu.Unlock()
}

// insertLocked adds e, whose key is not there, and makes room for it first.
// One entry larger than the bound is let in alone: a record has a bound too.
func (m *memory) insertLocked(sh *shard, e *entry) {
	for len(sh.entries) > 0 && (len(sh.entries) >= m.entries || sh.bytes+e.size > m.bytes) {
		m.evictOne(sh)
	}
	sh.entries[e.key] = e
	sh.bytes += e.size
}

// evictOne removes the least recently seen of a few entries. An exact order
// would cost every request a lock; a sample's oldest is nearly as good.
func (m *memory) evictOne(sh *shard) {
	const sample = 8
	var oldest *entry
	n := 0
	for _, e := range sh.entries { // the order is random
		if e.dead.Load() {
			oldest = e
			break
		}
		if oldest == nil || e.seen.Load() < oldest.seen.Load() {
			oldest = e
		}
		if n++; n == sample {
			break
		}
	}
	m.removeLocked(sh, oldest)
}

// removeLocked takes e out; if its session lives, as an eviction.
func (m *memory) removeLocked(sh *shard, e *entry) {
	delete(sh.entries, e.key)
	sh.bytes -= e.size
	if !e.dead.Load() {
		m.evicted(e)
	}
}

// kill takes the session of key out for good and tells every handle. The
// store has acknowledged its end: a load that read the record before that
// must not bring it back, so it is made to read again.
func (m *memory) kill(key Key) {
	sh := m.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.doom(key)
	if e := sh.entries[key]; e != nil {
		e.dead.Store(true)
		m.removeLocked(sh, e)
	}
}

// forget takes the session of key out of memory without a word on whether it
// lives: the next request asks the store.
func (m *memory) forget(key Key) {
	sh := m.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.doom(key)
	if e := sh.entries[key]; e != nil && !e.dead.Load() {
		m.removeLocked(sh, e)
	}
}

// replace puts session in the place of the one that key has in memory. The
// store has it already: a load that read the one before must not bring that
// back, so it is made to read again. The entry is nil if key is not in memory;
// one that is dead stays dead. What has changed elsewhere since that many changes
// may be newer than session: then the one in memory is forgotten instead.
func (m *memory) replace(key Key, session *Session, since uint64) *entry {
	sh := m.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.doom(key)
	e := sh.entries[key]
	if e == nil {
		return nil
	}
	if sh.changes != since && !e.dead.Load() {
		m.removeLocked(sh, e)
		return nil
	}
	size := session.size()
	sh.bytes += size - e.size
	e.size = size
	e.session.Store(session)
	e.derived.Store(nil)
	// It may be the one that goes: then the next request reads it again.
	for len(sh.entries) > 1 && sh.bytes > m.bytes {
		m.evictOne(sh)
	}
	return e
}

// all calls f for every entry, shard by shard.
func (m *memory) all(f func(*entry)) {
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.RLock()
		for _, e := range sh.entries {
			f(e)
		}
		sh.mu.RUnlock()
	}
}
