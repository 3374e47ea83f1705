package sessionstore

import "sync"

// recentSize bounds a list of recent keys, whatever clients do: about 400 KB.
const recentSize = 4096

// recent remembers the last recentSize keys that something happened to.
type recent struct {
	mu    sync.Mutex
	keys  []Key
	times []int64
	index map[Key]uint64 // the key's newest event
	next  uint64         // number of events so far
}

// add records that it happened to key now.
func (r *recent) add(key Key, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.index == nil {
		r.index = make(map[Key]uint64)
	}
	if slot := r.next % recentSize; r.next < recentSize {
		r.keys = append(r.keys, key)
		r.times = append(r.times, now)
	} else {
		if r.index[r.keys[slot]] == r.next-recentSize {
			delete(r.index, r.keys[slot])
		}
		r.keys[slot], r.times[slot] = key, now
	}
	r.index[key] = r.next
	r.next++
}

// when returns the time of the newest event of key that is remembered.
func (r *recent) when(key Key) (at int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.index[key]
	if !ok {
		return 0, false
	}
	return r.times[n%recentSize], true
}

// count is a position for mayHave: the number of events so far.
func (r *recent) count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// mayHave tells whether it happened to key since position. When so much has
// happened since that the list cannot tell, it answers true: the caller takes
// that for an ended session, which fails closed.
func (r *recent) mayHave(key Key, position uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next-position > recentSize {
		return true
	}
	n, ok := r.index[key]
	return ok && n >= position
}
