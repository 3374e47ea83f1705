package throttle

import (
	"context"
	"time"
)

// Backend keeps counters over restarts. Implementations are safe for
// concurrent use, and may drop what has expired.
type Backend interface {
	// Save stores counters, whatever was there before; one with a value of no
	// length is deleted. It keeps neither the slice nor the values.
	Save(ctx context.Context, counters []Counter) error

	// Load gives all counters that have not expired to yield, and stops at
	// its first error, which it returns.
	Load(ctx context.Context, yield func(Counter) error) error
}

// Counter is what a Backend keeps. The value has at most 4 KiB.
type Counter struct {
	Key     [16]byte
	Value   []byte
	Expires time.Time
}
