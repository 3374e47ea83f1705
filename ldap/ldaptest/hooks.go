package ldaptest

import (
	"io"
	"time"
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
