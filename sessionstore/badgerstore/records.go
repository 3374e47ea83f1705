package badgerstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// The first byte of a key says what it is the key of. Users are under their
// directory and ID, so that those of a directory stand together.
const (
	prefixSession = 's' // key of the token: the session's record
	prefixSeen    = 'l' // key of the token: when it was last seen
	prefixUser    = 'u' // directory, ID: the user record
	prefixCounter = 'c' // key of the counter: the counter
	prefixSecret  = 'k' // name: the secret
)

const (
	// touchSize and userRecordSize are about what an operation writes, keys
	// included, to size a transaction.
	touchSize      = 256
	userRecordSize = 4096

	seenSize = 8 + 4
)

func sessionKey(key sessionstore.Key) []byte {
	return append([]byte{prefixSession}, key[:]...)
}

func seenKey(key sessionstore.Key) []byte {
	return append([]byte{prefixSeen}, key[:]...)
}

// userKey carries the directory's length: without it the user "b" of "a.x" and
// the user "xb" of "a." would be one.
func userKey(directory, id string) []byte {
	b := binary.AppendUvarint([]byte{prefixUser}, uint64(len(directory)))
	return append(append(b, directory...), id...)
}

// The last-seen time has a key of its own: it changes all the time, and writing
// the whole record each time costs more than twice as much. Its checksum
// covers the session's key too.
func encodeSeen(seen time.Time, key sessionstore.Key) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, seenSize), uint64(seen.UnixNano()))
	return binary.BigEndian.AppendUint32(b, seenChecksum(b, key))
}

func decodeSeen(b []byte, key sessionstore.Key) (time.Time, error) {
	if len(b) != seenSize || binary.BigEndian.Uint32(b[8:]) != seenChecksum(b[:8], key) {
		return time.Time{}, fmt.Errorf("%w: its last-seen time is damaged", sessionstore.ErrInvalidRecord)
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC(), nil
}

func seenChecksum(b []byte, key sessionstore.Key) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key[:], table), table, b)
}

// Badger's TTL only collects what nobody can use any more: it has whole
// seconds and believes the wall clock, so it must never decide. The slack
// keeps it clear of the deadline even when the clock is off by hours.
const ttlSlack = 24 * time.Hour

// idlePeriods is how many idle timeouts a session without an absolute limit is
// kept for. A touch extends that when less than half is left.
const idlePeriods = 4

// extends marks, in Badger's metadata of the entry, a record whose TTL touches
// extend, so that a touch of any other need not read it.
const extends = 1

// expiry is when the session may be collected, in seconds since 1970.
func expiry(session *sessionstore.Session, seen time.Time) uint64 {
	const begun = 1 // the second that has begun counts
	if a := session.Limits.Absolute; a > 0 {
		return uint64(session.Created.Unix() + begun + seconds(a) + seconds(ttlSlack))
	}
	return uint64(seen.Unix() + begun + idleLife(session))
}

func idleLife(session *sessionstore.Session) int64 {
	return idlePeriods*seconds(session.Limits.Idle) + seconds(ttlSlack)
}

// seconds rounds up.
func seconds(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	return n
}

func sessionEntry(key sessionstore.Key, record []byte, expiresAt uint64, session *sessionstore.Session) *badger.Entry {
	e := &badger.Entry{Key: sessionKey(key), Value: record, ExpiresAt: expiresAt}
	if session.Limits.Absolute <= 0 {
		e.UserMeta = extends
	}
	return e
}

// touch stores one last-seen time, if the session is there and was not seen
// later. What it finds damaged it leaves alone: the next Get refuses it.
func touch(txn *badger.Txn, t sessionstore.Touch) error {
	item, err := get(txn, sessionKey(t.Key))
	if err != nil || item == nil {
		return err
	}
	last, err := value(txn, seenKey(t.Key))
	if err != nil {
		return err
	}
	if last != nil {
		if seen, err := decodeSeen(last, t.Key); err != nil || !t.Seen.After(seen) {
			return nil
		}
	}
	expiresAt := item.ExpiresAt()
	if item.UserMeta() == extends {
		record, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		session, err := sessionstore.DecodeSession(record, t.Key)
		if err != nil {
			return nil
		}
		if int64(expiresAt)-t.Seen.Unix() < idleLife(session)/2 {
			expiresAt = expiry(session, t.Seen)
			if err := txn.SetEntry(sessionEntry(t.Key, record, expiresAt, session)); err != nil {
				return err
			}
		}
	}
	return txn.SetEntry(&badger.Entry{
		Key: seenKey(t.Key), Value: encodeSeen(t.Seen, t.Key), ExpiresAt: expiresAt,
	})
}
