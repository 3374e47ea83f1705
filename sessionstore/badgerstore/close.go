package badgerstore

import (
	"errors"
	"fmt"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// errStillOpen is a folder that was not closed, and can be used as before.
var errStillOpen = errors.New("folder is still open")

// Close waits for the calls under way, commits what they left and closes the
// folder. On a full disk, and after some other failures, Badger cannot be
// closed: it is left as it is, with all that was acknowledged on the disk, and
// closed when that is possible.
func (s *Store) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return sessionstore.ErrClosed
	}
	s.closed = true
	s.committer.stop()
	return s.committer.close()
}

func (c *committer) close() error {
	switch {
	case c.broken != nil:
		parked.leave(c, c.held)
		return nil
	case c.db == nil:
		return c.release()
	}
	if full := c.mayNotClose(newNeed(c.options)); full != nil {
		parked.leave(c, full)
		return nil
	}
	err := c.closeFolder()
	if errors.Is(err, errStillOpen) {
		parked.leave(c, err)
		return nil
	}
	return err
}

// mayNotClose is why Badger must not be closed. How fast the disk fills does not
// count: to leave Badger open does not help.
func (c *committer) mayNotClose(n need) error {
	free, err := c.disk.free(c.dir)
	if err != nil {
		// As in full.
		if c.low {
			return c.held
		}
		return nil
	}
	return n.check(c.dir, free, 0)
}

// closeFolder closes the folder, or waits until a broken database is closed.
func (c *committer) closeFolder() error {
	var err error
	if c.broken != nil {
		<-c.broken.closed
		err = c.broken.err
	} else {
		if err := unmarkOpened(c.dir); err != nil {
			// With the mark the next start would miss the log that is removed
			// when Badger is closed.
			return fmt.Errorf("%w: %w", errStillOpen, err)
		}
		err = c.db.Close()
	}
	if err = errors.Join(c.release(), err); err != nil {
		err = fmt.Errorf("closing session folder %q: %w", c.dir, err)
	}
	return err
}
