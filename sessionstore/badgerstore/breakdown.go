package badgerstore

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// When Badger cannot make its next log, as no file descriptor is left, a quota is
// used up or the file system has become read-only, its commit fails and it has
// no log from then on: the next read panics, and the next write ends the process
// from a goroutine of Badger's own. So after a commit that failed Badger is asked
// for a read. If it panics, Badger is not called again but closed and opened
// again in the background; until then reads fail, and ends go to the journal,
// whose file is open already.

// errBroken is a database that cannot be used until it is opened again.
var errBroken = errors.New("the database has to be closed and opened again")

// breakdown is a database that is being closed.
type breakdown struct {
	db     *badger.DB
	closed chan struct{}
	err    error // of closing it, before closed is closed
}

// broken tells whether Badger is without a log.
func broken(db *badger.DB) (is bool) {
	defer func() {
		if r := recover(); r != nil {
			is = true
		}
	}()
	_ = db.View(func(txn *badger.Txn) error {
		_, err := txn.Get(markKey())
		return err
	})
	return false
}

// mend turns a panic of a broken database into errBroken. It is deferred; any
// other panic goes on.
func mend(db *badger.DB, err *error) {
	if r := recover(); r != nil {
		if !broken(db) {
			panic(r)
		}
		*err = errBroken
	}
}

// breakDown gives up a broken database.
func (c *committer) breakDown(cause error) {
	b := &breakdown{db: c.db, closed: make(chan struct{})}
	c.db, c.broken = nil, b
	c.waiting.Store(true)
	c.holdFor(cause)
	go b.close(c.dir, newNeed(c.options), c.disk, &c.reading)
}

// close closes the database as soon as that is possible. It waits for the flush
// of what is in memory, which Badger tries until it succeeds.
func (b *breakdown) close(dir string, n need, disk disk, reading *sync.RWMutex) {
	defer close(b.closed)
	// Who still reads has not seen the breakdown; who comes later has.
	reading.Lock()
	db := b.db
	reading.Unlock()
	for !closable(dir, n, disk) || unmarkOpened(dir) != nil {
		time.Sleep(disk.every)
	}
	defer func() {
		if r := recover(); r != nil {
			b.err = fmt.Errorf("closing a broken database: %v", r)
		}
	}()
	b.err = db.Close()
}

// closable tells whether there is the space to close Badger.
func closable(dir string, n need, disk disk) bool {
	free, err := disk.free(dir)
	return err != nil || n.check(dir, free, 0) == nil
}

// reopen goes on after the broken database was closed.
func (c *committer) reopen() {
	if err := c.broken.err; err != nil {
		c.log.Warn("session folder was not closed cleanly after a failure", "folder", c.dir, "error", err)
	} else {
		c.doubt = false // what is read from now on is what is on the disk
	}
	c.broken = nil
	if err := c.await(); err != nil {
		c.failed(err)
	}
	c.retryAt = time.Now()
	c.resume()
}
