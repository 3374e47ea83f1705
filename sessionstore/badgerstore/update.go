package badgerstore

import (
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
		size: len(record) + touchSize,
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
// leaves when it was last seen. Neither record is collected earlier than
// before, and both at one time.
func update(txn *badger.Txn, key sessionstore.Key, record []byte, session *sessionstore.Session) (ok bool, err error) {
	item, err := get(txn, sessionKey(key))
	if err != nil || item == nil {
		return false, err
	}
	old, err := item.ValueCopy(nil)
	if err != nil {
		return false, err
	}
	if _, err := sessionstore.DecodeSession(old, key); err != nil {
		return false, err
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
	return true, txn.SetEntry(sessionEntry(key, record, expiresAt, session))
}
