package ldaptest

import (
	"bufio"
	"crypto/tls"
	"net"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// conn is one client's connection. Only its own goroutine touches it.
type conn struct {
	server *Server
	number int
	raw    net.Conn // for deadlines
	net    net.Conn // raw, or the TLS connection on it
	reader *bufio.Reader
	tls    bool
	bound  *entry // nil: anonymous
	tree   *tree  // that of the request in hand
}

// upgrade starts TLS; false means that it failed.
func (c *conn) upgrade(config *tls.Config) bool {
	t := tls.Server(c.raw, config)
	c.raw.SetDeadline(time.Now().Add(writeTimeout))
	if err := t.Handshake(); err != nil {
		return false
	}
	c.raw.SetDeadline(time.Time{})
	c.net, c.tls = t, true
	return true
}

// handle answers one request; false ends the connection.
func (c *conn) handle(p *ber.Packet) bool {
	if len(p.Children) < 2 {
		return false
	}
	id, ok := p.Children[0].Value.(int64)
	op := p.Children[1]
	if !ok || id <= 0 || op.ClassType != ber.ClassApplication {
		return false
	}
	c.tree = c.server.tree.Load()
	if op.Tag == opUnbindRequest {
		return false
	}
	if op.Tag == opAbandonRequest {
		return true
	}
	if !c.server.wait() {
		return false
	}
	if len(p.Children) > 2 && op.Tag != opBindRequest && critical(p.Children[2]) {
		if tag, ok := responseTag(op.Tag); ok {
			return c.send(id, response(tag, result{code: goldap.LDAPResultUnavailableCriticalExtension, diagnostic: "critical control not supported"}))
		}
	}
	switch op.Tag {
	case opBindRequest:
		c.server.binds.Add(1)
		fault := c.observe(true, op)
		switch {
		case c.server.stalled(StallBind), fault.Silent:
			c.silence()
			return false
		case fault.HangUp:
			return false
		case fault.Code != 0:
			return c.send(id, response(opBindResponse, result{code: int64(fault.Code), diagnostic: fault.Diagnostic}))
		}
		answer, controls := c.bindWithPolicy(op, p)
		return c.send(id, response(opBindResponse, answer), controls...)
	case opSearchRequest:
		c.server.searches.Add(1)
		fault := c.observe(false, op)
		switch {
		case c.server.stalled(StallSearch), fault.Silent:
			c.silence()
			return false
		case fault.HangUp:
			return false
		case fault.Code != 0:
			return c.send(id, response(opSearchDone, result{code: int64(fault.Code), diagnostic: fault.Diagnostic}))
		case fault.Nothing:
			return c.send(id, response(opSearchDone, result{}))
		}
		return c.search(id, op)
	case opExtendedRequest:
		return c.extended(id, op)
	}
	if tag, ok := responseTag(op.Tag); ok {
		return c.send(id, response(tag, result{code: goldap.LDAPResultUnwillingToPerform, diagnostic: "the directory is read-only"}))
	}
	bye := response(opExtendedResponse, result{code: goldap.LDAPResultProtocolError, diagnostic: "unknown operation"})
	bye.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 10, oidNoticeDisconnect, "responseName"))
	c.send(0, bye)
	return false
}

// responseTag is the answer's tag of requests that have one.
func responseTag(request ber.Tag) (ber.Tag, bool) {
	switch request {
	case opSearchRequest:
		return opSearchDone, true
	case opModifyRequest, opAddRequest, opDeleteRequest, opModifyDNRequest, opCompareRequest, opExtendedRequest:
		return request + 1, true
	default:
		return 0, false
	}
}

// critical tells whether the client insists on any control: none is known here.
func critical(controls *ber.Packet) bool {
	for _, control := range controls.Children {
		for _, part := range control.Children {
			if part.ClassType == ber.ClassUniversal && part.Tag == ber.TagBoolean && part.Value == true {
				return true
			}
		}
	}
	return false
}

// extended knows StartTLS. Who-am-I is refused as Samba does it, so that no
// client comes to rely on it.
func (c *conn) extended(id int64, op *ber.Packet) bool {
	oid := ""
	if len(op.Children) > 0 {
		oid = text(op.Children[0])
	}
	config := c.server.startTLS
	if oid != oidStartTLS || config == nil || c.tls {
		return c.send(id, response(opExtendedResponse, result{code: goldap.LDAPResultProtocolError, diagnostic: "Extended Operation(" + printable(oid) + ") not supported"}))
	}
	// Plain text that was sent ahead must not be taken for protected data.
	if c.reader.Buffered() > 0 {
		return false
	}
	yes := response(opExtendedResponse, result{})
	yes.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 10, oidStartTLS, "responseName"))
	if !c.send(id, yes) {
		return false
	}
	if c.server.stalled(StallStartTLS) {
		c.silence()
		return false
	}
	if !c.upgrade(config) {
		return false
	}
	c.reader = bufio.NewReader(c.net)
	c.bound = nil
	return true
}

func (c *conn) send(id int64, op *ber.Packet, controls ...*ber.Packet) bool {
	c.raw.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.net.Write(message(id, op, controls...).Bytes())
	return err == nil
}

// printable keeps a client's bytes from making an answer unreadable.
func printable(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	b := []byte(s)
	for i := range b {
		if b[i] < ' ' || b[i] > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
