package redisstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// connection is the way to the server from the moment in which it was found until
// it fails, or another one takes its place. The client inside would connect again
// by itself for ever, but only to the address that it once learned; so a
// connection that has failed is left, and the next one asks the names and the
// sentinels again.
type connection struct {
	store   *Store
	options Options // with what the sentinels take
	attempt int     // how many came before it with the same first address

	// ctx ends when the connection is left. Then its sockets are closed, so that
	// nothing that waits for an answer, or for a socket, hangs.
	ctx    context.Context
	cancel context.CancelFunc

	client rueidis.Client

	// waiting is the client for writes that wait for a replica, made when the
	// first one is. Waiting holds up a whole socket.
	waiting   rueidis.Client
	waitingMu sync.Mutex
	turns     chan struct{} // has one for each such write

	reached  sync.Map // the addresses where sockets have led, by what was dialed
	server   server
	trust    trust
	opened   atomic.Bool   // the server was checked, over the first socket
	replicas atomic.Bool   // the server has some
	replaced atomic.Bool   // a write has met another server at the same address
	wake     chan struct{} // has one when the server is to be asked at once

	// wantsPassword is set when somebody refused to talk without one.
	wantsPassword atomic.Bool
}

func (s *Store) newConnection() *connection {
	c := &connection{store: s, options: s.options, wake: make(chan struct{}, 1), turns: make(chan struct{}, maxWaiting)}
	// Each attempt begins with another address: sentinels that swallow everything
	// must not use up its time again and again.
	n := s.failures % len(s.options.Addresses)
	c.attempt = s.failures / len(s.options.Addresses)
	c.options.Addresses = slices.Concat(s.options.Addresses[n:], s.options.Addresses[:n])
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	return c
}

// open connects and looks at what it finds. Whoever calls it closes c, also when
// it fails.
func (c *connection) open() (err error) {
	defer func() {
		// The client takes some answers apart without a look at their size.
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v", errNotProtocol, cause)
		}
	}()
	c.client, err = c.newClient(c.options.tracking(c.invalidated), c.dialAgain)
	if err != nil && c.options.asksSentinelsWithout() && c.wantsPassword.Load() {
		// Most sentinels want no password, and refuse a user whom they do not know.
		// The others often have the server's.
		c.options.SentinelUsername, c.options.SentinelPassword = c.options.Username, c.options.Password
		if c.client, err = c.newClient(c.options.tracking(c.invalidated), c.dialAgain); err != nil {
			err = fmt.Errorf("with the server's password for the sentinels, as they want one: %w", err)
		}
	}
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	c.opened.Store(true)
	return nil
}

func (c *connection) newClient(options rueidis.ClientOption, dial dialFunc) (client rueidis.Client, err error) {
	defer func() {
		// The client takes some answers apart without a look at their size.
		if cause := recover(); cause != nil {
			client, err = nil, fmt.Errorf("%w: %v", errNotProtocol, cause)
		}
	}()
	options.DialCtxFn = dial
	client, err = rueidis.NewClient(options)
	if err != nil {
		if client != nil {
			client.Close()
		}
		return nil, err
	}
	return client, nil
}

// close leaves the connection; calls under way end.
func (c *connection) close() {
	c.cancel()
	if c.client != nil {
		c.client.Close()
	}
	c.waitingMu.Lock()
	defer c.waitingMu.Unlock()
	if c.waiting != nil {
		c.waiting.Close()
	}
}

// waitingClient is a client without tracking: each of its sockets would else be
// told of everything, and tell of a loss when it closes.
func (c *connection) waitingClient() (rueidis.Client, error) {
	c.waitingMu.Lock()
	defer c.waitingMu.Unlock()
	if c.waiting == nil {
		client, err := c.newClient(c.options.waiting(), c.dial)
		if err != nil {
			return nil, err
		}
		c.waiting = client
	}
	return c.waiting, nil
}

// run runs a script on this connection, whether calls use it yet or not.
func (c *connection) run(ctx context.Context, x *script, keys, args []string) (rueidis.RedisMessage, error) {
	m, err := c.client.Do(ctx, x.byDigest(c.client.B(), keys, args)).ToMessage()
	if unknownScript(err) {
		m, err = c.client.Do(ctx, x.byText(c.client.B(), keys, args)).ToMessage()
	}
	return m, err
}

// ask has the keeper look at the server at once.
func (c *connection) ask() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
