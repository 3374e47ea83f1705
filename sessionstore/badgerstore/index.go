package badgerstore

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// The index lists the sessions of a user in the order of their sign-ins, so
// that a listing reads no records: they are four times as large. A session and
// its place in the index are written, collected and deleted together.

// indexPrefix begins the keys of a user's sessions. It carries both lengths:
// else sessions of the user "xy" would be among those of "x".
func indexPrefix(directory, userID string) []byte {
	return appendField(appendField([]byte{prefixIndex}, directory), sessionstore.ShortID(userID))
}

func indexKey(session *sessionstore.Session) []byte {
	b := indexPrefix(session.User.Directory, session.User.ID)
	b = binary.BigEndian.AppendUint64(b, uint64(session.Created.UnixNano()))
	return append(b, session.ID...)
}

func indexEntry(key sessionstore.Key, expiresAt uint64, session *sessionstore.Session) *badger.Entry {
	b := appendLimit(key[:len(key):len(key)], session.Limits.Idle)
	b = appendLimit(b, session.Limits.Absolute)
	return &badger.Entry{Key: indexKey(session), Value: b, ExpiresAt: expiresAt}
}

// appendLimit writes the seconds, as limits nearly always are whole ones, or the
// nanoseconds; the lowest bit says which.
func appendLimit(b []byte, limit time.Duration) []byte {
	if limit%time.Second == 0 {
		return binary.AppendUvarint(b, uint64(limit/time.Second)<<1)
	}
	return binary.AppendUvarint(b, uint64(limit)<<1|1)
}

func cutLimit(b []byte) (limit time.Duration, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, nil, false
	}
	unit := uint64(1)
	if n&1 == 0 {
		unit = uint64(time.Second)
	}
	if n >>= 1; n > math.MaxInt64/unit {
		return 0, nil, false
	}
	return time.Duration(n * unit), b[size:], true
}

// indexSize is about what the place of a session in the index takes, to size a
// transaction.
func indexSize(session *sessionstore.Session) int {
	return len(session.User.Directory) + len(session.User.ID) + len(session.ID) + touchSize
}

// decodeIndexKey reads what indexKey has made.
func decodeIndexKey(b []byte) (l sessionstore.Listed, ok bool) {
	if len(b) == 0 || b[0] != prefixIndex {
		return l, false
	}
	if l.Directory, b, ok = cutField(b[1:]); !ok || l.Directory == "" {
		return l, false
	}
	if l.UserID, b, ok = cutField(b); !ok || l.UserID == "" || len(b) <= 8 {
		return l, false
	}
	if l.UserID, ok = sessionstore.LongID(l.UserID); !ok {
		return l, false
	}
	created := binary.BigEndian.Uint64(b)
	if created > math.MaxInt64 {
		return l, false
	}
	l.Created = time.Unix(0, int64(created)).UTC()
	l.LastSeen = l.Created
	l.ID = string(b[8:])
	return l, true
}

// decodePlace reads a place in the index.
func decodePlace(item *badger.Item) (l sessionstore.Listed, ok bool, err error) {
	err = item.Value(func(b []byte) error {
		if l, ok = decodeIndexKey(item.Key()); !ok {
			return nil
		}
		if ok = len(b) > len(l.Key); !ok {
			return nil
		}
		b = b[copy(l.Key[:], b):]
		if l.Limits.Idle, b, ok = cutLimit(b); !ok {
			return nil
		}
		if l.Limits.Absolute, b, ok = cutLimit(b); !ok {
			return nil
		}
		ok = len(b) == 0 && l.Limits.Idle > 0
		return nil
	})
	return l, ok, err
}

// scanPart bounds what is read within one snapshot, and so how long Close waits.
const scanPart = 1024

// scan calls visit for what is stored under the keys of a prefix, from a key
// on, until it returns false. It reads in parts, and is no snapshot.
func (s *Store) scan(ctx context.Context, prefix, from []byte, visit func(*badger.Txn, *badger.Item) (more bool, err error)) error {
	for from != nil {
		err := s.view(ctx, func(txn *badger.Txn) (err error) {
			from, err = scanOnce(txn, prefix, from, scanPart, func(item *badger.Item) (bool, error) { return visit(txn, item) })
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// scanOnce visits at most n keys. next is where to go on; nil: it is done.
func scanOnce(txn *badger.Txn, prefix, from []byte, n int, visit func(*badger.Item) (more bool, err error)) (next []byte, err error) {
	options := badger.DefaultIteratorOptions
	options.PrefetchValues = false // they stand beside the keys
	options.Prefix = prefix
	it := txn.NewIterator(options)
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		item := it.Item()
		if n--; n < 0 {
			return item.KeyCopy(nil), nil
		}
		if more, err := visit(item); err != nil || !more {
			return nil, err
		}
	}
	return nil, nil
}

// behind is the first key that can follow key.
func behind(key []byte) []byte { return append(key[:len(key):len(key)], 0) }

// places are keys of the index that belong to sessions whose records cannot say
// where they stand.
type places map[sessionstore.Key][][]byte

// lostPlaces looks for the places of those sessions among keys whose records
// cannot be read: deleted without them, they would stay in the listings. It
// reads the whole index, so not in the transaction that deletes them; nothing
// moves such a place meanwhile.
func (s *Store) lostPlaces(ctx context.Context, keys ...sessionstore.Key) (places, error) {
	var lost places
	err := s.view(ctx, func(txn *badger.Txn) error {
		for _, key := range keys {
			b, err := value(txn, sessionKey(key))
			if err != nil {
				return err
			}
			if b == nil {
				continue
			}
			if _, err := sessionstore.DecodeSession(b, key); err != nil {
				if lost == nil {
					lost = places{}
				}
				lost[key] = nil
			}
		}
		return nil
	})
	if err != nil || lost == nil {
		return nil, err
	}
	index := []byte{prefixIndex}
	err = s.scan(ctx, index, index, func(_ *badger.Txn, item *badger.Item) (bool, error) { return true, lost.visit(item) })
	return lost, err
}

// findIn looks for the places within a transaction: for who has not looked
// before it.
func (p places) findIn(txn *badger.Txn) error {
	index := []byte{prefixIndex}
	_, err := scanOnce(txn, index, index, math.MaxInt, func(item *badger.Item) (bool, error) { return true, p.visit(item) })
	return err
}

func (p places) visit(item *badger.Item) error {
	l, ok, err := decodePlace(item)
	if _, wanted := p[l.Key]; ok && wanted {
		p[l.Key] = append(p[l.Key], item.KeyCopy(nil))
	}
	return err
}
