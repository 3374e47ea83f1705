package badgerstore

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// A committer holds when its disk is nearly full, and when Badger has failed to
// write an end of a session: from then on nothing is written to Badger, ends go
// to the journal, and everything else is refused. It goes on by itself once
// Badger has what is in the journal.
//
// While the folder is not open, an end is taken without a look whether there is
// such a session: strangers' made-up tokens use the journal's room too, some
// 26,000 ends. When it is full, ends are refused until the folder is open; none
// that was acknowledged is lost.

const (
	// retryLooks is how many looks there are from a failed attempt to go on to
	// the next.
	retryLooks = 5

	// collectEvery is how often Badger looks for a value log to rewrite.
	collectEvery = 10 * time.Minute
)

// full is an error that wraps sessionstore.ErrNoSpace if the disk is known to
// have less than n.
func (c *committer) full(n need) error {
	free, err := c.disk.free(c.dir)
	if err != nil {
		// Not known: it fails open, as a platform that never tells could not be
		// used at all. But what was full stays so until it is seen not to be.
		if c.low {
			return c.held
		}
		return nil
	}
	// A tenth: a look, which comes once in that time, tells the pace of today.
	pace := c.pace.observe(time.Now(), free.bytes, c.disk.every/10)
	return n.check(c.dir, free, pace)
}

// need is what must be free to write; while the folder is not open, to open it.
func (c *committer) need() need {
	n := newNeed(c.options)
	if c.db == nil {
		n += upgradeNeed(c.dir)
	}
	return n
}

// holdForSpace stops writing to Badger.
func (c *committer) holdForSpace(full error) {
	if !c.low {
		c.low, c.reported = true, ""
		c.log.Error("disk of the session folder is nearly full: sign-ins are refused until there is space", "folder", c.dir, "error", full)
	}
	c.held = full
}

// holdFor stops writing to Badger because of another trouble.
func (c *committer) holdFor(err error) {
	c.low = false
	c.held = fmt.Errorf("session folder cannot be written to: %w", err)
	c.retryAt = time.Now().Add(retryLooks * c.disk.every)
	if text := err.Error(); text != c.reported {
		c.reported = text
		c.log.Error("session folder cannot be written to: sign-ins are refused until it can", "folder", c.dir, "error", err)
	}
}

// resume goes on writing to Badger if that is possible now.
func (c *committer) resume() {
	n := c.need()
	if c.low {
		n = n.again()
	}
	if full := c.full(n); full != nil {
		c.holdForSpace(full)
		return
	}
	if c.broken != nil || !c.low && time.Now().Before(c.retryAt) {
		return
	}
	if err := c.goOn(); err != nil {
		c.failed(err)
		return
	}
	c.held, c.low, c.reported = nil, false, ""
	c.log.Info("session folder is written to again", "folder", c.dir)
}

// goOn opens the folder if that is still to be done, and replays the journal.
func (c *committer) goOn() error {
	if c.db == nil {
		if err := c.openLate(); err != nil {
			return err
		}
	}
	return c.replay()
}

func (c *committer) failed(err error) {
	if errors.Is(err, sessionstore.ErrNoSpace) {
		c.holdForSpace(err)
		return
	}
	c.holdFor(err)
}

// onlyEnds does the operations that end sessions, in the journal, and refuses
// the others.
func (c *committer) onlyEnds(operations []*operation) {
	var ends []*operation
	var keys []sessionstore.Key
	c.noted = make(map[sessionstore.Key]struct{})
	defer func() { c.noted = nil }()
	for _, o := range operations {
		if !o.ends {
			o.err = c.held
			continue
		}
		o.err = c.find(o)
		if o.err == nil && len(o.ended) > c.room()-len(keys) {
			o.err = c.noRoom()
		}
		if o.err != nil {
			// The next one for the same session must not take it for ended.
			for _, key := range o.ended {
				delete(c.noted, key)
			}
			continue
		}
		ends = append(ends, o)
		keys = append(keys, o.ended...)
	}
	if err := c.toJournal(keys); err != nil {
		// Of one that has ended nothing too: another one here may have, and
		// has failed.
		for _, o := range ends {
			o.err = err
		}
	}
}

// find applies an operation in a transaction that is then thrown away, so that
// the operation's ended says which sessions it would end. While the folder is
// not open nobody knows which there are: a known key is taken as it is, which
// the size of the journal bounds, and its caller is told that no session was
// found.
func (c *committer) find(o *operation) error {
	if c.db == nil {
		if o.key == nil {
			return c.held
		}
		c.current, o.ended = o, o.ended[:0]
		c.note(*o.key)
		return nil
	}
	txn := c.db.NewTransaction(true)
	defer txn.Discard()
	if err := c.apply(txn, o); err != nil {
		return err
	}
	if !c.foundAll(o) {
		return c.held
	}
	return nil
}

// foundAll tells whether an operation has found all that it is to end. Once a
// write has failed, what Badger does not find may be on the disk all the same,
// and there is no saying that it has ended.
func (c *committer) foundAll(o *operation) bool {
	return !o.doubted || o.key != nil && (len(o.ended) > 0 || c.ended.Load().has(*o.key))
}

// keepEnds puts ends of sessions that Badger has failed to write into the
// journal, and holds.
func (c *committer) keepEnds(operations []*operation) {
	for _, o := range operations {
		if !o.ends || !o.failed || o.err == nil || len(o.ended) == 0 || !c.foundAll(o) {
			continue
		}
		keys := slices.DeleteFunc(slices.Clone(o.ended), c.ended.Load().has)
		if len(keys) > c.room() || c.toJournal(keys) != nil {
			continue // it stays failed
		}
		if c.held == nil {
			c.holdFor(o.err)
		}
		o.err = nil
	}
}

func (c *committer) room() int {
	if c.journal == nil {
		return 0
	}
	return c.journal.room()
}

func (c *committer) noRoom() error {
	if c.journal == nil {
		return c.held
	}
	return errJournalFull
}

// toJournal makes ends durable, then known.
func (c *committer) toJournal(keys []sessionstore.Key) error {
	if len(keys) == 0 {
		return nil
	}
	if err := c.journal.append(keys); err != nil {
		return err
	}
	if ended := c.ended.Load(); ended != nil {
		ended.add(keys)
	} else {
		c.ended.Store(newEndedSet(keys))
	}
	return nil
}

// collect has Badger rewrite a value log that is mostly garbage. All values
// stand in the tables, so it finds none; that of a folder which was written with
// other options would be found.
func (c *committer) collect() {
	if c.held != nil || c.full(newNeed(c.options)) != nil {
		return
	}
	const garbage = 0.5
	if err := c.collectGarbage(garbage); err != nil && !errors.Is(err, badger.ErrNoRewrite) {
		c.log.Warn("collecting garbage in the session folder failed", "folder", c.dir, "error", err)
		if broken(c.db) {
			c.breakDown(err)
		}
	}
}

func (c *committer) collectGarbage(share float64) (err error) {
	defer mend(c.db, &err)
	return c.db.RunValueLogGC(share)
}
