package redisstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// The index lists the sessions of a user in the order of their sign-ins, so
// that a listing reads no records. A place in it is:
//
//	user's digest (16) | sign-in (8) | length of the public id (2) | public id |
//	key (32) | idle and absolute limit | directory and ID
//
// The record of a session carries its place in front, with the length in four
// bytes: so the scripts, which cannot read records, find what goes with it. Neither
// has a format of its own: other versions of this program end sessions by them, so
// they stay as they are.
const (
	createdAt = digestSize
	idAt      = createdAt + 8 + 2
	headSize  = 4
)

var errLongID = errors.New("the public id is too long")

func appendPlace(b []byte, key sessionstore.Key, session *sessionstore.Session) ([]byte, error) {
	if len(session.ID) > math.MaxUint16 {
		return nil, errLongID
	}
	u := &session.User
	b = append(b, userDigest(u.Directory, u.ID)...)
	b = binary.BigEndian.AppendUint64(b, uint64(session.Created.UnixNano()))
	b = binary.BigEndian.AppendUint16(b, uint16(len(session.ID)))
	b = append(b, session.ID...)
	b = append(b, key[:]...)
	b = appendLimit(b, session.Limits.Idle)
	b = appendLimit(b, session.Limits.Absolute)
	return append(b, person(u.Directory, u.ID)...), nil
}

// appendLimit writes the seconds, as limits nearly always are whole ones, or the
// nanoseconds; the lowest bit says which.
func appendLimit(b []byte, limit time.Duration) []byte {
	if limit%time.Second == 0 {
		return binary.AppendUvarint(b, uint64(limit/time.Second)<<1)
	}
	return binary.AppendUvarint(b, uint64(limit)<<1|1)
}

func cutLimit(b string) (limit time.Duration, rest string, ok bool) {
	n, size := binary.Uvarint([]byte(b[:min(len(b), binary.MaxVarintLen64)]))
	if size <= 0 {
		return 0, "", false
	}
	unit := uint64(1)
	if n&1 == 0 {
		unit = uint64(time.Second)
	}
	if n >>= 1; n > math.MaxInt64/unit {
		return 0, "", false
	}
	return time.Duration(n * unit), b[size:], true
}

// decodePlace reads a place in the index.
func decodePlace(b string) (l sessionstore.Listed, ok bool) {
	none := sessionstore.Listed{}
	if len(b) < idAt {
		return none, false
	}
	created := binary.BigEndian.Uint64([]byte(b[createdAt:]))
	n := int(binary.BigEndian.Uint16([]byte(b[idAt-2:])))
	digest, rest := b[:digestSize], b[idAt:]
	if created > math.MaxInt64 || len(rest) < n+len(l.Key) {
		return none, false
	}
	l.Created = time.Unix(0, int64(created)).UTC()
	l.LastSeen = l.Created
	l.ID, rest = rest[:n], rest[n:]
	rest = rest[copy(l.Key[:], rest):]
	if l.Limits.Idle, rest, ok = cutLimit(rest); !ok || l.Limits.Idle <= 0 {
		return none, false
	}
	if l.Limits.Absolute, rest, ok = cutLimit(rest); !ok {
		return none, false
	}
	if l.Directory, l.UserID, ok = decodePerson(rest); !ok || userDigest(l.Directory, l.UserID) != digest {
		return none, false
	}
	return l, true
}

// encodeSession is the value of a session: its place and its record.
func encodeSession(key sessionstore.Key, session *sessionstore.Session) (value, place string, err error) {
	record, err := sessionstore.AppendSession(nil, key, session)
	if err != nil {
		return "", "", err
	}
	b, err := appendPlace(make([]byte, headSize, headSize+256+len(record)), key, session)
	if err != nil {
		return "", "", fmt.Errorf("encoding session: %w", err)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-headSize))
	place = string(b[headSize:])
	return string(append(b, record...)), place, nil
}

// decodeSession reads the value that was found for key. The record names its
// own key: what belongs to another one is invalid, and nobody's session.
func decodeSession(value string, key sessionstore.Key) (*sessionstore.Session, error) {
	if len(value) < headSize {
		return nil, fmt.Errorf("%w: it is cut short", sessionstore.ErrInvalidRecord)
	}
	n := uint64(binary.BigEndian.Uint32([]byte(value[:headSize])))
	if n > uint64(len(value)-headSize) {
		return nil, fmt.Errorf("%w: it is cut short", sessionstore.ErrInvalidRecord)
	}
	return sessionstore.DecodeSession([]byte(value[headSize+int(n):]), key)
}

// The server's own expiry only collects what nobody can use any more: it goes by
// the server's clock, so it must never decide. The slack keeps it clear of the
// deadline even when the clocks differ by hours.
const expirySlack = 24 * time.Hour

// expiry is when the record may be collected, in milliseconds since 1970; 0:
// never. A session without an absolute limit has no such time: the sessions'
// own sweep drops it.
func expiry(created time.Time, limits sessionstore.Limits) int64 {
	const latest = 1 << 45 // more than a thousand years
	at := created.UnixMilli() + 1
	a := limits.Absolute.Milliseconds() + 1
	if limits.Absolute <= 0 || at < 0 || a > latest || at > latest {
		return 0
	}
	return at + a + expirySlack.Milliseconds()
}
