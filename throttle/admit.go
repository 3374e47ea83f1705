package throttle

import (
	"context"
	"fmt"
	"time"
)

// claim is one budget that an attempt draws on.
type claim struct {
	kind  kind
	key   key
	limit Limit

	// known: the account exists, so that the key always has an exact entry.
	known bool
}

// hold is a claim with its place.
type hold struct {
	claim
	entry *entry
}

func (t *Throttle) shardOf(c claim) *shard { return t.tableOf(c.kind).shard(c.key) }

// verdict is the standing of an attempt in a group of budgets, all of which
// need room: passed, or the longest block, or the first that is full.
type verdict struct {
	passed  bool
	blocked int64
	scope   Scope
	full    *entry
}

// judge is called with all locks of claims. No claims are no way in.
func (t *Throttle) judge(claims []claim, now int64) verdict {
	v := verdict{passed: len(claims) > 0}
	for _, c := range claims {
		s := t.shardOf(c).standing(c, now)
		if s.blocked > v.blocked {
			v.blocked, v.scope = s.blocked, c.kind.scope()
		}
		if s.full != nil && v.full == nil {
			v.full = s.full
		}
		v.passed = v.passed && s == standing{}
	}
	if v.blocked > 0 {
		v.full = nil // waiting does not help
	}
	return v
}

// try takes a place in all budgets of the device or, if it has none or no room
// there, in all the common ones. What the attempt held before is given back in any case, so
// that whoever waits holds nothing. If err is nil and admitted false, the
// attempt may try again when one of the channels is closed (nil: never).
func (a *Attempt) try(own, common []claim) (admitted bool, first, second <-chan struct{}, err error) {
	t := a.throttle
	shards := make([]*shard, 0, len(own)+len(common)+len(a.held))
	for _, group := range [][]claim{own, common} {
		for _, c := range group {
			shards = append(shards, t.shardOf(c))
		}
	}
	for _, h := range a.held {
		shards = append(shards, t.shardOf(h.claim))
	}
	defer lockAll(shards)()

	for _, h := range a.held {
		t.shardOf(h.claim).release(h.entry)
	}
	a.held = a.held[:0]

	now := t.millis()
	device := t.judge(own, now)
	if device.passed {
		a.hold(own)
		return true, nil, nil, nil
	}
	all := t.judge(common, now)
	if all.passed {
		a.hold(common)
		return true, nil, nil, nil
	}
	if device.full == nil && all.full == nil {
		v := all
		if device.blocked > 0 && device.blocked < all.blocked {
			v = device
		}
		return false, nil, nil, &BlockedError{RetryAfter: roundUp(v.blocked), Scope: v.scope}
	}
	if device.full != nil {
		first = device.full.wait()
	}
	if all.full != nil {
		second = all.full.wait()
	}
	return false, first, second, nil
}

// hold reserves claims, under their locks.
func (a *Attempt) hold(claims []claim) {
	for _, c := range claims {
		a.held = append(a.held, hold{claim: c, entry: a.throttle.shardOf(c).reserve(c)})
	}
}

// admit is try, with the waiting. After an error the attempt holds nothing and
// has ended.
func (a *Attempt) admit(ctx context.Context) error {
	err := a.wait(ctx)
	a.refused, a.ended = err, err != nil
	return err
}

func (a *Attempt) wait(ctx context.Context) error {
	own, common := a.deviceClaims(), a.commonClaims()
	var expired <-chan time.Time
	last := false
	for {
		admitted, first, second, err := a.try(own, common)
		switch {
		case admitted:
			return nil
		case err != nil:
			return err
		case last:
			return ErrBusy
		}
		if expired == nil {
			timer := time.NewTimer(a.throttle.maxWait)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-first:
		case <-second:
		case <-expired:
			// One more look: a failure may have left its window, or a budget
			// that was not the one waited for may be used up.
			last = true
		case <-ctx.Done():
			return fmt.Errorf("waiting for sign-ins under way: %w", ctx.Err())
		case <-a.throttle.ctx.Done():
			return ErrClosed
		}
	}
}
