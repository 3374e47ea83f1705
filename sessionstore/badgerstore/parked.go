package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"
)

// parked holds the folders of closed stores that Badger could not close, for want
// of space mostly. They are the process's: who opens such a folder again gets it
// as it was, as Badger would not open it a second time.
var parked = parkingLot{places: make(map[string]*parking)}

type parkingLot struct {
	mu     sync.Mutex
	places map[string]*parking // by the absolute path of the folder
}

// parking is one folder that waits to be closed.
type parking struct {
	committer *committer // does not run
	taken     chan struct{}
	done      chan struct{}
	closed    bool // before done is closed
}

func place(dir string) string {
	if absolute, err := filepath.Abs(dir); err == nil {
		dir = absolute
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		return resolved
	}
	return dir
}

// leave parks the folder of c until it can be closed, or somebody takes it.
func (l *parkingLot) leave(c *committer, why error) {
	p := &parking{committer: c, taken: make(chan struct{}), done: make(chan struct{})}
	name := place(c.dir)
	l.mu.Lock()
	l.places[name] = p
	l.mu.Unlock()
	c.log.Warn("session folder cannot be closed yet, and is closed when that is possible", "folder", c.dir, "error", why)
	go l.wait(name, p)
}

// wait closes the folder when that is possible.
func (l *parkingLot) wait(name string, p *parking) {
	defer close(p.done)
	c := p.committer
	look := time.NewTicker(c.disk.every)
	defer look.Stop()
	var closed <-chan struct{}
	if c.broken != nil {
		closed = c.broken.closed
	}
	for !p.closed {
		select {
		case <-p.taken:
			return
		case <-closed:
		case <-look.C:
			if c.broken != nil || c.mayNotClose(newNeed(c.options).again()) != nil {
				continue
			}
		}
		err := c.closeFolder()
		if errors.Is(err, errStillOpen) {
			continue
		}
		p.closed = true
		if err != nil {
			c.log.Error("session folder was not closed cleanly", "folder", c.dir, "error", err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.places[name] == p {
		delete(l.places, name)
	}
}

// take returns the committer of a parked folder; nil if it is not parked, or
// not any more.
func (l *parkingLot) take(dir string, options Options) (*committer, error) {
	name := place(dir)
	l.mu.Lock()
	p := l.places[name]
	if p != nil && !bytes.Equal(p.committer.options.EncryptionKey, options.EncryptionKey) {
		l.mu.Unlock()
		return nil, fmt.Errorf("session folder %q is still open with another encryption key, as it could not be closed yet", dir)
	}
	delete(l.places, name)
	l.mu.Unlock()
	if p == nil {
		return nil, nil
	}
	close(p.taken)
	<-p.done
	if p.closed {
		return nil, nil
	}
	return p.committer, nil
}
