package throttle

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func randomKey(r *rand.Rand) (k key) {
	binary.LittleEndian.PutUint64(k[:8], r.Uint64())
	binary.LittleEndian.PutUint64(k[8:], r.Uint64())
	return k
}

func TestSketchCountsAtLeast(t *testing.T) {
	const window = 1000
	r := rand.New(rand.NewPCG(1, 2))
	var s sketch
	counts := map[key]int{}
	for i := range 50_000 {
		k := randomKey(r)
		n := 1 + i%4
		counts[k] = n
		for range n {
			s.add(k, int64(i%window), window)
		}
	}
	over := 0
	for k, n := range counts {
		e := s.count(k)
		if got := e.last + e.current; got < n {
			t.Fatalf("counted %d times, it was %d", got, n)
		} else if got > n {
			over++
		}
	}
	if over > len(counts)/10 {
		t.Errorf("%d of %d keys are counted too often", over, len(counts))
	}
}

func TestSketchGenerations(t *testing.T) {
	const window = 1000
	k := key{1, 2, 3}
	counted := func(s *sketch, now int64) int {
		e := s.verdict(k, now, 10)
		return e.last + e.current
	}
	tests := []struct {
		name string
		adds []int64
		now  int64
		want int
	}{
		{"counts at once", []int64{0}, 0, 1},
		{"for a window at the least", []int64{999}, 1998, 1},
		{"for two at the most", []int64{0}, 2000, 0},
		{"both generations", []int64{0, 1500}, 1999, 2},
		{"the later one goes on", []int64{0, 1500}, 2000, 1},
		{"after a pause it begins anew", []int64{0, 10_000}, 10_000, 1},
		{"a clock that was set back", []int64{5000}, 100, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s sketch
			for _, at := range tt.adds {
				s.add(k, at, window)
			}
			if got := counted(&s, tt.now); got != tt.want {
				t.Errorf("counted %d, want %d", got, tt.want)
			}
		})
	}
	t.Run("a longer window keeps what is there", func(t *testing.T) {
		var s sketch
		s.add(k, 0, window)
		s.add(key{9}, 500, 3*window)
		if counted(&s, 2999) != 1 {
			t.Error("it was dropped")
		}
	})
	t.Run("only the smallest cells are raised", func(t *testing.T) {
		var s sketch
		other := k
		other[4]++ // shares three rows of four with k
		for range 5 {
			s.add(other, 0, window)
		}
		s.add(k, 0, window)
		if got := counted(&s, 0); got != 1 {
			t.Errorf("counted %d, want 1", got)
		}
		if e := s.count(other); e.current != 5 {
			t.Errorf("the other is counted %d times, want 5", e.current)
		}
		for row := 2; row < sketchRows; row++ {
			if got := s.current[row][cell(k, row)]; got != 5 {
				t.Errorf("a shared cell has %d, want 5", got)
			}
		}
	})
	t.Run("a cell does not run over", func(t *testing.T) {
		var s sketch
		for range 70_000 {
			s.add(k, 0, window)
		}
		if got := counted(&s, 0); got != 65_535 {
			t.Errorf("counted %d", got)
		}
	})
}
