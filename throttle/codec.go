package throttle

import (
	"encoding/binary"
	"errors"
)

// The binary form of values, which begins with a format byte:
//
//	format 1, a counter: kind | window | failures | newest time | steps back
//	format 2, an alias:  account (16 bytes) | time learned
//
// Numbers are uvarints, times milliseconds since 1970.
const (
	counterFormat = 1
	aliasFormat   = 2

	// latest bounds times, so that no sum overflows: year 10889.
	latest = 1 << 48
)

var errMalformed = errors.New("malformed value")

// savedCounter is what is kept of an entry.
type savedCounter struct {
	kind   kind
	window int64
	times  []int64 // ascending, 1 to MaxFailures
}

func appendCounter(dst []byte, c savedCounter) []byte {
	last := len(c.times) - 1
	dst = append(dst, counterFormat, byte(c.kind))
	dst = binary.AppendUvarint(dst, uint64(c.window))
	dst = binary.AppendUvarint(dst, uint64(len(c.times)))
	dst = binary.AppendUvarint(dst, uint64(c.times[last]))
	for i := last; i > 0; i-- {
		dst = binary.AppendUvarint(dst, uint64(c.times[i]-c.times[i-1]))
	}
	return dst
}

func appendAlias(dst []byte, a alias) []byte {
	dst = append(dst, aliasFormat)
	dst = append(dst, a.account[:]...)
	return binary.AppendUvarint(dst, uint64(a.learned))
}

// decodeValue reads what either of them wrote: one of the results is not nil,
// or there is an error.
func decodeValue(b []byte) (*savedCounter, *alias, error) {
	if len(b) == 0 {
		return nil, nil, errMalformed
	}
	d := decoder{b: b[1:]}
	switch b[0] {
	case counterFormat:
		return decodeCounter(d)
	case aliasFormat:
		if len(d.b) < len(key{}) {
			return nil, nil, errMalformed
		}
		a := &alias{account: key(d.b)}
		d.b = d.b[len(key{}):]
		a.learned = d.number(latest)
		if d.failed || len(d.b) > 0 {
			return nil, nil, errMalformed
		}
		return nil, a, nil
	}
	return nil, nil, errMalformed
}

func decodeCounter(d decoder) (*savedCounter, *alias, error) {
	c := &savedCounter{
		kind:   kind(d.number(int64(kinds - 1))),
		window: d.number(MaxWindow.Milliseconds()),
	}
	n := int(d.number(MaxFailures))
	if d.failed || n == 0 || n-1 > len(d.b) {
		return nil, nil, errMalformed
	}
	c.times = make([]int64, n)
	at := d.number(latest)
	for i := n - 1; ; i-- {
		c.times[i] = at
		if i == 0 {
			break
		}
		at -= d.number(at)
	}
	if d.failed || len(d.b) > 0 {
		return nil, nil, errMalformed
	}
	return c, nil, nil
}

type decoder struct {
	b      []byte
	failed bool
}

// number reads one that is at most most.
func (d *decoder) number(most int64) int64 {
	v, n := binary.Uvarint(d.b)
	if d.failed || n <= 0 || v > uint64(most) {
		d.failed = true
		return 0
	}
	d.b = d.b[n:]
	return int64(v)
}
