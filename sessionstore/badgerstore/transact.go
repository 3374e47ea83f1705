package badgerstore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// commit does operations in one transaction. If one fails in it, or they are
// too many for Badger, they are done in halves: one that cannot be done must
// not take the others with it. Those that are left were not tried, as Badger has
// broken down.
func (c *committer) commit(operations []*operation) (left []*operation) {
	if len(operations) == 0 || c.db == nil {
		return operations
	}
	err := c.transact(operations)
	switch {
	case err == nil:
	case errors.Is(err, errBroken):
		return operations
	case len(operations) == 1:
		operations[0].err = err
	case errors.Is(err, errNotCommitted) || errors.Is(err, badger.ErrTxnTooBig):
		half := len(operations) / 2
		return slices.Concat(c.commit(operations[:half]), c.commit(operations[half:]))
	default:
		for _, o := range operations {
			o.err = err
		}
	}
	return nil
}

// errNotCommitted wraps the error of an operation that kept its transaction
// from being committed.
var errNotCommitted = errors.New("not committed")

func (c *committer) transact(operations []*operation) (err error) {
	defer c.caught(&err)
	defer func(db *badger.DB) {
		if errors.Is(err, errBroken) && c.db == db {
			c.breakDown(err)
		}
	}(c.db)
	defer mend(c.db, &err)
	txn := c.db.NewTransaction(true)
	defer txn.Discard()
	for _, o := range operations {
		if err := c.apply(txn, o); err != nil {
			if len(operations) == 1 {
				return err
			}
			return errors.Join(errNotCommitted, err)
		}
	}
	err = c.write(txn)
	if err != nil && !errors.Is(err, badger.ErrTxnTooBig) {
		c.doubt = true
		for _, o := range operations {
			o.failed = true
		}
		if broken(c.db) {
			c.breakDown(err)
		}
	}
	return err
}

// caught is deferred: it makes a panic an error. This is a goroutine of our own:
// the panic would end the process, and do so again with the next request of its
// kind. What was done is not known, so nothing of it is taken for an end.
func (c *committer) caught(err *error) {
	p := recover()
	if p == nil {
		return
	}
	*err = fmt.Errorf("%w: %v", sessionstore.ErrPanicked, p)
	c.doubt = true
	c.log.Error("writing to the session folder panicked: it counts as failed", "panic", fmt.Sprint(p), "stack", sessionstore.PanicStack())
}

func (c *committer) apply(txn *badger.Txn, o *operation) error {
	c.current, o.ended, o.doubted = o, o.ended[:0], c.doubt
	return o.apply(txn)
}

// note is told by an operation of every session that it finds and ends. It is
// false if that has ended before, which Badger does not know yet.
func (c *committer) note(key sessionstore.Key) bool {
	if c.noted != nil {
		if _, ok := c.noted[key]; ok || c.ended.Load().has(key) {
			return false
		}
		c.noted[key] = struct{}{}
	}
	c.current.ended = append(c.current.ended, key)
	return true
}
