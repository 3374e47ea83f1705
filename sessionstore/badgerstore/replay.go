package badgerstore

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// replayChunk is how many ends one transaction of a replay has, at most.
const replayChunk = 200

// replay does in Badger what is in the journal, then empties it. A crash before
// that leaves it to be done again, which changes nothing: a key is that of one
// session for ever.
func (c *committer) replay() error {
	for keys := range slices.Chunk(c.ended.Load().all(), replayChunk) {
		if full := c.full(newNeed(c.options)); full != nil {
			return full
		}
		var erasures []*operation
		for _, key := range keys {
			erasures = append(erasures, &operation{apply: func(txn *badger.Txn) error { return c.erase(txn, key) }})
		}
		left := c.commit(erasures)
		for _, o := range erasures {
			if o.err != nil {
				return fmt.Errorf("replaying the journal of ended sessions: %w", o.err)
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("replaying the journal of ended sessions: %w", errBroken)
		}
	}
	if c.journal != nil && len(c.journal.keys) == 0 {
		c.ended.Store(nil)
		return nil
	}
	return c.emptyJournal()
}

// emptyJournal replaces the journal. Badger has everything that is in it.
func (c *committer) emptyJournal() error {
	if runtime.GOOS == "windows" { // it replaces no open file
		if err := c.closeJournal(); err != nil {
			return err
		}
	}
	j, err := createJournal(c.dir)
	if err != nil {
		// It may be replaced all the same: what is open is no journal then.
		old, readErr := c.currentJournal(readJournal)
		if readErr != nil {
			return errors.Join(err, readErr, c.closeJournal())
		}
		c.takeJournal(old)
		return err
	}
	err = c.closeJournal()
	c.journal = j
	c.ended.Store(nil)
	return err
}

func (c *committer) closeJournal() error {
	j := c.journal
	if j == nil {
		return nil
	}
	c.journal = nil
	if err := j.close(); err != nil {
		return fmt.Errorf("closing the journal of ended sessions: %w", err)
	}
	return nil
}

// erase ends a session in Badger that has ended in the journal. Whatever Badger
// has of it, and even if it has nothing, which the disk may contradict: it is
// deleted.
func (s *Store) erase(txn *badger.Txn, key sessionstore.Key) error {
	if found, err := s.delete(txn, key, nil); found && err == nil {
		return nil
	}
	if err := txn.Delete(sessionKey(key)); err != nil {
		return err
	}
	return txn.Delete(seenKey(key))
}
