package badgerstore

import (
	"strings"
	"testing"
	"time"
)

func TestADamagedMarkBeginsAnew(t *testing.T) {
	s, log := logged(t)
	now := time.Now().Round(0).UTC()
	later := now.Add(100 * 365 * 24 * time.Hour)
	key := [32]byte{}
	for _, b := range [][]byte{{}, []byte("nonsense"), encodeSeen(later, key), encodeTime(later, markKey())[:11]} {
		put(t, s, markKey(), b)
		log.Reset()
		if at, err := s.Mark(t.Context(), time.Time{}); err != nil || !at.IsZero() || !strings.Contains(log.String(), "begins anew") {
			t.Errorf("%x: %s, error %v, want none; log: %s", b, at, err, log)
		}
		if at, err := s.Mark(t.Context(), now); err != nil || !at.Equal(now) {
			t.Errorf("%x: %s, error %v, want %s", b, at, err, now)
		}
		log.Reset()
		if at, err := s.Mark(t.Context(), time.Time{}); err != nil || !at.Equal(now) || log.Len() > 0 {
			t.Errorf("%x: %s, error %v, want %s; log: %s", b, at, err, now, log)
		}
	}
}

// What does not rise costs no sync, unless memory may be wrong about the disk.
func TestAMarkThatDoesNotRiseCostsNoWrite(t *testing.T) {
	s, _ := logged(t)
	now := time.Now()
	mark := func(at time.Time) {
		t.Helper()
		if got, err := s.Mark(t.Context(), at); err != nil || !got.Equal(now) {
			t.Errorf("Mark: %s, error %v, want %s", got, err, now)
		}
	}
	mark(now)
	before := version(s)
	for _, at := range []time.Time{{}, now, now.Add(-time.Hour)} {
		if mark(at); version(s) != before {
			t.Error("it was written")
		}
	}
	s.committer.doubt = true
	if mark(now); version(s) == before {
		t.Error("after a failed write it was not written again")
	}
}
