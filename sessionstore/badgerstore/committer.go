package badgerstore

import (
	"context"
	"errors"

	"github.com/dgraph-io/badger/v4"
)

const (
	// maxOperations and maxBytes bound one transaction: Badger takes 15 % of
	// a memtable, 1.2 MB, and the largest record is half a megabyte.
	maxOperations = 500
	maxBytes      = 600 << 10
)

// operation is one change. Operations of several callers share a transaction,
// and see what those before them did.
type operation struct {
	// apply reads first, then writes. It may run more than once, so it must
	// set, not add to, what it reports.
	apply func(*badger.Txn) error

	size int // bytes that it writes, about
	err  error
}

// request is what one caller waits for.
type request struct {
	ctx        context.Context
	operations []*operation
	done       chan struct{}
	err        error
}

// committer is the only writer of the database. A sync costs the same for one
// change as for a hundred: while one is under way the next changes gather, and
// go together in one transaction. Being the only one, it needs no conflict
// detection: what an operation reads nobody else changes.
//
// Badger's Sync is no substitute: it syncs the log of the current memtable,
// and a change whose memtable was exchanged before that is not in it.
type committer struct {
	db       *badger.DB
	requests chan *request
	stopped  chan struct{}

	// doubt is set for good when a commit fails: memory and disk may differ
	// from then on. Only the committer's goroutine uses it.
	doubt bool
}

func startCommitter(db *badger.DB) *committer {
	c := &committer{
		db:       db,
		requests: make(chan *request, maxOperations),
		stopped:  make(chan struct{}),
	}
	go c.run()
	return c
}

// stop commits what was accepted. Nobody may call do any more.
func (c *committer) stop() {
	close(c.requests)
	<-c.stopped
}

// do returns when the operations are on the disk. If ctx ends first they may
// still be done, unless the committer sees that before it begins with them.
func (c *committer) do(ctx context.Context, operations []*operation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{ctx: ctx, operations: operations, done: make(chan struct{})}
	select {
	case c.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *committer) run() {
	defer close(c.stopped)
	for first := range c.requests {
		batch, operations := c.gather(first)
		c.commit(operations)
		for _, r := range batch {
			for _, o := range r.operations {
				if r.err == nil {
					r.err = o.err
				}
			}
			close(r.done)
		}
	}
}

// gather takes what is waiting, up to the bounds.
func (c *committer) gather(first *request) (batch []*request, operations []*operation) {
	size := 0
	for r := first; ; {
		if r.err = r.ctx.Err(); r.err != nil {
			// Nobody waits for it: a sign-in that was given up must not
			// leave a session behind.
			close(r.done)
		} else {
			batch = append(batch, r)
			operations = append(operations, r.operations...)
			for _, o := range r.operations {
				size += o.size
			}
		}
		if len(operations) >= maxOperations || size >= maxBytes {
			return batch, operations
		}
		select {
		case next, ok := <-c.requests:
			if !ok {
				return batch, operations
			}
			r = next
		default:
			return batch, operations
		}
	}
}

// commit does operations in one transaction. If one fails in it, or they are
// too many for Badger, they are done in halves: one that cannot be done must
// not take the others with it.
func (c *committer) commit(operations []*operation) {
	if len(operations) == 0 {
		return
	}
	err := c.transact(operations)
	switch {
	case err == nil:
	case len(operations) == 1:
		operations[0].err = err
	case errors.Is(err, errNotCommitted) || errors.Is(err, badger.ErrTxnTooBig):
		half := len(operations) / 2
		c.commit(operations[:half])
		c.commit(operations[half:])
	default:
		for _, o := range operations {
			o.err = err
		}
	}
}

// errNotCommitted wraps the error of an operation that kept its transaction
// from being committed.
var errNotCommitted = errors.New("not committed")

func (c *committer) transact(operations []*operation) error {
	txn := c.db.NewTransaction(true)
	defer txn.Discard()
	for _, o := range operations {
		if err := o.apply(txn); err != nil {
			if len(operations) == 1 {
				return err
			}
			return errors.Join(errNotCommitted, err)
		}
	}
	err := txn.Commit()
	if err != nil && !errors.Is(err, badger.ErrTxnTooBig) {
		c.doubt = true
	}
	return err
}
