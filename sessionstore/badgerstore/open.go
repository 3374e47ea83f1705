package badgerstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// ErrInUse is a folder that another process, or another Store, has open.
var ErrInUse = errors.New("in use by another process")

func errFolderInUse(dir string) error {
	return fmt.Errorf("session folder %q is %w; if Caddy is running, use \"caddy reload\"", dir, ErrInUse)
}

// Open opens the sessions in folder dir, which is created, for this user alone,
// if it is missing. A folder that other users can enter, that holds something
// else or sessions of a newer format, or that is damaged is refused and left as
// it is. Badger's own messages go to log at debug, its warnings and errors at
// warn level; nil: nowhere.
//
// While less than Options.MinFree is free on the folder's disk, the folder is
// checked but not opened. The store then answers every call with
// sessionstore.ErrNoSpace, but Delete, and opens the folder as soon as there is
// space.
func Open(dir string, options Options, log *slog.Logger) (*Store, error) {
	return openOn(realDisk(), dir, options, log)
}

func openOn(disk disk, dir string, options Options, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c, err := parked.take(dir, options)
	switch {
	case err != nil:
		return nil, err
	case c != nil:
		c.log, c.options, c.disk = log, options, disk
		if c.db != nil {
			c.mark() // it was to be closed
		}
	default:
		c = newCommitter(dir, options, log, disk)
		if err := c.open(); err != nil {
			return nil, errors.Join(err, c.release())
		}
	}
	s := &Store{db: c.db, committer: c, log: log}
	c.erase = s.erase
	c.opened = func(db *badger.DB) { s.db = db }
	if c.db != nil && c.ended.Load() != nil && c.held == nil {
		if err := c.replay(); err != nil {
			c.failed(err)
		}
	}
	c.start()
	return s, nil
}

// open opens the folder if its disk has the space, else prepares to wait.
func (c *committer) open() error {
	err := prepareFolder(c.dir)
	if err != nil && !diskFull(err) {
		return err
	}
	full := c.full(c.need())
	if full == nil && err != nil {
		full = fmt.Errorf("%w: %w", sessionstore.ErrNoSpace, err)
	}
	if full == nil {
		// Of an upgrade too: it stops when space becomes scarce.
		if full = c.openFolder(); !errors.Is(full, sessionstore.ErrNoSpace) {
			return full
		}
	}
	if err == nil {
		err = verify(c.dir, c.options)
		if err == nil {
			err = c.await()
		}
		if err != nil {
			return err
		}
	}
	c.waiting.Store(true)
	c.holdForSpace(full)
	return nil
}

// openFolder opens the database and the journal. What is in the journal has
// ended from then on, but Badger has not been told.
func (c *committer) openFolder() error {
	if err := c.checkJournal(); err != nil {
		return err
	}
	if err := verify(c.dir, c.options); err != nil {
		return err
	}
	if err := recoverFolder(c.dir); err != nil {
		return err
	}
	scarce := func() error { return c.full(newNeed(c.options)) }
	if err := upgrade(c.dir, c.options, c.log, scarce); err != nil {
		return err
	}
	db, err := openDatabase(badgerOptions(c.dir, c.options, logger{c.log}))
	if err != nil {
		return err
	}
	j, err := c.currentJournal(readJournal)
	if err == nil && j == nil {
		j, err = createJournal(c.dir)
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	c.takeJournal(j)
	c.mark()
	c.db = db
	return nil
}

func (c *committer) mark() {
	if err := markOpened(c.dir); err != nil {
		c.log.Warn("damage to the session folder may not be noticed after a crash", "folder", c.dir, "error", err)
	}
}

// checkJournal refuses a damaged journal before anything is changed. It holds
// the lock, as one that another process writes to may look damaged.
func (c *committer) checkJournal() error {
	if c.journal != nil {
		return nil // await has read it
	}
	if err := c.acquire(); err != nil {
		return err
	}
	j, err := findJournal(c.dir)
	if j != nil {
		err = j.close()
	}
	return errors.Join(err, c.unlock())
}

func openDatabase(o badger.Options) (*badger.DB, error) {
	if err := tryFiles(o.Dir); err != nil {
		return nil, err
	}
	db, err := badger.Open(o)
	switch {
	case err != nil && strings.Contains(err.Error(), "Another process is using this Badger database"):
		// Badger has no error value for it; a test watches the text.
		return nil, errFolderInUse(o.Dir)
	case err != nil:
		return nil, fmt.Errorf("opening session folder %q: %w", o.Dir, err)
	}
	return db, nil
}

// spareFiles is how many files Badger opens, at most, beside those that are there.
const spareFiles = 32

// tryFiles refuses a folder for which there are too few file descriptors: Badger
// ends the process if it is without one for some of its files, and leaks what
// it has opened until then.
func tryFiles(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("looking at session folder %q: %w", dir, err)
	}
	tried := make([]*os.File, 0, len(names)+spareFiles)
	for err == nil && len(tried) < cap(tried) {
		var f *os.File
		if f, err = os.Open(dir); err == nil {
			tried = append(tried, f)
		}
	}
	for _, f := range tried {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("opening session folder %q, which takes %d files: %w", dir, cap(tried), err)
	}
	return nil
}
