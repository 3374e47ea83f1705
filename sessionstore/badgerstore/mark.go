package badgerstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"
)

func markKey() []byte { return append([]byte{prefixMark}, "time"...) }

// Mark stores the latest time that was seen, and returns it.
func (s *Store) Mark(ctx context.Context, at time.Time) (time.Time, error) {
	var mark time.Time
	if at.IsZero() {
		err := s.view(ctx, func(txn *badger.Txn) (err error) {
			mark, _, err = s.mark(txn)
			return err
		})
		if err != nil {
			return time.Time{}, fmt.Errorf("reading the latest time: %w", err)
		}
		return mark, nil
	}
	const latest = math.MaxInt64/int64(time.Second) - 1 // that nanoseconds can count
	if at.Unix() < 0 || at.Unix() > latest {
		return time.Time{}, fmt.Errorf("storing the latest time: %q is out of range", at.Format(time.RFC3339))
	}
	err := s.commit(ctx, "storing the latest time", &operation{
		size: touchSize,
		apply: func(txn *badger.Txn) error {
			stored, ok, err := s.mark(txn)
			if err != nil {
				return err
			}
			if mark = at.Round(0).UTC(); ok && !at.After(stored) {
				mark = stored
				if !s.committer.doubt {
					return nil
				}
				// A write has failed: it may not be on the disk.
			}
			return txn.Set(markKey(), encodeTime(mark, markKey()))
		},
	})
	// After an error mark may still be written to.
	if err != nil {
		return time.Time{}, err
	}
	return mark, nil
}

// mark reads the stored time. A damaged one counts as none.
func (s *Store) mark(txn *badger.Txn) (at time.Time, ok bool, err error) {
	b, err := value(txn, markKey())
	if err != nil || b == nil {
		return time.Time{}, false, err
	}
	if at, ok = decodeTime(b, markKey()); !ok {
		s.log.Warn("the latest time that was seen cannot be read and begins anew")
	}
	return at, ok, nil
}
