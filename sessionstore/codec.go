package sessionstore

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// The binary form of records, for every backend that stores bytes:
//
//	format (1 byte) | key (sessions only, 32 bytes) | fields | CRC-32C (4 bytes)
//
// Strings are a uvarint length and the bytes; times are seconds and
// nanoseconds since 1970; a group's ID is written as what it does not share
// with the one before, as the SIDs of a domain differ in their last digits
// only. The key inside makes a record that was moved under another key
// unreadable, the checksum one that was damaged. Neither stops somebody who
// can write to the store: that takes encryption.
//
// Sessions of format 1 have no PasswordSet. They are read, never written.
const (
	sessionFormat       = 2
	oldestSessionFormat = 1
	userFormat          = 1

	// MaxRecord bounds the encoded size of one record, in bytes.
	MaxRecord = 512 << 10

	maxField    = 8 << 10
	maxGroups   = 10_000
	maxGroupIDs = 1 << 20                 // all IDs together: shared parts must not add up
	maxSeconds  = 1<<63/1_000_000_000 - 1 // what fits in nanoseconds
	checksum    = 4
)

// AppendSession appends the record of s under key to dst. It refuses a session
// that DecodeSession would not accept.
func AppendSession(dst []byte, key Key, s *Session) ([]byte, error) {
	if err := s.check(); err != nil {
		return dst, fmt.Errorf("encoding session: %w", err)
	}
	if len(s.User.Groups) > maxGroups {
		return dst, fmt.Errorf("encoding session: user is in %d groups, at most %d are possible", len(s.User.Groups), maxGroups)
	}
	e := encoder{b: dst, start: len(dst)}
	e.b = append(e.b, sessionFormat)
	e.b = append(e.b, key[:]...)
	e.string("id", s.ID)
	e.string("csrf", s.CSRF)
	e.time("created", s.Created)
	e.b = binary.AppendUvarint(e.b, uint64(s.Limits.Idle))
	e.b = binary.AppendUvarint(e.b, uint64(s.Limits.Absolute))
	e.string("client_ip", s.ClientIP)
	u := &s.User
	e.string("directory", u.Directory)
	e.string("user id", u.ID)
	e.string("username", u.Username)
	e.string("dn", u.DN)
	e.string("first_name", u.FirstName)
	e.string("last_name", u.LastName)
	e.string("display_name", u.DisplayName)
	e.string("email", u.Email)
	e.string("upn", u.UPN)
	e.string("title", u.Title)
	e.string("manager", u.Manager)
	e.string("password_set", u.PasswordSet)
	e.groups(u.Groups)
	out, err := e.finish()
	if err != nil {
		return dst, fmt.Errorf("encoding session: %w", err)
	}
	return out, nil
}

// DecodeSession reads the record b that was found under key. Whatever is wrong
// with it, the error is an ErrInvalidRecord.
func DecodeSession(b []byte, key Key) (*Session, error) {
	d, err := newDecoder(b, oldestSessionFormat, sessionFormat)
	if err != nil {
		return nil, err
	}
	if echo := d.bytes(len(key)); subtle.ConstantTimeCompare(echo, key[:]) != 1 {
		return nil, fmt.Errorf("%w: it is the record of another key", ErrInvalidRecord)
	}
	s := &Session{}
	s.ID = d.string()
	s.CSRF = d.string()
	s.Created = d.time()
	s.Limits.Idle = d.duration()
	s.Limits.Absolute = d.duration()
	s.ClientIP = d.string()
	u := &s.User
	for _, field := range []*string{
		&u.Directory, &u.ID, &u.Username, &u.DN, &u.FirstName, &u.LastName,
		&u.DisplayName, &u.Email, &u.UPN, &u.Title, &u.Manager,
	} {
		*field = d.string()
	}
	if d.format >= 2 {
		u.PasswordSet = d.string()
	}
	u.Groups = d.groups()
	if err := d.finish(); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	}
	return s, nil
}

// AppendUserRecord appends the binary form of r to dst.
func AppendUserRecord(dst []byte, r *UserRecord) ([]byte, error) {
	if r.Directory == "" || r.ID == "" {
		return dst, fmt.Errorf("encoding user record: no user: directory %q, id %q", r.Directory, r.ID)
	}
	e := encoder{b: dst, start: len(dst)}
	e.b = append(e.b, userFormat)
	e.string("directory", r.Directory)
	e.string("user id", r.ID)
	e.string("username", r.Username)
	e.string("first_name", r.FirstName)
	e.string("last_name", r.LastName)
	e.string("email", r.Email)
	e.string("display_name", r.DisplayName)
	e.time("first sign-in", r.FirstSignIn)
	e.time("last sign-in", r.LastSignIn)
	e.b = binary.AppendUvarint(e.b, r.SignIns)
	out, err := e.finish()
	if err != nil {
		return dst, fmt.Errorf("encoding user record: %w", err)
	}
	return out, nil
}

// DecodeUserRecord reads the record b that was found for a user. Whatever is
// wrong with it, the error is an ErrInvalidRecord.
func DecodeUserRecord(b []byte, directory, id string) (UserRecord, error) {
	d, err := newDecoder(b, userFormat, userFormat)
	if err != nil {
		return UserRecord{}, err
	}
	var r UserRecord
	for _, field := range []*string{
		&r.Directory, &r.ID, &r.Username, &r.FirstName, &r.LastName, &r.Email, &r.DisplayName,
	} {
		*field = d.string()
	}
	r.FirstSignIn = d.time()
	r.LastSignIn = d.time()
	r.SignIns = d.uvarint()
	if err := d.finish(); err != nil {
		return UserRecord{}, err
	}
	if r.Directory != directory || r.ID != id || directory == "" || id == "" {
		return UserRecord{}, fmt.Errorf("%w: it is the record of another user", ErrInvalidRecord)
	}
	return r, nil
}

// castagnoli has hardware support on every machine that Caddy runs on.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

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

func (e *encoder) string(name, s string) {
	if len(s) > maxField {
		e.fail(fmt.Errorf("%s is %d bytes long, at most %d are possible", name, len(s), maxField))
		return
	}
	e.b = binary.AppendUvarint(e.b, uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) time(name string, t time.Time) {
	if t.Unix() < 0 || t.Unix() > maxSeconds {
		e.fail(fmt.Errorf("%s time %s is out of range", name, t.Format(time.RFC3339)))
		return
	}
	e.b = binary.AppendUvarint(e.b, uint64(t.Unix()))
	e.b = binary.AppendUvarint(e.b, uint64(t.Nanosecond()))
}

func (e *encoder) groups(groups []Group) {
	e.b = binary.AppendUvarint(e.b, uint64(len(groups)))
	last, total := "", 0
	for _, g := range groups {
		if len(g.ID) > maxField {
			e.fail(fmt.Errorf("group id is %d bytes long, at most %d are possible", len(g.ID), maxField))
			return
		}
		total += len(g.ID)
		shared := 0
		for shared < len(last) && shared < len(g.ID) && last[shared] == g.ID[shared] {
			shared++
		}
		e.b = binary.AppendUvarint(e.b, uint64(shared))
		e.string("group id", g.ID[shared:])
		e.string("group name", g.Name)
		e.string("group dn", g.DN)
		last = g.ID
	}
	if total > maxGroupIDs {
		e.fail(fmt.Errorf("group ids are %d bytes together, at most %d are possible", total, maxGroupIDs))
	}
}

func (e *encoder) finish() ([]byte, error) {
	if e.err != nil {
		return nil, e.err
	}
	e.b = binary.BigEndian.AppendUint32(e.b, crc32.Checksum(e.b[e.start:], castagnoli))
	if n := len(e.b) - e.start; n > MaxRecord {
		return nil, fmt.Errorf("record is %d bytes long, at most %d are possible", n, MaxRecord)
	}
	return e.b, nil
}

// decoder reads fields until one is wrong; then everything is empty, and
// finish returns the error.
type decoder struct {
	format byte
	rest   string
	bad    string
}

// newDecoder checks what surrounds the fields. It copies the record once;
// every string of the result is a part of that copy.
func newDecoder(b []byte, oldest, newest byte) (*decoder, error) {
	if len(b) < 1+checksum || len(b) > MaxRecord {
		return nil, fmt.Errorf("%w: it is %d bytes long", ErrInvalidRecord, len(b))
	}
	if b[0] < oldest || b[0] > newest {
		return nil, fmt.Errorf("%w: its format is %d, known are %d to %d", ErrInvalidRecord, b[0], oldest, newest)
	}
	end := len(b) - checksum
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrInvalidRecord)
	}
	return &decoder{format: b[0], rest: string(b[1:end])}, nil
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
func (d *decoder) atMost(limit uint64) int {
	n := d.uvarint()
	if n > limit {
		d.fail("a size in it is too large")
		return 0
	}
	return int(n)
}

func (d *decoder) string() string { return d.take(d.atMost(maxField)) }

func (d *decoder) time() time.Time {
	seconds, nanoseconds := d.uvarint(), d.uvarint()
	if seconds > maxSeconds || nanoseconds >= uint64(time.Second) {
		d.fail("a time in it is out of range")
		return time.Time{}
	}
	return time.Unix(int64(seconds), int64(nanoseconds)).UTC()
}

func (d *decoder) duration() time.Duration {
	const longest = 1<<63 - 1
	n := d.uvarint()
	if n > longest {
		d.fail("a duration in it is too large")
		return 0
	}
	return time.Duration(n)
}

func (d *decoder) groups() []Group {
	n := d.atMost(maxGroups)
	// Each group takes at least four bytes: a count that the rest cannot
	// hold must not size an allocation.
	if n == 0 || n > len(d.rest)/4 {
		if n > 0 {
			d.fail("it is cut short")
		}
		return nil
	}
	groups := make([]Group, n)
	last, total := "", 0
	for i := range groups {
		shared := d.atMost(uint64(len(last)))
		id := last[:shared] + d.string()
		if total += len(id); total > maxGroupIDs || len(id) > maxField {
			d.fail("its group ids are too long")
		}
		groups[i] = Group{ID: id, Name: d.string(), DN: d.string()}
		if d.bad != "" {
			return nil
		}
		last = id
	}
	return groups
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
