package ldaptest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of the server; the idle times are those of a domain controller.
const (
	maxConnections = 256
	idleFirst      = 120 * time.Second // before the first request was answered
	idleLater      = 900 * time.Second
	writeTimeout   = 30 * time.Second
)

// Server is a running directory.
type Server struct {
	listener net.Listener
	implicit *tls.Config // ldaps
	startTLS *tls.Config
	tree     atomic.Pointer[tree]
	done     chan struct{}
	wg       sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]struct{}
	closed   bool
	mostOpen int
	observer atomic.Pointer[func(Request) Fault]

	binds, searches, connections atomic.Int64
	stall                        atomic.Int32
	delay                        atomic.Int64
	idleFirst, idleLater         time.Duration
}

// Option changes how a Server listens.
type Option func(*Server)

// WithTLS serves ldaps.
func WithTLS(config *tls.Config) Option { return func(s *Server) { s.implicit = config } }

// WithStartTLS offers the StartTLS operation on a plain listener.
func WithStartTLS(config *tls.Config) Option { return func(s *Server) { s.startTLS = config } }

// Start serves dir on a TCP address such as "127.0.0.1:0" until Close.
func Start(listenAddr string, dir Directory, options ...Option) (*Server, error) {
	s := &Server{done: make(chan struct{}), open: map[net.Conn]struct{}{}, idleFirst: idleFirst, idleLater: idleLater}
	for _, o := range options {
		o(s)
	}
	if err := s.Replace(dir); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", listenAddr)
	if err != nil {
		return nil, fmt.Errorf("starting directory: %w", err)
	}
	s.listener = l
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

// Addr is the host and port that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL is the address as directory clients want it.
func (s *Server) URL() string {
	if s.implicit != nil {
		return "ldaps://" + s.Addr()
	}
	return "ldap://" + s.Addr()
}

// Replace serves other content from now on. Identities and SIDs follow the
// order of users and groups: an account that keeps its place keeps both.
func (s *Server) Replace(dir Directory) error {
	t, err := newTree(dir)
	if err != nil {
		return err
	}
	s.tree.Store(t)
	return nil
}

// Close ends every connection and waits for all goroutines.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.wg.Wait()
		return nil
	}
	s.closed = true
	close(s.done)
	err := s.listener.Close()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *Server) accept() {
	defer s.wg.Done()
	for {
		c, err := s.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: waiting is what frees some.
			select {
			case <-s.done:
				return
			case <-time.After(50 * time.Millisecond):
				continue
			}
		}
		if !s.track(c) {
			c.Close()
			continue
		}
		number := int(s.connections.Add(1))
		go func() {
			defer s.wg.Done()
			defer s.untrack(c)
			s.serve(c, number)
		}()
	}
}

func (s *Server) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.open) >= maxConnections {
		return false
	}
	s.open[c] = struct{}{}
	s.mostOpen = max(s.mostOpen, len(s.open))
	s.wg.Add(1)
	return true
}

func (s *Server) untrack(c net.Conn) {
	c.Close()
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
}

// serve answers one connection's requests in their order.
func (s *Server) serve(raw net.Conn, number int) {
	if s.stalled(StallConnect) {
		io.Copy(io.Discard, raw)
		return
	}
	c := &conn{server: s, number: number, raw: raw, net: raw}
	if s.implicit != nil && !c.upgrade(s.implicit) {
		return
	}
	c.reader = bufio.NewReader(c.net)
	idle := s.idleFirst
	for {
		raw.SetReadDeadline(time.Now().Add(idle))
		p, err := readRequest(c.reader)
		if err != nil || !c.handle(p) {
			return
		}
		idle = s.idleLater
	}
}
