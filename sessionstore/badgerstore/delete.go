package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

const (
	// deleteChunk and deleteBytes bound one operation that deletes sessions of
	// a user: their number, and the bytes of their keys in the index.
	deleteChunk = 200
	deleteBytes = 128 << 10
)

// Delete removes the session under key. While the folder is not open for want
// of space nobody knows whether there is one: then it holds all the same, and ok
// is false.
func (s *Store) Delete(ctx context.Context, key sessionstore.Key) (ok bool, err error) {
	lost, err := s.lostPlaces(ctx, key)
	if err != nil && !errors.Is(err, sessionstore.ErrNoSpace) {
		return false, fmt.Errorf("deleting session: %w", err)
	}
	var found bool
	err = s.commit(ctx, "deleting session", &operation{
		size: touchSize,
		ends: true,
		key:  &key,
		apply: func(txn *badger.Txn) (err error) {
			found, err = s.delete(txn, key, lost)
			return err
		},
	})
	// After an error found may still be written to.
	if err != nil {
		return false, err
	}
	return found, nil
}

// Drop removes sessions, as Delete does.
func (s *Store) Drop(ctx context.Context, keys []sessionstore.Key) error {
	lost, err := s.lostPlaces(ctx, keys...)
	if err != nil {
		return fmt.Errorf("dropping sessions: %w", err)
	}
	operations := make([]*operation, len(keys))
	for i, key := range keys {
		operations[i] = &operation{size: touchSize, apply: func(txn *badger.Txn) error {
			_, err := s.delete(txn, key, lost)
			return err
		}}
	}
	return s.commitAll(ctx, "dropping sessions", operations)
}

// delete removes the session, its last-seen time and its place in the index. A
// missing one costs no write, as anybody can ask for it; but once a write has
// failed, what is missing here may still be on the disk.
func (s *Store) delete(txn *badger.Txn, key sessionstore.Key, lost places) (ok bool, err error) {
	record, err := value(txn, sessionKey(key))
	if err != nil {
		return false, err
	}
	switch {
	case record != nil && !s.committer.note(key):
		return false, nil
	case record == nil && !s.committer.doubt:
		return false, nil
	}
	records := [][]byte{record}
	if s.committer.doubt {
		if records, err = versions(txn, sessionKey(key)); err != nil {
			return false, err
		}
	}
	keys := [][]byte{sessionKey(key), seenKey(key)}
	for _, b := range records {
		if session, err := sessionstore.DecodeSession(b, key); err == nil {
			keys = append(keys, indexKey(session))
			continue
		}
		if _, known := lost[key]; !known {
			lost = places{key: nil} // not the caller's
			if err := lost.findIn(txn); err != nil {
				return false, err
			}
		}
		keys = append(keys, lost[key]...)
	}
	for _, k := range keys {
		if err := txn.Delete(k); err != nil {
			return false, err
		}
	}
	return record != nil, nil
}

// versions returns the values that key has had, as far as they are still there.
// What has gone from memory for good has gone from the disk too.
func versions(txn *badger.Txn, key []byte) (values [][]byte, err error) {
	options := badger.DefaultIteratorOptions
	options.PrefetchValues = false
	it := txn.NewKeyIterator(key, options)
	defer it.Close()
	for it.Seek(key); it.Valid(); it.Next() {
		if b, err := it.Item().ValueCopy(nil); err != nil {
			return nil, err
		} else if len(b) > 0 {
			values = append(values, b)
		}
	}
	return values, nil
}

// DeleteUser removes the sessions of a user but keep. It goes through them once,
// in the order of the index, as the only writer: whatever stood there before the
// call is met, however many sign-ins come meanwhile.
func (s *Store) DeleteUser(ctx context.Context, directory, id string, keep *sessionstore.Key) (deleted []sessionstore.Listed, err error) {
	if keep != nil {
		k := *keep // the caller's may change
		keep = &k
	}
	const doing = "deleting a user's sessions"
	prefix := indexPrefix(directory, id)
	damaged := false
	for from := prefix; from != nil; {
		var chunk *userChunk
		err := s.commit(ctx, doing, &operation{
			size: deleteBytes,
			ends: true,
			apply: func(txn *badger.Txn) (err error) {
				chunk, err = s.deleteChunk(txn, prefix, from, keep)
				return err
			},
		})
		// After an error chunk may still be written to.
		if err != nil {
			return nil, err
		}
		deleted = append(deleted, chunk.deleted...)
		damaged = damaged || chunk.damaged
		from = chunk.next
	}
	if !damaged {
		return deleted, nil
	}
	s.log.Warn("the list of a user's sessions is damaged: all records are read to find them", "directory", directory)
	more, err := s.deleteUnlisted(ctx, directory, id, keep)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return append(deleted, more...), nil
}

// userChunk is what one operation of DeleteUser has done.
type userChunk struct {
	deleted []sessionstore.Listed
	next    []byte // where the next one begins; nil: this was the last
	damaged bool   // a place in the index did not lead to a session
}

// listedPlace is a place in the index that is to be deleted.
type listedPlace struct {
	sessionstore.Listed
	key     []byte
	earlier bool // it is not there any more, unless the disk knows better
	damaged bool
}

func (s *Store) deleteChunk(txn *badger.Txn, prefix, from []byte, keep *sessionstore.Key) (*userChunk, error) {
	chunk := &userChunk{}
	found, next, err := s.userPlaces(txn, prefix, from)
	if err != nil {
		return nil, err
	}
	chunk.next = next
	for i := range found {
		p := &found[i]
		if !p.damaged && keep != nil && p.Key == *keep {
			continue
		}
		var item *badger.Item
		if !p.damaged {
			if item, err = get(txn, sessionKey(p.Key)); err != nil {
				return nil, err
			}
		}
		switch {
		case item == nil && !p.earlier:
			chunk.damaged = true
			if keep != nil {
				continue // it may be the place of that one
			}
		case item == nil:
		case !s.committer.note(p.Key):
			continue
		default:
			if p.LastSeen, err = lastSeen(txn, &p.Listed); err != nil {
				return nil, err
			}
			chunk.deleted = append(chunk.deleted, p.Listed)
		}
		for _, k := range [][]byte{sessionKey(p.Key), seenKey(p.Key), p.key} {
			if err := txn.Delete(k); err != nil {
				return nil, err
			}
		}
	}
	return chunk, nil
}

// userPlaces reads a part of a user's places in the index; once a write has
// failed, also those that are not there any more.
func (s *Store) userPlaces(txn *badger.Txn, prefix, from []byte) (found []listedPlace, next []byte, err error) {
	options := badger.DefaultIteratorOptions
	options.PrefetchValues = false
	options.Prefix = prefix
	options.AllVersions = s.committer.doubt
	it := txn.NewIterator(options)
	defer it.Close()
	var last []byte
	size := 0
	for it.Seek(from); it.Valid(); it.Next() {
		item := it.Item()
		earlier := bytes.Equal(item.Key(), last)
		if !earlier && (len(found) >= deleteChunk || size >= deleteBytes) {
			return found, item.KeyCopy(nil), nil
		}
		last = append(last[:0], item.Key()...)
		if item.IsDeletedOrExpired() {
			continue
		}
		l, ok, err := decodePlace(item)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, listedPlace{Listed: l, key: item.KeyCopy(nil), earlier: earlier, damaged: !ok})
		size += len(item.Key())
	}
	return found, nil, nil
}

// deleteUnlisted deletes the sessions of a user that the index did not lead to.
func (s *Store) deleteUnlisted(ctx context.Context, directory, id string, keep *sessionstore.Key) (deleted []sessionstore.Listed, err error) {
	var unlisted []sessionstore.Listed
	records := []byte{prefixSession}
	err = s.scan(ctx, records, records, func(txn *badger.Txn, item *badger.Item) (bool, error) {
		l, ok, err := listRecord(item)
		if err != nil || !ok || l.Directory != directory || l.UserID != id || keep != nil && l.Key == *keep {
			return true, err
		}
		if l.LastSeen, err = lastSeen(txn, &l); err != nil {
			return false, err
		}
		unlisted = append(unlisted, l)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for i := range unlisted {
		ok, err := s.Delete(ctx, unlisted[i].Key)
		if err != nil {
			return nil, err
		}
		if ok {
			deleted = append(deleted, unlisted[i])
		}
	}
	return deleted, nil
}

// listRecord is a session as the index lists it, from its record.
func listRecord(item *badger.Item) (l sessionstore.Listed, ok bool, err error) {
	session, ok, err := decodeRecord(item)
	if !ok {
		return l, false, err
	}
	return sessionstore.Listed{
		Key: recordKey(item), ID: session.ID,
		Directory: session.User.Directory, UserID: session.User.ID,
		Created: session.Created, LastSeen: session.Created, Limits: session.Limits,
	}, true, nil
}
