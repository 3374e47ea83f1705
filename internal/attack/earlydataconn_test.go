package attack

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"
)

// earlydataConn is the client's socket. What the server sends is held back until
// the request is on its way, and from then on what the client sends is, until it
// may end the handshake: so the request stays early data for as long as the
// server has it. An attacker who sends a recorded request again, without the
// keys, comes no further either.
type earlydataConn struct {
	net.PacketConn
	release chan struct{} // closed when what came in may be read

	mu       sync.Mutex
	lastSent time.Time
	silent   bool     // nothing goes out
	held     [][]byte // what did not
}

func (c *earlydataConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, addr, err := c.PacketConn.ReadFrom(p)
	if err == nil {
		<-c.release
	}
	return n, addr, err
}

func (c *earlydataConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent {
		c.held = append(c.held, bytes.Clone(p))
		return len(p), nil
	}
	c.lastSent = time.Now()
	return c.PacketConn.WriteTo(p, addr)
}

// hush keeps back what the client sends from now on.
func (c *earlydataConn) hush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = true
}

// speak sends what was kept back, and all from now on.
func (c *earlydataConn) speak(addr net.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = false
	for _, datagram := range c.held {
		_, _ = c.PacketConn.WriteTo(datagram, addr)
	}
	c.held = nil
}

// SetReadBuffer and SetWriteBuffer spare the test a complaint of quic-go's.
func (c *earlydataConn) SetReadBuffer(int) error  { return nil }
func (c *earlydataConn) SetWriteBuffer(int) error { return nil }

// waitUntilSent waits until what the client had to say at a time went out: the
// next datagram has it, and others that belong to it follow at once.
func (c *earlydataConn) waitUntilSent(ctx context.Context, said time.Time) {
	for ctx.Err() == nil {
		c.mu.Lock()
		last := c.lastSent
		c.mu.Unlock()
		if !last.Before(said) && time.Since(last) > 200*time.Millisecond {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
