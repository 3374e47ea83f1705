package badgerstore

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
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

	// ends means that it does nothing but end sessions, and has the committer
	// note each one: it is done even when nothing can be written to Badger.
	ends bool

	// key is the one session that it ends, if it is known without a read.
	key *sessionstore.Key

	// Only the committer's goroutine uses what follows.

	// ended are the sessions that apply has found and ended.
	ended []sessionstore.Key

	failed  bool // its transaction was not committed
	doubted bool // it was applied in doubt
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
	dir     string
	options Options
	log     *slog.Logger
	disk    disk

	requests chan *request
	stopped  chan struct{}

	// ended are the sessions whose end is in the journal and not in Badger;
	// nil while there are none.
	ended atomic.Pointer[endedSet]

	// waiting is true until the folder is open, and again after a breakdown. Who
	// reads has reading for that, and looks at waiting first.
	waiting atomic.Bool
	reading sync.RWMutex

	// Only the committer's goroutine uses what follows; while it does not run,
	// whoever starts or stops it.

	db     *badger.DB          // nil: waiting
	broken *breakdown          // is being closed, while waiting; nil: nothing is
	opened func(db *badger.DB) // is told, once, of a folder opened late
	erase  func(*badger.Txn, sessionstore.Key) error

	// write commits a transaction; tests have it fail.
	write func(*badger.Txn) error

	// lock is held while waiting, where that is possible. Its file stays open:
	// later there may be no file descriptor for another one.
	lock   *os.File
	locked bool

	// doubt is set for good when a commit fails: memory and disk may differ
	// from then on.
	doubt bool

	journal *journal // nil: there is none

	// held is why nothing is written to Badger; nil: it is written to.
	held     error
	low      bool         // held for want of space
	pace     pace         // of the disk's filling
	look     *time.Ticker // while held
	retryAt  time.Time
	reported string // the last trouble that was logged

	current *operation                    // that is applied
	noted   map[sessionstore.Key]struct{} // ends that are going to the journal; nil: none are
}

func newCommitter(dir string, options Options, log *slog.Logger, disk disk) *committer {
	return &committer{dir: dir, options: options, log: log, disk: disk, write: (*badger.Txn).Commit}
}

// start runs the committer, for the first time or after a stop.
func (c *committer) start() {
	c.requests = make(chan *request, maxOperations)
	c.stopped = make(chan struct{})
	go c.run()
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
	collect := time.NewTicker(collectEvery)
	defer collect.Stop()
	for {
		var look <-chan time.Time
		if c.held != nil {
			if c.look == nil {
				c.look = time.NewTicker(c.disk.every)
			}
			look = c.look.C
		} else {
			c.stopLooking()
		}
		var closed <-chan struct{}
		if c.broken != nil {
			closed = c.broken.closed
		}
		select {
		case first, ok := <-c.requests:
			if !ok {
				c.stopLooking()
				return
			}
			c.serve(first)
		case <-look:
			c.resume()
		case <-closed:
			c.reopen()
		case <-collect.C:
			c.collect()
		}
	}
}

func (c *committer) stopLooking() {
	if c.look != nil {
		c.look.Stop()
		c.look = nil
	}
}

// serve does what is waiting, and answers.
func (c *committer) serve(first *request) {
	batch, operations := c.gather(first)
	if c.held == nil {
		if full := c.full(newNeed(c.options)); full != nil {
			c.holdForSpace(full)
		}
	}
	left := operations
	if c.held == nil {
		left = c.commit(operations)
		c.keepEnds(operations)
	}
	if len(left) > 0 {
		c.onlyEnds(left)
	}
	for _, r := range batch {
		for _, o := range r.operations {
			if r.err == nil {
				r.err = o.err
			}
		}
		close(r.done)
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
