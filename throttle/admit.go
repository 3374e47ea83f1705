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

	// known: the account exists, so that the key has room where made-up ones
	// have none.
	known bool
}

// admit takes places, with the waiting. After an error the attempt holds
// nothing and has ended.
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
		admitted, again, err := a.throttle.ledger.take(ctx, &a.places, own, common)
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
		case <-again[0]:
		case <-again[1]:
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
