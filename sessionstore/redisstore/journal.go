package redisstore

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

const (
	// journalFor is how long the end of a session is remembered here: longer than
	// it takes until a failover is over.
	journalFor = 10 * time.Minute

	// maxEnded bounds the sessions that have ended, maxMissing those that were
	// missing when they were to end. They are apart because strangers can sign out
	// sessions that there never were, as many as they like.
	maxEnded   = 100_000
	maxMissing = 10_000
)

// journal remembers the sessions that a server has said are gone. It may forget
// that: a replica takes over that had not heard of it yet, or the power fails
// before it was on the disk. Then the session would be back, and its user was told
// that it has ended. So for this node it stays gone, whatever the server says, and
// the server is told again (replay.go). No key is ever used again: they are made
// of random tokens.
type journal struct {
	mu             sync.Mutex
	ended, missing recent
	under          map[*ending]struct{}

	// late is set when the end of a session was told by a connection that had been
	// left by then: the next one may have been made without it.
	late atomic.Bool
}

// ending is a deletion that is under way. Sessions that are created meanwhile are
// not gone, whoever of both comes first here.
type ending struct{ created map[sessionstore.Key]bool }

func newJournal() *journal {
	return &journal{ended: newRecent(maxEnded), missing: newRecent(maxMissing), under: map[*ending]struct{}{}}
}

func (j *journal) begin() *ending {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := &ending{}
	j.under[e] = struct{}{}
	return e
}

// end finishes what begin began, with what the server has said.
func (j *journal) end(e *ending, ended, missing []sessionstore.Key) {
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.under, e)
	for _, key := range ended {
		if !e.created[key] {
			j.ended.add(key, now)
			j.missing.remove(key)
		}
	}
	for _, key := range missing {
		if !e.created[key] && !j.ended.has(key, now) {
			j.missing.add(key, now)
		}
	}
}

// created forgets a session that there is anew.
func (j *journal) created(key sessionstore.Key) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended.remove(key)
	j.missing.remove(key)
	for e := range j.under {
		if e.created == nil {
			e.created = make(map[sessionstore.Key]bool)
		}
		e.created[key] = true
	}
}

func (j *journal) has(key sessionstore.Key) bool {
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ended.has(key, now) || j.missing.has(key, now)
}

func (j *journal) all() []sessionstore.Key {
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.missing.append(j.ended.append(nil, now), now)
}

// recent are keys by when they were added last, of which the oldest go.
type recent struct {
	most  int
	order *list.List // of recentKey, the oldest first
	keys  map[sessionstore.Key]*list.Element
}

type recentKey struct {
	key sessionstore.Key
	at  time.Time // with its monotonic part: the wall clock may be set
}

func newRecent(most int) recent {
	return recent{most, list.New(), map[sessionstore.Key]*list.Element{}}
}

func (r *recent) add(key sessionstore.Key, now time.Time) {
	r.remove(key)
	r.keys[key] = r.order.PushBack(recentKey{key, now})
	for oldest := r.order.Front(); len(r.keys) > r.most || !fresh(oldest, now); oldest = r.order.Front() {
		r.remove(oldest.Value.(recentKey).key)
	}
}

func (r *recent) remove(key sessionstore.Key) {
	if e := r.keys[key]; e != nil {
		r.order.Remove(e)
		delete(r.keys, key)
	}
}

func (r *recent) has(key sessionstore.Key, now time.Time) bool {
	e := r.keys[key]
	return e != nil && fresh(e, now)
}

func (r *recent) append(to []sessionstore.Key, now time.Time) []sessionstore.Key {
	for e := r.order.Front(); e != nil; e = e.Next() {
		if fresh(e, now) {
			to = append(to, e.Value.(recentKey).key)
		}
	}
	return to
}

func fresh(e *list.Element, now time.Time) bool { return now.Sub(e.Value.(recentKey).at) < journalFor }
