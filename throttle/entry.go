package throttle

import "sort"

// entry is the exact counter of one key. Its shard's lock guards all of it.
type entry struct {
	key  key
	kind kind

	// place is the entry's index in shard.counted; uncounted: it has nothing
	// but reservations, and goes with the last of them.
	place int

	// reserved is how many attempts of this key are under way. An entry with
	// one never leaves the map: attempts hold pointers to it.
	reserved int

	// times of the failures, ascending, in milliseconds since 1970. As an
	// attempt over the limit is not made, there are about as many in a window
	// as the limit says.
	times []int64

	// window is the longest that a failure was counted with, in milliseconds.
	window int64

	// keep is until when an entry without failures stays: it says that what
	// the sketch still counts for the key is settled.
	keep int64

	// wake is closed when a reservation ends or the count changes. nil: nobody
	// waits.
	wake chan struct{}
}

const uncounted = -1

// changed wakes whoever waits. All of them look again: how many of them there
// is room for, only they know, as each needs other budgets too.
func (e *entry) changed() {
	if e.wake != nil {
		close(e.wake)
		e.wake = nil
	}
}

// wait returns the channel that is closed at the next change.
func (e *entry) wait() <-chan struct{} {
	if e.wake == nil {
		e.wake = make(chan struct{})
	}
	return e.wake
}

// clamp takes times in the future for now, for good: else a clock that was set
// back would block until it is where it was, and a window more.
func (e *entry) clamp(now int64) {
	for i := len(e.times) - 1; i >= 0 && e.times[i] > now; i-- {
		e.times[i] = now
	}
	e.keep = min(e.keep, now+2*MaxWindow.Milliseconds())
}

// failures counts those that are not older than window.
func (e *entry) failures(now, window int64) int {
	first := sort.Search(len(e.times), func(i int) bool { return e.times[i]+window > now })
	return len(e.times) - first
}

// add counts a failure, and lets go of those that are older than retention.
func (e *entry) add(now, window, retention int64) {
	e.window = max(e.window, window)
	e.times = append(e.times, now)
	drop := len(e.times) - min(e.failures(now, max(retention, e.window)), MaxFailures)
	if drop > 0 {
		e.times = append(e.times[:0], e.times[drop:]...)
	}
}

// expires is when the last failure is older than retention.
func (e *entry) expires(retention int64) int64 {
	at := e.keep
	if n := len(e.times); n > 0 {
		at = max(at, e.times[n-1]+max(retention, e.window))
	}
	return at
}
