package throttle

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

const (
	sketchRows  = 4
	sketchWidth = 1 << 17 // cells a row; a power of two

	// probes is how many random keys are asked for to learn whether the
	// sketch still tells keys apart; more than tooMany that read as blocked
	// mean that it does not.
	probes  = 256
	tooMany = 16

	probeEvery = 1000 // milliseconds
)

// sketch is a count-min sketch with conservative update: it counts any number
// of keys in a bounded memory, each at least as often as it was added. Two
// generations rotate, so that a failure counts for one to two windows. A
// generation has 1 MiB and is made when it is needed.
//
// Rows are chosen by bytes of the key, which is an HMAC already: nobody without
// the secret can aim at the cells of another key.
type sketch struct {
	used atomic.Bool // false: both generations are empty, no lock needed

	mu            sync.Mutex
	current, last *generation
	start         int64 // of the current generation
	length        int64 // of a generation

	// The last answer to whether it is too full, and for which question.
	probedAt    int64
	probedLimit int
	full        bool

	// overfull is set from the first time that it is, until it has emptied.
	overfull atomic.Bool
}

type generation [sketchRows][sketchWidth]uint16

// estimate is what a sketch counts for a key.
type estimate struct {
	last, current int   // by generation
	start, length int64 // of the current one
}

// end is when nothing of what is there now counts any more.
func (s estimate) end() int64 { return s.start + 2*s.length }

// freeAt is when fewer than limit are left.
func (s estimate) freeAt(limit int) int64 {
	if s.current >= limit {
		return s.end()
	}
	return s.start + s.length
}

// verdict returns the estimate for k; nothing, if the sketch is so full that
// random keys would read as blocked under this limit. That fails open: see the
// package's comment.
func (s *sketch) verdict(k key, now int64, limit int) estimate {
	if !s.used.Load() {
		return estimate{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotate(now)
	if !s.used.Load() || s.tooFull(now, limit) {
		return estimate{}
	}
	return s.count(k)
}

// settled returns when nothing that is counted for k now counts any more; 0 if
// nothing is.
func (s *sketch) settled(k key, now int64) int64 {
	if !s.used.Load() {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotate(now)
	if e := s.count(k); e.last+e.current > 0 {
		return e.end()
	}
	return 0
}

func (s *sketch) count(k key) estimate {
	return estimate{last: s.last.count(k), current: s.current.count(k), start: s.start, length: s.length}
}

// add counts a failure of k. window is how long it must count at the least.
func (s *sketch) add(k key, now, window int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotate(now)
	if !s.used.Load() {
		s.start, s.length = now, window
	}
	s.length = max(s.length, window)
	if s.current == nil {
		s.current = new(generation)
	}
	s.current.add(k)
	s.used.Store(true)
}

// rotate brings the generations up to now.
func (s *sketch) rotate(now int64) {
	if !s.used.Load() {
		return
	}
	// A clock that was set back: as with an entry, the future is now.
	s.start = min(s.start, now)
	if now < s.start+s.length {
		return
	}
	s.last, s.current = s.current, nil
	s.start += s.length
	s.probedAt = 0
	if s.last == nil || now >= s.start+s.length {
		s.last = nil
		s.used.Store(false)
		s.overfull.Store(false)
	}
}

// tooFull asks for random keys, once in a while for one limit.
func (s *sketch) tooFull(now int64, limit int) bool {
	if limit == s.probedLimit && now >= s.probedAt && now-s.probedAt < probeEvery {
		return s.full
	}
	blocked := 0
	for range probes {
		var k key
		binary.LittleEndian.PutUint64(k[:8], rand.Uint64())
		binary.LittleEndian.PutUint64(k[8:], rand.Uint64())
		if s.last.count(k)+s.current.count(k) >= limit {
			blocked++
		}
	}
	s.probedAt, s.probedLimit, s.full = now, limit, blocked > tooMany
	if s.full {
		s.overfull.Store(true)
	}
	return s.full
}

func cell(k key, row int) uint32 {
	return binary.LittleEndian.Uint32(k[4*row:]) % sketchWidth
}

func (g *generation) count(k key) int {
	if g == nil {
		return 0
	}
	least := uint16(math.MaxUint16)
	for row := range sketchRows {
		least = min(least, g[row][cell(k, row)])
	}
	return int(least)
}

// add raises the smallest cells only: the others are too high already.
func (g *generation) add(k key) {
	least := g.count(k)
	if least == math.MaxUint16 {
		return
	}
	for row := range sketchRows {
		if c := &g[row][cell(k, row)]; int(*c) == least {
			*c++
		}
	}
}
