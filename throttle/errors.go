package throttle

import (
	"errors"
	"fmt"
	"time"
)

// Scope names the kind of a budget, for logs: clients must not learn it.
type Scope string

// The scopes.
const (
	ScopeAccount Scope = "account"
	ScopeDevice  Scope = "device"
	ScopeSource  Scope = "source"
)

// Errors of Begin and Identify, beside BlockedError and the context's.
var (
	// ErrBusy is an attempt that waited in vain for others of the same
	// budgets: whether there is room is known when these are over.
	ErrBusy = errors.New("too many sign-ins of the same account or source at once")

	// errEnded is an attempt that has its outcome already.
	errEnded = errors.New("sign-in attempt has ended")

	// ErrClosed is a Throttle after Close.
	ErrClosed = errors.New("throttle is closed")
)

// BlockedError is an attempt that is refused because a budget is used up.
type BlockedError struct {
	// RetryAfter is when there is room again, in whole seconds, at least one.
	RetryAfter time.Duration

	// Scope is the budget that is waited for: of the common ones that which
	// takes longest, or the device's, if there is room in it before.
	Scope Scope
}

// Error gives scope and time.
func (e *BlockedError) Error() string {
	return fmt.Sprintf("too many failures of this %s, to be tried again in %v", e.Scope, e.RetryAfter)
}
