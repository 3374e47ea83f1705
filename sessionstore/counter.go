package sessionstore

import (
	"context"
	"fmt"
	"time"
)

// Counter is what somebody counts under a key, kept across restarts: a
// throttle's failures. What the value says is the owner's business.
type Counter struct {
	Key [16]byte

	// Value: at most MaxCounterValue bytes. Empty: no counter.
	Value []byte

	// Expires is when the counter is worth nothing any more.
	Expires time.Time
}

// MaxCounterValue bounds the value of a Counter, in bytes.
const MaxCounterValue = 4 << 10

const counterFormat = 1

// CheckCounter refuses a counter that cannot be stored: with a value that is
// too long, or with one and an expiry that is not set or out of range.
func CheckCounter(c *Counter) error {
	switch {
	case len(c.Value) > MaxCounterValue:
		return fmt.Errorf("counter of %d bytes, at most %d are possible", len(c.Value), MaxCounterValue)
	case len(c.Value) > 0 && (c.Expires.Unix() <= 0 || c.Expires.Unix() > maxSeconds):
		return fmt.Errorf("counter expires at %s, which is out of range", c.Expires.Format(time.RFC3339))
	}
	return nil
}

// AppendCounter appends the binary form of c to dst, as codec.go describes it.
func AppendCounter(dst []byte, c *Counter) ([]byte, error) {
	if err := CheckCounter(c); err != nil {
		return dst, fmt.Errorf("encoding counter: %w", err)
	}
	e := encoder{b: dst, start: len(dst)}
	e.b = append(e.b, counterFormat)
	e.b = append(e.b, c.Key[:]...)
	e.time("expiry", c.Expires)
	e.string("value", string(c.Value))
	out, err := e.finish()
	if err != nil {
		return dst, fmt.Errorf("encoding counter: %w", err)
	}
	return out, nil
}

// DecodeCounter reads the record b that was found for key. Whatever is wrong
// with it, the error is an ErrInvalidRecord; of a newer format, an ErrNewerRecord.
func DecodeCounter(b []byte, key [16]byte) (Counter, error) {
	d, err := newDecoder(b, counterFormat, counterFormat)
	if err != nil {
		return Counter{}, err
	}
	var c Counter
	copy(c.Key[:], d.bytes(len(c.Key)))
	c.Expires = d.time()
	c.Value = []byte(d.string())
	if err := d.finish(); err != nil {
		return Counter{}, err
	}
	if c.Key != key {
		return Counter{}, fmt.Errorf("%w: it is the counter of another key", ErrInvalidRecord)
	}
	if len(c.Value) == 0 || CheckCounter(&c) != nil {
		return Counter{}, fmt.Errorf("%w: its counter is none", ErrInvalidRecord)
	}
	return c, nil
}

// SaveCounters stores counters, as Store.SaveCounters does.
func (s *Sessions) SaveCounters(ctx context.Context, counters []Counter) error {
	if s.closed.Load() {
		return fmt.Errorf("storing counters: %w", ErrClosed)
	}
	return s.store.SaveCounters(ctx, counters)
}

// Counters calls yield for every counter that has not expired, as
// Store.Counters does.
func (s *Sessions) Counters(ctx context.Context, yield func(Counter) error) error {
	if s.closed.Load() {
		return fmt.Errorf("reading counters: %w", ErrClosed)
	}
	return s.store.Counters(ctx, yield)
}
