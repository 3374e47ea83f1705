package ldaptest

import (
	"io"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// Stage is a point at which a server can be made to fall silent, as a
// half-dead one does: it goes on reading and never answers.
type Stage int32

const (
	StallNever    Stage = iota
	StallConnect        // accepts, and then nothing, the TLS handshake included
	StallStartTLS       // agrees to StartTLS, and then nothing
	StallBind
	StallSearch
)

// Stall makes the server fall silent at a stage, for connections that reach it
// from now on. StallNever heals it.
func (s *Server) Stall(at Stage) { s.stall.Store(int32(at)) }

// Delay makes the server wait before each answer.
func (s *Server) Delay(d time.Duration) { s.delay.Store(int64(d)) }

// Request is a bind or search request as it came in.
type Request struct {
	Connection int    // 1, 2, … in the order in which they were made
	Bind       bool   // else a search
	Name       string // of a bind; of a search its base
	Filter     string // of a search
}

// Fault is what a server does in the place of answering one request; the zero
// value is none.
type Fault struct {
	Silent bool // it goes on reading, and never answers on this connection
	HangUp bool

	Nothing bool // a search succeeds, and finds nothing

	// Code and Diagnostic are a result to give, Code 0 for none.
	Code       int
	Diagnostic string
}

// Observe has f see every bind and search from now on, before it is carried
// out, and decide what goes wrong with it. f is called by the goroutine of the
// request's connection; nil ends it.
func (s *Server) Observe(f func(Request) Fault) {
	if f == nil {
		s.observer.Store(nil)
		return
	}
	s.observer.Store(&f)
}

// observe tells what goes wrong with a request.
func (c *conn) observe(bind bool, op *ber.Packet) Fault {
	f := c.server.observer.Load()
	if f == nil {
		return Fault{}
	}
	r := Request{Connection: c.number, Bind: bind}
	if bind {
		if len(op.Children) > 1 {
			r.Name = text(op.Children[1])
		}
		return (*f)(r)
	}
	if q, ok := parseQuery(op); ok {
		r.Name = q.base
		r.Filter, _ = goldap.DecompileFilter(q.filter)
	}
	return (*f)(r)
}

// HangUp ends all connections, as a server that restarts does.
func (s *Server) HangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Close()
	}
}

// Open is how many connections there are now, and MostOpen how many there have
// been at the same time.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func (s *Server) MostOpen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mostOpen
}

// Binds is how many bind requests came in, anonymous ones included.
func (s *Server) Binds() int { return int(s.binds.Load()) }

// Searches is how many search requests came in, the rootDSE's included.
func (s *Server) Searches() int { return int(s.searches.Load()) }

// Connections is how many connections were served.
func (s *Server) Connections() int { return int(s.connections.Load()) }

func (s *Server) stalled(at Stage) bool { return Stage(s.stall.Load()) == at }

// wait delays an answer; false means that the server is closing.
func (s *Server) wait() bool {
	d := time.Duration(s.delay.Load())
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.done:
		return false
	case <-t.C:
		return true
	}
}

// silence reads and answers nothing until the peer or Close ends it.
func (c *conn) silence() {
	c.raw.SetReadDeadline(time.Time{})
	io.Copy(io.Discard, c.raw)
}
