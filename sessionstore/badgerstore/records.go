package badgerstore

import (
	"encoding/binary"
	"errors"
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
	prefixIndex   = 'i' // directory, user ID, sign-in, public id: key of the token, limits
	prefixUser    = 'u' // directory, ID: the user record
	prefixCounter = 'c' // key of the counter: the counter
	prefixSecret  = 'k' // name: the secret
	prefixMark    = 'm' // "time": the latest time that was seen
)

const (
	// touchSize and userRecordSize are about what an operation writes, keys
	// included, to size a transaction.
	touchSize      = 256
	userRecordSize = 4096

	timeSize = 8 + 4
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
	return append(appendField([]byte{prefixUser}, directory), sessionstore.ShortID(id)...)
}

// decodeUserKey reads what userKey has made.
func decodeUserKey(b []byte) (directory, id string, ok bool) {
	if len(b) == 0 || b[0] != prefixUser {
		return "", "", false
	}
	directory, rest, ok := cutField(b[1:])
	if !ok || directory == "" || len(rest) == 0 {
		return "", "", false
	}
	id, ok = sessionstore.LongID(string(rest))
	return directory, id, ok
}

// appendField appends a part of a key that others follow, with its length.
func appendField(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func cutField(b []byte) (field string, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", nil, false
	}
	b = b[size:]
	return string(b[:n]), b[n:], true
}

// The last-seen time has a key of its own: it changes all the time, and writing
// the whole record each time costs more than twice as much. Its checksum
// covers the session's key too.
func encodeSeen(seen time.Time, key sessionstore.Key) []byte { return encodeTime(seen, key[:]) }

func decodeSeen(b []byte, key sessionstore.Key) (time.Time, error) {
	seen, ok := decodeTime(b, key[:])
	if !ok {
		return time.Time{}, fmt.Errorf("%w: its last-seen time is damaged", sessionstore.ErrInvalidRecord)
	}
	return seen, nil
}

// encodeTime writes a time of what key names, with a checksum over both.
func encodeTime(at time.Time, key []byte) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, timeSize), uint64(at.UnixNano()))
	return binary.BigEndian.AppendUint32(b, timeChecksum(b, key))
}

func decodeTime(b, key []byte) (at time.Time, ok bool) {
	if len(b) != timeSize || binary.BigEndian.Uint32(b[8:]) != timeChecksum(b[:8], key) {
		return time.Time{}, false
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC(), true
}

func timeChecksum(b, key []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key, table), table, b)
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

// recordKey is the session that a record stands under.
func recordKey(item *badger.Item) (key sessionstore.Key) {
	copy(key[:], item.Key()[1:])
	return key
}

// decodeRecord reads the record of a session. One that cannot be trusted is
// ok == false.
func decodeRecord(item *badger.Item) (session *sessionstore.Session, ok bool, err error) {
	key := recordKey(item)
	if len(item.Key()) != 1+len(key) {
		return nil, false, nil
	}
	err = item.Value(func(b []byte) error {
		var invalid error
		session, invalid = sessionstore.DecodeSession(b, key)
		ok = invalid == nil
		return nil
	})
	return session, ok && err == nil, err
}

// asDamage is why a record cannot be read. Nobody shares a folder, and the version of
// the folder keeps those of newer versions out of it (checkFormat in folder.go): what
// has the byte of a newer format here is damaged like any other. Else its user would
// be told that the store fails until the session is past its limits.
func asDamage(err error) error {
	if errors.Is(err, sessionstore.ErrNewerRecord) {
		return fmt.Errorf("%w: its format is newer than that of its folder", sessionstore.ErrInvalidRecord)
	}
	return err
}

// setSession writes the record of a session and its place in the index: they
// are collected at one time.
func setSession(txn *badger.Txn, key sessionstore.Key, record []byte, expiresAt uint64, session *sessionstore.Session) error {
	if err := txn.SetEntry(indexEntry(key, expiresAt, session)); err != nil {
		return err
	}
	return txn.SetEntry(sessionEntry(key, record, expiresAt, session))
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
			if err := setSession(txn, t.Key, record, expiresAt, session); err != nil {
				return err
			}
		}
	}
	return txn.SetEntry(&badger.Entry{
		Key: seenKey(t.Key), Value: encodeSeen(t.Seen, t.Key), ExpiresAt: expiresAt,
	})
}
