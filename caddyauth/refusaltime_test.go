package caddyauth

import (
	"sync"
	"testing"
	"time"
)

func TestRefusalTime(t *testing.T) {
	const ms = time.Millisecond
	for _, row := range []struct {
		name                        string
		ready, asked, slowest, want time.Duration
	}{
		{"at once", 0, 0, 0, 300 * ms},
		{"in the first step", 299 * ms, 290 * ms, 0, 300 * ms},
		{"at its end", 300 * ms, 300 * ms, 0, 300 * ms},
		{"behind it", 301 * ms, 301 * ms, 0, 600 * ms},
		{"a name that is not there, where binds take long", 5 * ms, 4 * ms, 350 * ms, 600 * ms},
		{"one that is there", 351 * ms, 350 * ms, 350 * ms, 600 * ms},
		{"with time that the directory had no part in", 296 * ms, 2 * ms, 10 * ms, 600 * ms},
		{"slower than all before", 900 * ms, 900 * ms, 350 * ms, 900 * ms},
	} {
		if got := refusalTime(row.ready, row.asked, row.slowest); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

func TestSlowestRefusal(t *testing.T) {
	const ms = time.Millisecond
	for _, row := range []struct {
		name       string
		old, asked time.Duration
		bound      bool
		want       time.Duration
	}{
		{"the first one", 0, 400 * ms, true, 400 * ms},
		{"a slower one", 400 * ms, 500 * ms, true, 500 * ms},
		{"a faster one", 400 * ms, 10 * ms, true, 375 * ms},
		{"one that is hardly faster", 400 * ms, 399 * ms, true, 399 * ms},
		{"one without a bind", 400 * ms, 10 * ms, false, 400 * ms},
		{"a slow one without a bind", 400 * ms, 500 * ms, false, 500 * ms},
		{"a directory that stalls", 400 * ms, time.Minute, true, 2 * time.Second},
	} {
		if got := slower(row.old, row.asked, row.bound); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
	var s slowest
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() { s.note(time.Duration(i)*ms, false) })
	}
	group.Wait()
	if got := time.Duration(s.Load()); got != 49*ms {
		t.Errorf("of many at once %v, want 49ms", got)
	}
}
