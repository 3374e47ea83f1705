// Package badgerstore keeps sessions in a folder, with Badger. One process has
// the folder at a time.
package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// Store is a sessionstore.Store in a folder. What it has acknowledged is on
// the disk: sessions, last-seen times, counters and secrets survive a power cut.
type Store struct {
	db        *badger.DB // set while committer.waiting is true, if the folder is opened late
	committer *committer
	log       *slog.Logger

	// open is held for reading by every call and for writing by Close: Badger
	// must not be used once it is closed, and checks that on entry only.
	open   sync.RWMutex
	closed bool
}

// Create stores a new session, its place in the index, the record of its user
// and the deletion of the session that it replaces, all or nothing.
func (s *Store) Create(ctx context.Context, key sessionstore.Key, session *sessionstore.Session, replaces *sessionstore.Key) error {
	record, err := sessionstore.AppendSession(nil, key, session)
	if err != nil {
		return err
	}
	var lost places
	if replaces != nil {
		if lost, err = s.lostPlaces(ctx, *replaces); err != nil {
			return fmt.Errorf("storing session: %w", err)
		}
	}
	create := &operation{
		size: len(record) + indexSize(session) + userRecordSize,
		apply: func(txn *badger.Txn) error {
			user, err := s.nextUserRecord(txn, session)
			if err != nil {
				return err
			}
			if replaces != nil {
				if _, err := s.delete(txn, *replaces, lost); err != nil {
					return err
				}
			}
			if err := txn.SetEntry(user); err != nil {
				return err
			}
			return setSession(txn, key, record, expiry(session, session.Created), session)
		},
	}
	return s.commit(ctx, "storing session", create)
}

// Get returns the session under key and when it was last seen.
func (s *Store) Get(ctx context.Context, key sessionstore.Key) (session *sessionstore.Session, lastSeen time.Time, ok bool, err error) {
	ended := s.committer.ended.Load()
	err = s.view(ctx, func(txn *badger.Txn) error {
		if ended.has(key) {
			return nil
		}
		b, err := value(txn, sessionKey(key))
		if err != nil || b == nil {
			return err
		}
		if session, err = sessionstore.DecodeSession(b, key); err != nil {
			return asDamage(err)
		}
		lastSeen = session.Created
		if b, err = value(txn, seenKey(key)); err != nil {
			return err
		}
		if b != nil {
			seen, err := decodeSeen(b, key)
			if err != nil {
				return err
			}
			if seen.After(lastSeen) {
				lastSeen = seen
			}
		}
		ok = true
		return nil
	})
	if err != nil {
		return nil, time.Time{}, false, fmt.Errorf("reading session: %w", err)
	}
	return session, lastSeen, ok, nil
}

// Touch stores last-seen times of sessions that are there.
func (s *Store) Touch(ctx context.Context, touches []sessionstore.Touch) error {
	operations := make([]*operation, len(touches))
	for i, t := range touches {
		operations[i] = &operation{size: touchSize, apply: func(txn *badger.Txn) error { return touch(txn, t) }}
	}
	return s.commitAll(ctx, "storing last-seen times", operations)
}

// User returns a user's record.
func (s *Store) User(ctx context.Context, directory, id string) (record sessionstore.UserRecord, ok bool, err error) {
	err = s.view(ctx, func(txn *badger.Txn) error {
		b, err := value(txn, userKey(directory, id))
		if err != nil || b == nil {
			return err
		}
		record, err = sessionstore.DecodeUserRecord(b, directory, id)
		ok = err == nil
		return asDamage(err)
	})
	if err != nil {
		return sessionstore.UserRecord{}, false, fmt.Errorf("reading user record: %w", err)
	}
	return record, ok, nil
}

// view reads within one snapshot.
func (s *Store) view(ctx context.Context, read func(*badger.Txn) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return sessionstore.ErrClosed
	}
	s.committer.reading.RLock()
	defer s.committer.reading.RUnlock()
	if s.committer.waiting.Load() {
		return s.notOpen()
	}
	db := s.db
	defer func() {
		if errors.Is(err, errBroken) {
			err = s.notOpen() // the committer is about to notice
		}
	}()
	defer mend(db, &err)
	return db.View(read)
}

// notOpen is the error of who reads before the folder is open, and between a
// breakdown and the end of it.
func (s *Store) notOpen() error {
	return fmt.Errorf("%w: session folder %q is not open yet", sessionstore.ErrNoSpace, s.committer.dir)
}

// commit has operations done and waits until they are on the disk.
func (s *Store) commit(ctx context.Context, doing string, operations ...*operation) error {
	s.open.RLock()
	defer s.open.RUnlock()
	err := sessionstore.ErrClosed
	if !s.closed {
		err = s.committer.do(ctx, operations)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// commitAll commits operations in parts that fit a transaction each.
func (s *Store) commitAll(ctx context.Context, doing string, operations []*operation) error {
	for len(operations) > 0 {
		n, size := 0, 0
		for n < len(operations) && n < maxOperations && (n == 0 || size+operations[n].size <= maxBytes) {
			size += operations[n].size
			n++
		}
		if err := s.commit(ctx, doing, operations[:n]...); err != nil {
			return err
		}
		operations = operations[n:]
	}
	return nil
}

// nextUserRecord is the user's record after the sign-in. One that cannot be
// read begins anew: it is a memory of past sign-ins, and no reason to refuse
// this one.
func (s *Store) nextUserRecord(txn *badger.Txn, session *sessionstore.Session) (*badger.Entry, error) {
	u := &session.User
	b, err := value(txn, userKey(u.Directory, u.ID))
	if err != nil {
		return nil, err
	}
	var record sessionstore.UserRecord
	if b != nil {
		if record, err = sessionstore.DecodeUserRecord(b, u.Directory, u.ID); err != nil {
			s.log.Warn("user record cannot be read and begins anew", "directory", u.Directory, "error", asDamage(err))
		}
	}
	record = record.SignedIn(session)
	if b, err = sessionstore.AppendUserRecord(nil, &record); err != nil {
		return nil, err
	}
	return badger.NewEntry(userKey(u.Directory, u.ID), b), nil
}

// get returns the item of key, nil if there is none.
func get(txn *badger.Txn, key []byte) (*badger.Item, error) {
	item, err := txn.Get(key)
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return nil, nil
	case err != nil:
		// Badger quotes the key in its message.
		return nil, errors.New(strings.ReplaceAll(err.Error(), strconv.Quote(string(key)), "(key)"))
	}
	return item, nil
}

// value returns a copy of the value of key, nil if there is none.
func value(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := get(txn, key)
	if err != nil || item == nil {
		return nil, err
	}
	b, err := item.ValueCopy(nil)
	if err != nil {
		return nil, err
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

var _ sessionstore.Store = (*Store)(nil)
