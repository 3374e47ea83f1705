package badgerstore

import (
	"context"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

const (
	// counterSlack keeps Badger's TTL, as ttlSlack does, clear of an expiry
	// that it must not decide. It is shorter: strangers make counters, in any
	// number over time, and each takes disk until it is collected.
	counterSlack = time.Hour

	// counterPage bounds what one read of counters takes in memory, and how
	// long Close waits for it.
	counterPage = 512
)

func counterKey(key [16]byte) []byte {
	return append([]byte{prefixCounter}, key[:]...)
}

// SaveCounters stores counters. They go with the commits of sessions, so that
// they are on the disk too; in parts, so that no sign-in waits for all of them.
func (s *Store) SaveCounters(ctx context.Context, counters []sessionstore.Counter) error {
	operations := make([]*operation, len(counters))
	for i := range counters {
		c := &counters[i]
		key := c.Key
		if len(c.Value) == 0 {
			operations[i] = &operation{size: touchSize, apply: func(txn *badger.Txn) error { return s.deleteCounter(txn, key) }}
			continue
		}
		record, err := sessionstore.AppendCounter(nil, c)
		if err != nil {
			return err
		}
		expiresAt := uint64(c.Expires.Add(counterSlack).Unix() + 1)
		operations[i] = &operation{
			size: len(record) + touchSize,
			apply: func(txn *badger.Txn) error {
				return txn.SetEntry(&badger.Entry{Key: counterKey(key), Value: record, ExpiresAt: expiresAt})
			},
		}
	}
	return s.commitAll(ctx, "storing counters", operations)
}

// deleteCounter removes a counter. As with sessions, a missing one costs no
// write unless a write has failed.
func (s *Store) deleteCounter(txn *badger.Txn, key [16]byte) error {
	item, err := get(txn, counterKey(key))
	if err != nil || item == nil && !s.committer.doubt {
		return err
	}
	return txn.Delete(counterKey(key))
}

// Counters calls yield for the counters that have not expired. It reads them in
// pages and yields between: yield may take long and call the store, and must
// not hold up Close.
func (s *Store) Counters(ctx context.Context, yield func(sessionstore.Counter) error) error {
	now := time.Now()
	next := []byte{prefixCounter}
	damaged := 0
	for next != nil {
		var page []sessionstore.Counter
		err := s.view(ctx, func(txn *badger.Txn) (err error) {
			page, next, err = counters(txn, next, &damaged)
			return err
		})
		if err != nil {
			return fmt.Errorf("reading counters: %w", err)
		}
		for _, c := range page {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("reading counters: %w", err)
			}
			if !c.Expires.After(now) {
				continue
			}
			if err := yield(c); err != nil {
				return err
			}
		}
	}
	if damaged > 0 {
		s.log.Warn("counters cannot be read and are passed over", "number", damaged)
	}
	return nil
}

// counters returns the counters of one page that begins at the key from, and
// where the next page begins: nil after the last.
func counters(txn *badger.Txn, from []byte, damaged *int) (page []sessionstore.Counter, next []byte, err error) {
	options := badger.DefaultIteratorOptions
	options.PrefetchValues = false // they stand beside the keys
	options.Prefix = []byte{prefixCounter}
	it := txn.NewIterator(options)
	defer it.Close()
	n := 0
	for it.Seek(from); it.Valid(); it.Next() {
		item := it.Item()
		if n++; n > counterPage {
			return page, item.KeyCopy(nil), nil
		}
		b, err := item.ValueCopy(nil)
		if err != nil {
			return nil, nil, err
		}
		var key [16]byte
		ok := len(item.Key()) == 1+len(key)
		copy(key[:], item.Key()[1:])
		c, err := sessionstore.DecodeCounter(b, key)
		if !ok || err != nil {
			*damaged++
			continue
		}
		page = append(page, c)
	}
	return page, nil, nil
}
