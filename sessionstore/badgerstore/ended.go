package badgerstore

import (
	"maps"
	"slices"
	"sync"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// endedSet holds sessions that have ended while Badger still has them. Readers
// load it before they open a snapshot of Badger: it only grows, and is replaced
// by nil once Badger knows, so what is in neither has not ended. A nil set is
// empty.
type endedSet struct {
	mu   sync.RWMutex
	keys map[sessionstore.Key]struct{}
}

func newEndedSet(keys []sessionstore.Key) *endedSet {
	if len(keys) == 0 {
		return nil
	}
	e := &endedSet{keys: make(map[sessionstore.Key]struct{}, len(keys))}
	e.add(keys)
	return e
}

func (e *endedSet) has(key sessionstore.Key) bool {
	if e == nil {
		return false
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	_, ok := e.keys[key]
	return ok
}

func (e *endedSet) add(keys []sessionstore.Key) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, key := range keys {
		e.keys[key] = struct{}{}
	}
}

func (e *endedSet) all() []sessionstore.Key {
	if e == nil {
		return nil
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.Collect(maps.Keys(e.keys))
}
