package throttle

import (
	"context"
	"fmt"
	"time"
)

const (
	saveEvery    = time.Second
	saveBatch    = 1000
	saveTimeout  = 5 * time.Second
	closeTimeout = 10 * time.Second
)

// saver is a shard whose changes are saved.
type saver interface {
	// take appends up to n changed counters and takes them for saved.
	take(counters []Counter, n int) []Counter

	// untake says that one was not saved.
	untake(k key)
}

// markDirty notes that e is to be saved. Clearing adds keys that have left the
// table: where too many of these wait for a backend that fails, further
// changes stay in memory only. A restart then may count too much, until the
// saved failures expire, or too little.
func (sh *shard) markDirty(k key) {
	if _, ok := sh.dirty[k]; ok || len(sh.dirty) < 4*sh.most {
		sh.dirty[k] = struct{}{}
	}
}

func (sh *shard) take(counters []Counter, n int) []Counter {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for k := range sh.dirty {
		if n == 0 {
			break
		}
		n--
		delete(sh.dirty, k)
		c := Counter{Key: k}
		if e := sh.entries[k]; e != nil && len(e.times) > 0 {
			c.Value = appendCounter(nil, savedCounter{kind: e.kind, window: e.window, times: e.times})
			c.Expires = time.UnixMilli(e.expires(sh.table.retention(e.kind)))
		}
		counters = append(counters, c)
	}
	return counters
}

func (sh *shard) untake(k key) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.markDirty(k)
}

func (sh *aliasShard) take(counters []Counter, n int) []Counter {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for k := range sh.dirty {
		if n == 0 {
			break
		}
		n--
		delete(sh.dirty, k)
		c := Counter{Key: k}
		if a, ok := sh.entries[k]; ok {
			c.Value = appendAlias(nil, a)
			c.Expires = time.UnixMilli(a.expires())
		}
		counters = append(counters, c)
	}
	return counters
}

func (sh *aliasShard) untake(k key) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.markDirty(k)
}

// flushLoop saves and sweeps once a second until ctx ends.
func (t *Throttle) flushLoop(ctx context.Context) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	last := t.millis()
	overfull := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := t.millis()
		if now < last {
			t.logger.Warn("the clock was set back: failures from its future count as of now")
			t.accounts.clampAll(now)
			t.sources.clampAll(now)
		}
		last = now
		t.accounts.sweepAll(now)
		t.sources.sweepAll(now)
		overfull = t.reportOverfull(overfull)
		t.flushOnce(ctx)
	}
}

// reportOverfull logs once in a flood that sketches are not used any more.
func (t *Throttle) reportOverfull(before bool) (now bool) {
	for _, table := range []*table{t.accounts, t.sources} {
		now = now || table.unknown.overfull.Load() || table.known.overfull.Load()
	}
	if now && !before {
		t.logger.Error("more failed sign-ins than the throttle can tell apart: further names and sources are not blocked, the directory's own lock-out is")
	}
	return now
}

// flushOnce is flush, with one log line for each outage.
func (t *Throttle) flushOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	err := t.flush(ctx)
	switch {
	case err != nil && t.ctx.Err() != nil:
		// Close saves what is left, and returns the error.
	case err != nil && !t.outage:
		t.outage = true
		t.logger.Error("failed sign-ins are counted in memory only: a restart forgets them", "error", err)
	case err == nil && t.outage:
		t.outage = false
		t.logger.Info("failed sign-ins are saved again")
	}
}

// flush saves all that is not saved yet, in batches. What could not be saved
// is offered again next time.
func (t *Throttle) flush(ctx context.Context) error {
	if t.backend == nil {
		return nil
	}
	var batch []Counter
	var from []saver // of each counter in batch
	save := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := t.backend.Save(ctx, batch)
		if err != nil {
			for i, c := range batch {
				from[i].untake(c.Key)
			}
			err = fmt.Errorf("saving %d counters: %w", len(batch), err)
		}
		batch, from = batch[:0], from[:0]
		return err
	}
	for _, s := range t.savers() {
		for {
			batch = s.take(batch, saveBatch-len(batch))
			for len(from) < len(batch) {
				from = append(from, s)
			}
			if len(batch) < saveBatch {
				break // s has no more
			}
			if err := save(); err != nil {
				return err
			}
		}
	}
	return save()
}

func (t *Throttle) savers() []saver {
	var all []saver
	for _, table := range []*table{t.accounts, t.sources} {
		for i := range table.shards {
			all = append(all, &table.shards[i])
		}
	}
	for i := range t.aliases.shards {
		all = append(all, &t.aliases.shards[i])
	}
	return all
}
