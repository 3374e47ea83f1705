package sessionstore

import (
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"
)

// Fields of records: strings are a uvarint length and the bytes, or the short
// form below; times are seconds and nanoseconds since 1970; durations seconds<<1,
// or nanoseconds<<1 + 1.
const (
	maxField    = 8 << 10
	maxGroups   = 10_000
	maxGroupIDs = 1 << 20                 // all IDs together: shared parts must not add up
	maxSeconds  = 1<<63/1_000_000_000 - 1 // what fits in nanoseconds
	checksum    = 4

	// usualRecord is room for the fields of nearly every record, so that they
	// are put together without an allocation.
	usualRecord = 1 << 10
)

// The short form of a string is a uvarint, whose two lowest bits say what it is,
// and what they say. It costs nothing where nothing is won.
const (
	shortPlain  = iota // the length; the bytes follow
	shortNumber        // the number, in decimal
	shortUUID          // none; the 16 bytes of a UUID follow
	shortBits          // a length; so many bytes follow that are base32, in lower case

	shortKinds     = 2 // bits
	maxShortDigits = 18
)

// castagnoli has hardware support on every machine that Caddy runs on.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// publicID is how newSessionID spells random bits.
var publicID = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// encoder keeps the first error, so that a record is written as a list of its
// fields.
type encoder struct {
	b     []byte
	start int
	err   error
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

func (e *encoder) uvarint(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

func (e *encoder) fits(name, s string) bool {
	if len(s) > maxField {
		e.fail(fmt.Errorf("%s is %d bytes long, at most %d are possible", name, len(s), maxField))
		return false
	}
	return true
}

func (e *encoder) string(name, s string) {
	if e.fits(name, s) {
		e.uvarint(uint64(len(s)))
		e.b = append(e.b, s...)
	}
}

// short writes a string that is likely to be a number or a UUID. Names are not:
// what they share with each other would be hidden from pack.
func (e *encoder) short(name, s string) {
	if !e.fits(name, s) {
		return
	}
	if n, ok := parseNumber(s); ok {
		e.uvarint(n<<shortKinds | shortNumber)
	} else if uuid, ok := parseUUID(s); ok {
		e.uvarint(shortUUID)
		e.b = append(e.b, uuid[:]...)
	} else if bits, ok := parseBase32(s); ok {
		e.uvarint(uint64(len(bits))<<shortKinds | shortBits)
		e.b = append(e.b, bits...)
	} else {
		e.uvarint(uint64(len(s)) << shortKinds) // shortPlain
		e.b = append(e.b, s...)
	}
}

// parseNumber reads a number that is spelled as it would be written again.
func parseNumber(s string) (n uint64, ok bool) {
	if s == "" || len(s) > maxShortDigits || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	for i := range len(s) {
		if !digit(s[i]) {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

// parseBase32 reads whole groups of eight characters, which are five bytes.
func parseBase32(s string) (bits []byte, ok bool) {
	if s == "" || len(s)%8 != 0 {
		return nil, false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return nil, false // the decoder would pass over line breaks
		}
	}
	bits, err := publicID.DecodeString(s)
	return bits, err == nil
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func (e *encoder) time(name string, t time.Time) {
	if t.Unix() < 0 || t.Unix() > maxSeconds {
		e.fail(fmt.Errorf("%s time %s is out of range", name, t.Format(time.RFC3339)))
		return
	}
	e.uvarint(uint64(t.Unix()))
	e.uvarint(uint64(t.Nanosecond()))
}

func (e *encoder) duration(d time.Duration) {
	if d%time.Second == 0 {
		e.uvarint(uint64(d/time.Second) << 1)
	} else {
		e.uvarint(uint64(d)<<1 | 1)
	}
}

// groups writes the IDs, each as what it does not share with the one before: the
// SIDs of a domain differ in their last number only. Names and DNs follow, of
// the few groups that have one.
func (e *encoder) groups(groups []Group) {
	e.uvarint(uint64(len(groups)))
	last, total, named := "", 0, 0
	for _, g := range groups {
		if !e.fits("group id", g.ID) {
			return
		}
		shared := sharedPart(last, g.ID)
		e.uvarint(uint64(shared))
		e.short("group id", g.ID[shared:])
		last = g.ID
		if total += len(g.ID); g.Name != "" || g.DN != "" {
			named++
		}
	}
	if total > maxGroupIDs {
		e.fail(fmt.Errorf("group ids are %d bytes together, at most %d are possible", total, maxGroupIDs))
	}
	e.uvarint(uint64(named))
	next := 0
	for i, g := range groups {
		if g.Name == "" && g.DN == "" {
			continue
		}
		e.uvarint(uint64(i - next))
		e.string("group name", g.Name)
		e.string("group dn", g.DN)
		next = i + 1
	}
}

// sharedPart is how many bytes of id are taken from the one before. What has a
// short form is left whole: a number, and a UUID.
func sharedPart(last, id string) int {
	if _, ok := parseUUID(id); ok {
		return 0
	}
	n := 0
	for n < len(last) && n < len(id) && last[n] == id[n] {
		n++
	}
	for n > 0 && digit(id[n-1]) {
		n--
	}
	return n
}

// finish ends a record that is not packed.
func (e *encoder) finish() ([]byte, error) {
	if e.err != nil {
		return nil, e.err
	}
	e.b = binary.BigEndian.AppendUint32(e.b, crc32.Checksum(e.b[e.start:], castagnoli))
	return e.b, checkSize(len(e.b) - e.start)
}

// seal appends the record of subject to dst.
func (e *encoder) seal(dst []byte, format byte, subject []byte) ([]byte, error) {
	if e.err != nil {
		return nil, e.err
	}
	if err := checkSize(len(e.b)); err != nil {
		return nil, err
	}
	start := len(dst)
	dst = pack(append(dst, format), e.b)
	dst = binary.BigEndian.AppendUint32(dst, recordChecksum(dst[start:], subject))
	return dst, checkSize(len(dst) - start)
}

func recordChecksum(record, subject []byte) uint32 {
	return crc32.Update(crc32.Checksum(record, castagnoli), castagnoli, subject)
}

func checkSize(n int) error {
	if n > MaxRecord {
		return fmt.Errorf("record is %d bytes long, at most %d are possible", n, MaxRecord)
	}
	return nil
}
