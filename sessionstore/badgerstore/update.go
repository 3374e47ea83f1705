package badgerstore

import (
	"bytes"
	"context"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// Update stores another session under a key that has one.
func (s *Store) Update(ctx context.Context, key sessionstore.Key, session *sessionstore.Session) (ok bool, err error) {
	record, err := sessionstore.AppendSession(nil, key, session)
	if err != nil {
		return false, err
	}
	var found bool
	err = s.commit(ctx, "updating session", &operation{
		size: len(record) + indexSize(session) + touchSize,
		apply: func(txn *badger.Txn) (err error) {
			found, err = update(txn, key, record, session)
			return err
		},
	})
	// After an error found may still be written to.
	if err != nil {
		return false, err
	}
	return found, nil
}

// update stores another record of the session, if it is there and intact, and
// leaves when it was last seen. Nothing of it is collected earlier than
// before, and all at one time.
func update(txn *badger.Txn, key sessionstore.Key, record []byte, session *sessionstore.Session) (ok bool, err error) {
	item, err := get(txn, sessionKey(key))
	if err != nil || item == nil {
		return false, err
	}
	old, err := item.ValueCopy(nil)
	if err != nil {
		return false, err
	}
	before, err := sessionstore.DecodeSession(old, key)
	if err != nil {
		return false, asDamage(err)
	}
	last, err := value(txn, seenKey(key))
	if err != nil {
		return false, err
	}
	seen := session.Created
	if last != nil {
		at, err := decodeSeen(last, key)
		if err != nil {
			return false, err
		}
		if at.After(seen) {
			seen = at
		}
	}
	expiresAt := max(item.ExpiresAt(), expiry(session, seen))
	if last != nil && expiresAt > item.ExpiresAt() {
		err := txn.SetEntry(&badger.Entry{Key: seenKey(key), Value: last, ExpiresAt: expiresAt})
		if err != nil {
			return false, err
		}
	}
	place := indexEntry(key, item.ExpiresAt(), before)
	if !bytes.Equal(place.Key, indexKey(session)) {
		if err := txn.Delete(place.Key); err != nil {
			return false, err
		}
	} else if next := indexEntry(key, expiresAt, session); next.ExpiresAt == place.ExpiresAt && bytes.Equal(next.Value, place.Value) {
		// As nearly always: other groups, and the place stays as it is.
		return true, txn.SetEntry(sessionEntry(key, record, expiresAt, session))
	}
	return true, setSession(txn, key, record, expiresAt, session)
}
