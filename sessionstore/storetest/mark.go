package storetest

import (
	"math"
	"sync"
	"testing"
	"time"
)

func (b *bench) wantMark(at, want time.Time) {
	b.t.Helper()
	if got, err := b.Mark(b.t.Context(), at); err != nil || !got.Equal(want) {
		b.t.Errorf("Mark of %s: %s, error %v, want %s", at, got, err, want)
	}
}

func marked(t *testing.T, b *bench) {
	var none time.Time
	b.wantMark(none, none)
	b.reopen()
	b.wantMark(none, none)

	now := time.Now().Round(0).UTC()
	epoch := time.Unix(0, 0).UTC()
	b.wantMark(epoch, epoch)
	b.wantMark(now, now)
	for range 2 {
		b.wantMark(none, now)
		b.wantMark(now, now)
		b.wantMark(now.Add(-1), now)
		b.wantMark(epoch, now)
		b.reopen()
	}
	b.wantMark(now.Add(1).In(time.FixedZone("CET", 3600)), now.Add(1))
	future := time.Date(2200, 1, 2, 3, 4, 5, 6, time.UTC)
	b.wantMark(future, future)
	b.wantMark(now, future)

	for _, bad := range []time.Time{
		epoch.Add(-1), epoch.AddDate(-1, 0, 0), time.Unix(math.MaxInt64/1_000_000_000+1, 0),
		time.Date(2263, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := b.Mark(t.Context(), bad); err == nil || !got.IsZero() {
			t.Errorf("Mark of %s: %s, want an error", bad, got)
		}
	}
	b.reopen()
	b.wantMark(none, future)
	b.wantCounts(0, 0)
	b.wantListed(everybody)
}

func markedAtOnce(t *testing.T, b *bench) {
	start := time.Now().Round(0).UTC()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				at := start.Add(time.Duration(i*8 + w))
				if got, err := b.Mark(t.Context(), at); err != nil || got.Before(at) {
					t.Errorf("Mark of %s: %s, error %v", at, got, err)
				}
			}
		})
	}
	wg.Wait()
	b.wantMark(time.Time{}, start.Add(159))
}
