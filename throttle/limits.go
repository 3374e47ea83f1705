package throttle

import (
	"fmt"
	"time"
)

// Bounds of a Limit.
const (
	MaxFailures = 1000
	MinWindow   = time.Second
	MaxWindow   = 30 * 24 * time.Hour
)

// Limit is how many failures a window may hold: with the last of them the
// budget is used up until the oldest is older than Window.
type Limit struct {
	Failures int           // 1 to MaxFailures
	Window   time.Duration // MinWindow to MaxWindow
}

// Limits of one configuration. They are given with each attempt, since a
// Throttle outlives configurations; a change counts at once, also for failures
// that are counted already.
type Limits struct {
	Account Limit // per name, and per account where its ID is known
	Device  Limit // per browser that has signed in to the account before
	Source  Limit // per IPv4 address or IPv6 /64
}

// Check tells what is wrong with the limits. There is no value for "no limit":
// whoever wants none does not ask a Throttle.
func (l Limits) Check() error {
	for _, one := range []struct {
		scope Scope
		limit Limit
	}{{ScopeAccount, l.Account}, {ScopeDevice, l.Device}, {ScopeSource, l.Source}} {
		if one.limit.Failures < 1 || one.limit.Failures > MaxFailures {
			return fmt.Errorf("checking limit per %s: %d failures are not between 1 and %d", one.scope, one.limit.Failures, MaxFailures)
		}
		if one.limit.Window < MinWindow || one.limit.Window > MaxWindow {
			return fmt.Errorf("checking limit per %s: a window of %v is not between %v and %v", one.scope, one.limit.Window, MinWindow, MaxWindow)
		}
	}
	return nil
}
