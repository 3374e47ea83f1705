package sessionstore

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
	"unique"
)

// decoder reads fields until one is wrong; then everything is empty, and
// finish returns the error.
type decoder struct {
	format byte
	rest   string
	bad    string
}

// newDecoder checks what surrounds the fields of a record that is not packed. It
// copies them once; every string of the result is a part of that copy.
func newDecoder(b []byte, oldest, newest byte) (*decoder, error) {
	fields, err := checkRecord(b, oldest, newest, nil)
	if err != nil {
		return nil, err
	}
	return &decoder{format: b[0], rest: string(fields)}, nil
}

// newPackedDecoder does that for the packed record of subject.
func newPackedDecoder(b []byte, format byte, subject []byte) (*decoder, error) {
	fields, err := checkRecord(b, format, format, subject)
	if err != nil {
		return nil, err
	}
	var room [usualRecord]byte
	unpacked, ok := unpack(room[:0], fields, MaxRecord)
	if !ok {
		return nil, fmt.Errorf("%w: it cannot be unpacked", ErrInvalidRecord)
	}
	return &decoder{format: b[0], rest: string(unpacked)}, nil
}

func checkRecord(b []byte, oldest, newest byte, subject []byte) (fields []byte, err error) {
	if len(b) > 0 {
		if err := checkFormat(b[0], oldest, newest); err != nil {
			return nil, err
		}
	}
	if len(b) < 1+checksum || len(b) > MaxRecord {
		return nil, fmt.Errorf("%w: it is %d bytes long", ErrInvalidRecord, len(b))
	}
	end := len(b) - checksum
	if recordChecksum(b[:end], subject) != binary.BigEndian.Uint32(b[end:]) {
		if len(subject) > 0 {
			return nil, fmt.Errorf("%w: its checksum is wrong, or it is that of another key", ErrInvalidRecord)
		}
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrInvalidRecord)
	}
	return b[1:end], nil
}

func (d *decoder) fail(why string) {
	if d.bad == "" {
		d.bad = why
	}
	d.rest = ""
}

func (d *decoder) take(n int) string {
	if n > len(d.rest) {
		d.fail("it is cut short")
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) bytes(n int) []byte { return []byte(d.take(n)) }

func (d *decoder) uvarint() uint64 {
	var n uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64; i++ {
		c := d.rest[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break
		}
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.rest = d.rest[i+1:]
			return n
		}
	}
	d.fail("a number in it is cut short or too large")
	return 0
}

// atMost reads a number that sizes something: it is bounded before it is used.
func (d *decoder) atMost(limit uint64) int { return d.bounded(d.uvarint(), limit) }

func (d *decoder) bounded(n, limit uint64) int {
	if n > limit {
		d.fail("a size in it is too large")
		return 0
	}
	return int(n)
}

func (d *decoder) string() string { return d.take(d.atMost(maxField)) }

// short reads what encoder.short has written.
func (d *decoder) short() string {
	var room [64]byte
	return string(d.appendShort(room[:0]))
}

func (d *decoder) appendShort(b []byte) []byte {
	head := d.uvarint()
	n := head >> shortKinds
	switch head & (1<<shortKinds - 1) {
	case shortNumber:
		return strconv.AppendUint(b, n, 10)
	case shortUUID:
		d.bounded(n, 0)
		return appendUUID(b, d.take(uuidSize))
	case shortBits:
		return publicID.AppendEncode(b, d.bytes(d.bounded(n, maxField/8*5)))
	default:
		return append(b, d.take(d.bounded(n, maxField))...)
	}
}

func (d *decoder) time() time.Time {
	seconds, nanoseconds := d.uvarint(), d.uvarint()
	if seconds > maxSeconds || nanoseconds >= uint64(time.Second) {
		d.fail("a time in it is out of range")
		return time.Time{}
	}
	return time.Unix(int64(seconds), int64(nanoseconds)).UTC()
}

func (d *decoder) duration() time.Duration {
	n := d.uvarint()
	switch {
	case n&1 == 1:
		return time.Duration(n >> 1)
	case n>>1 > maxSeconds+1:
		d.fail("a duration in it is too large")
		return 0
	}
	return time.Duration(n>>1) * time.Second
}

// groups reads what encoder.groups has written. Users share their groups: each
// ID is in memory once, however many sessions name it.
func (d *decoder) groups() []Group {
	n := d.groupCount(2) // shared, rest
	var groups []Group
	if n > 0 {
		groups = make([]Group, n)
	}
	var room [128]byte
	last, total := "", 0
	for i := range groups {
		id := append(room[:0], last[:d.atMost(uint64(len(last)))]...)
		id = d.appendShort(id)
		if total += len(id); total > maxGroupIDs || len(id) > maxField {
			d.fail("its group ids are too long")
		}
		if d.bad != "" {
			return nil
		}
		last = unique.Make(string(id)).Value()
		groups[i].ID = last
	}
	next := 0
	for range d.atMost(uint64(n)) {
		next += d.atMost(maxGroups)
		name, dn := d.string(), d.string()
		if next >= n {
			d.fail("it names a group that it does not have")
		}
		if d.bad != "" {
			return nil
		}
		groups[next].Name, groups[next].DN = name, dn
		next++
	}
	return groups
}

// groupCount reads how many groups there are. Each takes at least size bytes: a
// count that the rest cannot hold must not size an allocation.
func (d *decoder) groupCount(size int) int {
	n := d.atMost(maxGroups)
	if n > len(d.rest)/size {
		d.fail("it is cut short")
		return 0
	}
	return n
}

func (d *decoder) finish() error {
	if d.bad == "" && d.rest != "" {
		d.bad = "something follows its last field"
	}
	if d.bad != "" {
		return fmt.Errorf("%w: %s", ErrInvalidRecord, d.bad)
	}
	return nil
}
