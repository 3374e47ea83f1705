package redisstore

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

type dialFunc = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error)

// dialAgain is dial for the client that is told of changes. That it opens another
// socket means that it has lost one, which it tells of only a moment later.
func (c *connection) dialAgain(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	if c.opened.Load() && c.elsewhere() {
		c.trust.lose()
		c.ask()
	}
	return c.dial(ctx, address, dialer, config)
}

// dial connects as the client itself does. The socket lives no longer than the
// connection.
func (c *connection) dial(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	if dialer.Timeout > 0 {
		// For all of it: the name, each of its addresses, and TLS.
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, dialer.Timeout)
		defer stop()
	}
	conn, err := c.dialReached(ctx, address, dialer)
	if err != nil {
		return nil, err
	}
	if config != nil {
		if config.ServerName == "" {
			config = config.Clone()
			if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
				conn.Close()
				return nil, err
			}
		}
		encrypted := tls.Client(conn, config)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = encrypted
	}
	forget := context.AfterFunc(c.ctx, func() { conn.Close() })
	return newWatched(conn, &c.wantsPassword, forget), nil
}

// dialReached first tries where an earlier socket of the connection has led: those
// that follow are for writes that wait for a replica, which must not wait for a name
// server too. That it is still the same server is looked at (wait.go).
func (c *connection) dialReached(ctx context.Context, address string, dialer *net.Dialer) (net.Conn, error) {
	if at, ok := c.reached.Load(address); ok {
		share, cancel := context.WithTimeout(ctx, dialer.Timeout/2)
		conn, err := dialer.DialContext(share, "tcp", at.(string))
		cancel()
		if err == nil {
			return conn, nil
		}
		c.reached.Delete(address)
	}
	conn, err := c.dialEach(ctx, address, dialer)
	if err == nil {
		c.reached.Store(address, conn.RemoteAddr().String())
	}
	return conn, err
}

// dialEach tries the addresses of a name one after the other, each for its share of
// the time that is left. Each attempt to connect begins with another one: one that
// swallows everything must not use up the time again and again.
func (c *connection) dialEach(ctx context.Context, address string, dialer *net.Dialer) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	found, err := c.store.find(ctx, host, dialer.Resolver)
	if err != nil {
		return nil, err
	}
	var failed error
	for i := range found {
		at := (c.attempt + i) % len(found)
		share := ctx
		cancel := func() {}
		if end, ok := ctx.Deadline(); ok {
			share, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(len(found)-i))
		}
		conn, err := dialer.DialContext(share, "tcp", net.JoinHostPort(found[at], port))
		cancel()
		if err == nil {
			return conn, nil
		}
		if at == 0 {
			// Not that of the first one tried: each attempt would give another reason.
			failed = err
		}
	}
	return nil, failed
}
