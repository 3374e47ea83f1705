package throttle

import (
	"context"
	"fmt"
)

// load fills the tables from the backend. A value that cannot be read is
// passed over: that one failure is forgotten is better than that nobody can
// sign in.
func (t *Throttle) load(ctx context.Context) error {
	if t.backend == nil {
		return nil
	}
	now := t.millis()
	malformed, dropped := 0, 0
	err := t.backend.Load(ctx, func(c Counter) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		counter, alias, err := decodeValue(c.Value)
		switch {
		case err != nil:
			malformed++
		case alias != nil:
			t.aliases.restore(c.Key, *alias, now)
		case !t.tableOf(counter.kind).restore(c.Key, *counter, now):
			dropped++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("loading counters: %w", err)
	}
	if malformed > 0 {
		t.logger.Warn("saved sign-in counters could not be read and are left out", "count", malformed)
	}
	if dropped > 0 {
		t.logger.Warn("there are more saved sign-in counters than there is room for", "count", dropped)
	}
	return nil
}

// restore takes over a counter that was saved. It is false if there is no room.
func (t *table) restore(k key, c savedCounter, now int64) bool {
	sh := t.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := &entry{key: k, kind: c.kind, place: uncounted, times: c.times, window: c.window}
	e.clamp(now)
	if now >= e.expires(0) || sh.entries[k] != nil {
		return true
	}
	if !sh.makeRoom(true, now) {
		return false
	}
	sh.entries[k] = e
	sh.enlist(e)
	return true
}
