package caddyauth

import (
	"context"
	"sync"
	"sync/atomic"
)

// sessionContext is a request's context that ends with the session, too. Most
// handlers never ask a context whether it is done: what that takes is made when
// the first one does.
type sessionContext struct {
	context.Context // the request's own

	made atomic.Pointer[cancellable]

	mu     sync.Mutex
	cancel bool // it has ended
}

type cancellable struct {
	context.Context
	cancel context.CancelFunc
}

// asked is the context that can be waited for.
func (c *sessionContext) asked() *cancellable {
	if made := c.made.Load(); made != nil {
		return made
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	made := c.made.Load()
	if made == nil {
		made = new(cancellable)
		made.Context, made.cancel = context.WithCancel(c.Context)
		if c.cancel {
			made.cancel()
		}
		c.made.Store(made)
	}
	return made
}

// end ends the context.
func (c *sessionContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = true
	if made := c.made.Load(); made != nil {
		made.cancel()
	}
}

// Done implements context.Context.
func (c *sessionContext) Done() <-chan struct{} { return c.asked().Done() }

// Err implements context.Context.
func (c *sessionContext) Err() error { return c.asked().Err() }

// Value implements context.Context. Package context finds out with it, once
// somebody has asked for Done, that it need not start a goroutine for each
// context that is made of this one.
func (c *sessionContext) Value(key any) any {
	if made := c.made.Load(); made != nil {
		return made.Value(key)
	}
	return c.Context.Value(key)
}

// Interface guard
var _ context.Context = (*sessionContext)(nil)
