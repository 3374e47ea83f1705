package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// maxReplyBytes bounds one answer, and all answers of one connection. A token
// of 1,700 groups has 50 KB; without a bound, one length field makes the
// decoder take 2 GiB.
const (
	maxReplyBytes   = 16 << 20
	maxReplyNesting = 64
)

// The decoder's bounds are variables of its package: there is no other way, and
// nothing that speaks LDAP needs more.
func init() {
	ber.MaxPacketLengthBytes = maxReplyBytes
	ber.MaxNestingDepth = maxReplyNesting
}

var errReplyTooBig = fmt.Errorf("the server sent more than %d bytes", maxReplyBytes)

// connection is one connection to a server, for one sign-in or one refresh.
// Only one goroutine uses it; the end of ctx closes it at once.
type connection struct {
	ctx       context.Context
	server    server
	raw       net.Conn
	ldap      *goldap.Conn
	stop      func() bool
	operation time.Duration
	heard     bool // the server has answered something
}

// dial connects, TLS included, within the dial limit.
func (d *Directory) dial(ctx context.Context, s server) (*connection, error) {
	dialCtx, cancel := context.WithTimeout(ctx, d.limits.dial)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	raw, err := dialer.DialContext(dialCtx, "tcp", s.address)
	if err != nil {
		return nil, &transportError{doing: "connecting", err: err}
	}
	c := &connection{ctx: ctx, server: s, raw: raw, operation: d.limits.operation}
	// Closing the socket is the one thing that ends whatever go-ldap does in
	// whatever goroutine, a blocked write included.
	c.stop = context.AfterFunc(ctx, func() { raw.Close() })
	secured, err := d.secure(dialCtx, s, &meteredConn{Conn: raw})
	if err != nil {
		c.stop()
		raw.Close()
		return nil, &transportError{doing: "connecting", err: err}
	}
	c.ldap = goldap.NewConn(secured, s.implicit || s.startTLS)
	c.ldap.SetTimeout(c.operation)
	c.ldap.Start()
	return c, nil
}

// secure does the TLS handshake where the server's URL or start_tls wants one.
func (d *Directory) secure(ctx context.Context, s server, conn net.Conn) (net.Conn, error) {
	if !s.implicit && !s.startTLS {
		return conn, nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if s.startTLS {
		if err := requestStartTLS(conn); err != nil {
			return nil, err
		}
	}
	secured := tls.Client(conn, &tls.Config{
		ServerName: s.host,
		RootCAs:    d.config.RootCAs,
		MinVersion: tls.VersionTLS12,
	})
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, describeTLS(s, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return secured, nil
}

// close ends the connection. It waits for nothing longer than a second, even
// when the peer takes no more data.
func (c *connection) close() {
	c.stop()
	c.raw.SetDeadline(time.Now().Add(time.Second))
	c.ldap.SetTimeout(time.Second)
	c.ldap.Close()
}

// bind sends a simple bind. After an error the connection's identity is
// unknown (Samba keeps the old one), so it must not be used again.
func (c *connection) bind(name, password string) error {
	return c.do("binding", func() error { return c.ldap.Bind(name, password) })
}

// search returns the entries, and with errTooMany those that came before the
// limit was reached. Referrals are ignored: following one would let a server
// send this one's credentials elsewhere.
func (c *connection) search(base string, scope, limit int, filter string, attributes ...string) ([]*goldap.Entry, error) {
	request := goldap.NewSearchRequest(base, scope, goldap.NeverDerefAliases, limit, int(c.operation/time.Second), false, filter, attributes, nil)
	request.EnforceSizeLimit = true // Samba ignores the limit that is sent
	var entries []*goldap.Entry
	err := c.do("searching", func() error {
		result, err := c.ldap.Search(request)
		if result != nil {
			entries = result.Entries
		}
		return err
	})
	if err != nil && !errors.Is(err, errTooMany) {
		return nil, err
	}
	return entries, err
}

// do runs one operation under its time limit. go-ldap decodes answers in the
// caller's goroutine and has had panics there, so that a hostile server could
// end the process: a panic is a transport error like any other.
func (c *connection) do(doing string, operation func() error) (err error) {
	timeout := c.operation
	if deadline, ok := c.ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	if err := c.ctx.Err(); err != nil || timeout <= 0 {
		return &transportError{doing: doing, err: context.DeadlineExceeded}
	}
	c.ldap.SetTimeout(timeout)
	defer func() {
		if p := recover(); p != nil {
			err = &transportError{doing: doing, err: fmt.Errorf("the answer made the decoder panic: %v", p)}
		}
	}()
	err = wireError(doing, operation())
	var transport *transportError
	if !errors.As(err, &transport) {
		c.heard = true
		return err
	}
	if !c.heard && !c.server.implicit && !c.server.startTLS && c.ctx.Err() == nil {
		transport.err = fmt.Errorf("%w (wrong scheme for this port? ldap:// is mostly port 389; for port 636 write ldaps://)", transport.err)
	}
	return transport
}

// meteredConn ends a connection whose server sends more than anybody asked for.
type meteredConn struct {
	net.Conn
	read atomic.Int64
}

func (m *meteredConn) Read(p []byte) (int, error) {
	if m.read.Load() > maxReplyBytes {
		return 0, errReplyTooBig
	}
	n, err := m.Conn.Read(p)
	m.read.Add(int64(n))
	return n, err
}
