package throttle

import "context"

// ledger is where attempts have their places, and names what they mean: in the
// memory of this process, or in one place for several of them.
type ledger interface {
	// take gives back what p holds, so that whoever waits holds nothing, and
	// takes a place in all budgets of the device or, if it has none or no room
	// there, in all the common ones. If err is nil and admitted false, the
	// attempt may try again when one of the channels is closed (nil: never).
	take(ctx context.Context, p *places, own, common []claim) (admitted bool, again [2]<-chan struct{}, err error)

	// settle ends the places of p, as failures or as nothing, and forgets the
	// failures of the cleared keys.
	settle(p *places, failed bool, cleared []claim)

	// recall returns what the name of k has meant at its last success.
	recall(ctx context.Context, k key, now int64) (a alias, ok bool, err error)

	// learn notes a success. was is what recall has said before it.
	learn(k, account key, was alias, now int64)
}

// places are what one attempt holds.
type places struct {
	here []hold // in the memory of this process

	// Only in a ledger that is shared:
	id    key     // of the attempt, random
	there []claim // counted for all processes
	tries int
}

// verdict is the standing of an attempt in a group of budgets, all of which
// need room: passed, or the longest block, or full.
type verdict struct {
	passed  bool
	blocked int64
	scope   Scope
	full    bool
	entry   *entry // that is full, if it is here
}

// refusal is the error of an attempt that need not wait, nil for one that may.
func refusal(device, all verdict) error {
	if device.full || all.full {
		return nil
	}
	v := all
	if device.blocked > 0 && device.blocked < all.blocked {
		v = device
	}
	return &BlockedError{RetryAfter: roundUp(v.blocked), Scope: v.scope}
}
