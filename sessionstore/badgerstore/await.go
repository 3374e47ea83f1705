package badgerstore

import "errors"

// journalSpace is what must be free to make the journal of a folder that has none
// while its disk is full: it must not take the last of it.
const journalSpace = 16 << 20

// await takes the folder's lock and its journal, so that ends are kept while
// the folder is not open. Where there is no such lock it does without: another
// process could write to the journal too.
func (c *committer) await() error {
	if err := c.acquire(); err != nil || !c.locked {
		return errors.Join(err, c.closeJournal())
	}
	j, err := c.currentJournal(findJournal)
	if err != nil {
		return errors.Join(err, c.closeJournal())
	}
	if version, err := readFormat(c.dir); j == nil && err == nil && version > 0 {
		if free, err := c.disk.free(c.dir); err == nil && free.bytes >= journalSpace {
			if j, err = createJournal(c.dir); err != nil {
				c.log.Warn("sign-outs are refused until the session folder is open", "folder", c.dir, "error", err)
			}
		}
	}
	c.takeJournal(j)
	return nil
}

// currentJournal is the journal as it is now.
func (c *committer) currentJournal(find func(dir string) (*journal, error)) (*journal, error) {
	if c.journal != nil {
		return c.journal.again(c.dir)
	}
	return find(c.dir)
}

func (c *committer) takeJournal(j *journal) {
	c.journal = j
	if j != nil {
		c.ended.Store(newEndedSet(j.keys))
	}
}

// acquire takes the folder's lock, where that is possible.
func (c *committer) acquire() (err error) {
	switch {
	case c.locked:
	case c.lock == nil:
		c.lock, err = lockFolder(c.dir)
		c.locked = c.lock != nil
	default:
		err = relockFolder(c.lock, c.dir)
		c.locked = err == nil
	}
	return err
}

// unlock gives up the lock, which Badger is going to take.
func (c *committer) unlock() error {
	if !c.locked {
		return nil
	}
	c.locked = false
	return unlockFolder(c.lock)
}

// release gives up what await has taken.
func (c *committer) release() error {
	err := c.closeJournal()
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
		c.lock, c.locked = nil, false
	}
	return err
}

// openLate opens the folder that was waited for.
func (c *committer) openLate() error {
	err := c.unlock()
	if err == nil {
		err = prepareFolder(c.dir)
	}
	if err == nil {
		err = c.openFolder()
	}
	if err != nil {
		// Whoever has the lock now is the one that logs sessions out.
		return errors.Join(err, c.await())
	}
	c.opened(c.db)
	c.waiting.Store(false)
	return nil
}
