package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// A message of the smallest parts takes the decoder 90 times its size, and
// without a bound one length field makes it take 2 GiB. A token of 1,700 groups
// has 50 KB; an entry with the DNs of 1,000 groups mostly less than 200 KB.
const (
	maxMessageBytes = 1 << 20
	maxReplyBytes   = 16 << 20 // all messages of one answer
	maxReplyNesting = 64
)

// The decoder's bounds are variables of its package: there is no other way, and
// nothing that speaks LDAP needs more.
func init() {
	ber.MaxPacketLengthBytes = maxMessageBytes
	ber.MaxNestingDepth = maxReplyNesting
}

var errReplyTooBig = fmt.Errorf("the server sent more than %d bytes", maxReplyBytes)

// connection is one connection to a server. One goroutine uses it at a time;
// the end of the context that it is lent to closes it at once.
type connection struct {
	server    server
	raw       net.Conn
	meter     *meteredConn
	ldap      *goldap.Conn
	operation time.Duration
	opened    time.Time
	maxAge    time.Duration
	idleSince time.Time // under the pool's lock
	root      rootFacts

	// Of the use that is under way.
	ctx  context.Context
	stop func() bool

	heard  bool // the server has answered something
	broken bool // it is of no further use

	// bound is whom the server takes the other side for; "" is nobody. After a
	// bind that failed that is not known: Samba keeps the old identity, and slapd
	// may have taken on the new one. Then the connection is not used again: an
	// anonymous bind would clear it, but not every server allows one.
	bound      string
	bindFailed bool
}

// dial connects, TLS included, and reads the rootDSE: a server that does not
// answer is found out before anybody relies on it, and others close
// connections on which nothing was asked (InitRecvTimeout, 120 s on AD). All of
// it within the dial limit.
func (d *Directory) dial(ctx context.Context, s server) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, d.limits.dial)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	raw, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, &transportError{doing: "connecting", err: err}
	}
	c := &connection{
		server: s, raw: raw, meter: &meteredConn{Conn: raw},
		operation: d.limits.operation, opened: time.Now(), maxAge: d.limits.age,
	}
	c.lend(ctx)
	secured, err := d.secure(ctx, s, c.meter)
	if err != nil {
		c.stop()
		raw.Close()
		return nil, &transportError{doing: "connecting", err: err}
	}
	c.ldap = goldap.NewConn(secured, s.implicit || s.startTLS)
	c.ldap.SetTimeout(c.operation)
	c.ldap.Start()
	err = c.readRoot()
	if err == nil && !c.takeBack() {
		// The time ended with the last answer, and has closed the socket.
		err = &transportError{doing: "connecting", err: context.Cause(ctx)}
	}
	if err != nil {
		c.stop()
		c.close()
		return nil, err
	}
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
		ServerName:   s.host,
		RootCAs:      d.config.RootCAs,
		Certificates: d.certificates,
		MinVersion:   tls.VersionTLS12,
	})
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, describeTLS(s, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return secured, nil
}

// lend begins a use. Closing the socket is the one thing that ends whatever
// go-ldap does in whatever goroutine, a blocked write included.
func (c *connection) lend(ctx context.Context) {
	c.ctx = ctx
	c.stop = context.AfterFunc(ctx, func() { c.raw.Close() })
}

// takeBack ends a use, and tells whether the connection is good for another one.
func (c *connection) takeBack() (ok bool) {
	return c.stop() && !c.broken && !c.bindFailed
}

// close ends the connection. It waits for nothing longer than a second, even
// when the peer takes no more data.
func (c *connection) close() {
	// TLS sets a deadline of its own for its last words.
	cut := time.AfterFunc(time.Second, func() { c.raw.Close() })
	defer cut.Stop()
	c.raw.SetDeadline(time.Now().Add(time.Second))
	c.ldap.SetTimeout(time.Second)
	c.ldap.Close()
}

// tooOld tells whether the connection has served its time: servers are drained
// and load balancers reconfigured.
func (c *connection) tooOld(now time.Time) bool { return now.Sub(c.opened) >= c.maxAge }

// alive asks the server for a sign of life unless it gave one a moment ago. A
// firewall that forgot the connection would swallow a password in silence.
func (c *connection) alive(within time.Duration) bool {
	if c.ldap.IsClosing() {
		return false
	}
	if time.Since(c.idleSince) < freshAnswer {
		return true
	}
	operation := c.operation
	defer func() { c.operation = operation }()
	c.operation = min(operation, within)
	_, err := c.search("", goldap.ScopeBaseObject, 1, "(objectClass=*)", "1.1")
	var transport *transportError
	return !errors.As(err, &transport)
}

// freshAnswer is how long a connection that answered is taken for alive.
const freshAnswer = 250 * time.Millisecond

// bind sends a simple bind. policy is what the server says of the password
// beside the result; it is asked for that where withPolicy is set.
func (c *connection) bind(name, password string, withPolicy bool) (policy policyAnswer, err error) {
	request := &goldap.SimpleBindRequest{Username: name, Password: password}
	if withPolicy {
		request.Controls = []goldap.Control{policyRequest()}
	}
	c.bound, c.bindFailed = "", true
	policy = noPolicy()
	err = c.do("binding", func() error {
		result, err := c.ldap.SimpleBind(request)
		if result != nil && withPolicy {
			policy = readPolicy(result.Controls)
		}
		return err
	})
	if err == nil {
		c.bound, c.bindFailed = name, false
	}
	var result *resultError
	if errors.As(err, &result) && strings.Contains(result.diagnostic, password) {
		// The code in it decides; it may also be what looks like the password.
		result.diagnostic = strings.TrimSpace("[the server repeats the password] " + dataCode.FindString(result.diagnostic))
	}
	return policy, err
}

// search returns the entries, and with errTooMany those that came before the
// limit was reached. Referrals are ignored: following one would let a server
// send this one's credentials elsewhere.
func (c *connection) search(base string, scope, limit int, filter string, attributes ...string) ([]*goldap.Entry, error) {
	// The client keeps the time. What the server is told is later: Samba counts
	// by the tick of whole seconds, and gives up on a limit of one within
	// milliseconds.
	seconds := int(c.operation/time.Second) + 2
	request := goldap.NewSearchRequest(base, scope, goldap.NeverDerefAliases, limit, seconds, false, filter, attributes, nil)
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
	if c.broken {
		return &transportError{doing: doing, err: net.ErrClosed}
	}
	if err := c.ctx.Err(); err != nil || timeout <= 0 {
		return &transportError{doing: doing, err: context.DeadlineExceeded}
	}
	c.ldap.SetTimeout(timeout)
	c.meter.read.Store(0)
	started := time.Now()
	defer func() {
		if p := recover(); p != nil {
			c.broken = true
			err = &transportError{doing: doing, err: fmt.Errorf("the answer made the decoder panic: %v", p)}
		}
	}()
	err = wireError(doing, operation())
	var transport *transportError
	if !errors.As(err, &transport) {
		c.heard = true
		return err
	}
	// go-ldap takes a late answer for one to the next question's place, or the
	// stream is broken: either way, nothing more may be read from it.
	c.broken = true
	transport.timedOut = time.Since(started) >= timeout
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
