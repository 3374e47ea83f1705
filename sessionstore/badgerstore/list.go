package badgerstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// List returns a page of sessions, from the index and the last-seen times.
func (s *Store) List(ctx context.Context, query sessionstore.ListQuery) (page []sessionstore.Listed, next string, err error) {
	prefix, from, err := listFrom(&query)
	if err != nil {
		return nil, "", fmt.Errorf("listing sessions: %w", err)
	}
	var last []byte // the key of the last one on the page
	damaged := 0
	ended := s.committer.ended.Load()
	err = s.scan(ctx, prefix, from, func(txn *badger.Txn, item *badger.Item) (bool, error) {
		l, ok, err := decodePlace(item)
		switch {
		case err != nil:
			return false, err
		case ok && ended.has(l.Key):
			return true, nil
		case !ok:
			damaged++
			return true, nil
		case len(page) == query.Limit:
			next = cursor(last)
			return false, nil
		}
		if l.LastSeen, err = lastSeen(txn, &l); err != nil {
			return false, err
		}
		page = append(page, l)
		last = item.KeyCopy(last)
		return true, nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("listing sessions: %w", err)
	}
	if damaged > 0 {
		s.log.Warn("places of sessions cannot be read and are passed over", "number", damaged)
	}
	return page, next, nil
}

// listFrom is where a listing goes through the index: the user's part alone,
// whatever the cursor says.
func listFrom(query *sessionstore.ListQuery) (prefix, from []byte, err error) {
	switch {
	case query.Limit < 1:
		return nil, nil, fmt.Errorf("a page of %d sessions", query.Limit)
	case (query.Directory == "") != (query.UserID == ""):
		return nil, nil, fmt.Errorf("directory %q without a user, or user %q without a directory", query.Directory, query.UserID)
	}
	prefix = []byte{prefixIndex}
	if query.UserID != "" {
		prefix = indexPrefix(query.Directory, query.UserID)
	}
	if query.After == "" {
		return prefix, prefix, nil
	}
	last, err := readCursor(prefixIndex, query.After)
	if err != nil {
		return nil, nil, err
	}
	if _, ok := decodeIndexKey(last); !ok || !bytes.HasPrefix(last, prefix) {
		return nil, nil, errCursor
	}
	return prefix, behind(last), nil
}

// lastSeen is when a listed session was last seen. A damaged time counts as
// none: whoever reads the session finds that out.
func lastSeen(txn *badger.Txn, l *sessionstore.Listed) (time.Time, error) {
	b, err := value(txn, seenKey(l.Key))
	if err != nil || b == nil {
		return l.Created, err
	}
	if seen, err := decodeSeen(b, l.Key); err == nil && seen.After(l.Created) {
		return seen, nil
	}
	return l.Created, nil
}

// Find looks for the public id among all keys of the index.
func (s *Store) Find(ctx context.Context, id string) (key sessionstore.Key, ok bool, err error) {
	ended := s.committer.ended.Load()
	index, tail := []byte{prefixIndex}, []byte(id)
	err = s.scan(ctx, index, index, func(_ *badger.Txn, item *badger.Item) (bool, error) {
		if !bytes.HasSuffix(item.Key(), tail) {
			return true, nil
		}
		if l, whole := decodeIndexKey(item.Key()); !whole || l.ID != id {
			return true, nil
		}
		l, whole, err := decodePlace(item)
		key, ok = l.Key, whole
		return false, err
	})
	if err != nil || !ok || ended.has(key) {
		key, ok = sessionstore.Key{}, false
	}
	if err != nil {
		err = fmt.Errorf("finding session: %w", err)
	}
	return key, ok, err
}

// Count counts keys.
func (s *Store) Count(ctx context.Context) (counts sessionstore.Counts, err error) {
	ended := s.committer.ended.Load()
	for _, part := range []struct {
		prefix byte
		n      *int
	}{{prefixIndex, &counts.Sessions}, {prefixUser, &counts.Users}} {
		prefix := []byte{part.prefix}
		err := s.scan(ctx, prefix, prefix, func(_ *badger.Txn, item *badger.Item) (bool, error) {
			if part.prefix == prefixIndex && ended != nil {
				if l, ok, err := decodePlace(item); err != nil || ok && ended.has(l.Key) {
					return true, err
				}
			}
			*part.n++
			return true, nil
		})
		if err != nil {
			return sessionstore.Counts{}, fmt.Errorf("counting sessions: %w", err)
		}
	}
	return counts, nil
}

// Users returns a page of user records, by directory and ID.
func (s *Store) Users(ctx context.Context, after string, limit int) (page []sessionstore.UserRecord, next string, err error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("listing users: a page of %d users", limit)
	}
	prefix := []byte{prefixUser}
	from := prefix
	if after != "" {
		last, err := readCursor(prefixUser, after)
		if err == nil {
			if _, _, ok := decodeUserKey(last); !ok {
				err = errCursor
			}
		}
		if err != nil {
			return nil, "", fmt.Errorf("listing users: %w", err)
		}
		from = behind(last)
	}
	var last []byte
	damaged := 0
	err = s.scan(ctx, prefix, from, func(_ *badger.Txn, item *badger.Item) (bool, error) {
		b, err := item.ValueCopy(nil)
		if err != nil {
			return false, err
		}
		directory, id, ok := decodeUserKey(item.Key())
		record, err := sessionstore.DecodeUserRecord(b, directory, id)
		switch {
		case !ok || err != nil:
			damaged++
			return true, nil
		case len(page) == limit:
			next = cursor(last)
			return false, nil
		}
		page = append(page, record)
		last = item.KeyCopy(last)
		return true, nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("listing users: %w", err)
	}
	if damaged > 0 {
		s.log.Warn("user records cannot be read and are passed over", "number", damaged)
	}
	return page, next, nil
}

var errCursor = errors.New("the place where the page begins is none")

// cursor is a key without its first byte, which says nothing.
func cursor(key []byte) string { return base64.RawURLEncoding.EncodeToString(key[1:]) }

func readCursor(prefix byte, cursor string) (key []byte, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return nil, errCursor
	}
	return append([]byte{prefix}, b...), nil
}
