package redisstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// trust says whether the answers of a connection may be believed. The client
// opens sockets anew by itself, and the address may lead elsewhere by then: to a
// replica that lags behind, or to a server that is empty, whose "there is no such
// session" would sign everybody out. So after the loss of a socket calls wait until
// the keeper has looked who answers (watch.go), and what was under way is thrown
// away.
type trust struct {
	losses atomic.Uint64
	looked atomic.Uint64 // the losses that there were when the last good look began

	mu   sync.Mutex
	wake chan struct{} // closed when looked changes; nil: nobody waits
}

// errSocketLost is an answer that may be of a server that nobody has looked at.
var errSocketLost = errors.New("the connection to the Redis server was lost")

// holds tells whether answers are believed, as long as there are no more losses.
func (t *trust) holds() (losses uint64, ok bool) {
	losses = t.losses.Load()
	return losses, t.looked.Load() == losses
}

func (t *trust) lose() { t.losses.Add(1) }

// confirm ends the wait of calls, if nothing was lost since there were that many.
func (t *trust) confirm(losses uint64) {
	t.looked.Store(losses)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wake != nil {
		close(t.wake)
		t.wake = nil
	}
}

// wait waits until answers are believed, or the connection is left. Only the end of
// ctx is an error.
func (t *trust) wait(ctx context.Context, left <-chan struct{}) error {
	for {
		t.mu.Lock()
		if t.wake == nil {
			t.wake = make(chan struct{})
		}
		wake := t.wake
		t.mu.Unlock()
		if _, ok := t.holds(); ok {
			return nil
		}
		select {
		case <-wake:
		case <-left:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
