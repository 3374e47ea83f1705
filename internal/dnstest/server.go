package dnstest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// maxUDP is the longest answer over UDP; resolvers ask again over TCP for what
// is longer.
const maxUDP = 1232

// Server answers for the names that it was given. Names are those of DNS, with
// or without the dot at the end, in any case. It is safe for concurrent use.
type Server struct {
	packets net.PacketConn
	streams net.Listener
	wg      sync.WaitGroup

	mu      sync.Mutex
	srv     map[string][]net.SRV
	hosts   map[string][]netip.Addr
	failing map[string]bool // "" stands for every name
	silent  bool
	asked   map[string]int
	conns   map[net.Conn]struct{} // nil: closed
}

// New listens until the test ends. It knows no name.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		srv:     make(map[string][]net.SRV),
		hosts:   make(map[string][]netip.Addr),
		failing: make(map[string]bool),
		asked:   make(map[string]int),
		conns:   make(map[net.Conn]struct{}),
	}
	// Both have the same port, which may be taken for one of them.
	var err error
	for range 20 {
		if s.streams, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			break
		}
		if s.packets, err = net.ListenPacket("udp", s.streams.Addr().String()); err == nil {
			break
		}
		s.streams.Close()
	}
	if err != nil {
		t.Fatalf("listening for the name server: %v", err)
	}
	s.wg.Go(s.servePackets)
	s.wg.Go(s.serveStreams)
	t.Cleanup(s.close)
	return s
}

// Addr is the host:port of both UDP and TCP.
func (s *Server) Addr() string { return s.packets.LocalAddr().String() }

// Resolver asks this server, and no other, whatever the machine is set to.
func (s *Server) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Addr())
	}}
}

// SetSRV replaces the SRV records of a name. A name with neither SRV records nor
// addresses does not exist.
func (s *Server) SetSRV(name string, records ...net.SRV) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv[key(name)] = slices.Clone(records)
}

// SetA replaces the addresses of a name.
func (s *Server) SetA(name string, addrs ...netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[key(name)] = slices.Clone(addrs)
}

// Fail answers questions for these names with a server failure, or all
// questions where none is named. Resume ends it.
func (s *Server) Fail(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(names) == 0 {
		s.failing[""] = true
	}
	for _, name := range names {
		s.failing[key(name)] = true
	}
}

// Silence leaves every question without an answer. Resume ends it.
func (s *Server) Silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = true
}

// Resume ends Fail and Silence.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = false
	clear(s.failing)
}

// Asked counts the questions for a name since the start, those that were left
// without an answer included.
func (s *Server) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[key(name)]
}

func (s *Server) servePackets() {
	question := make([]byte, 64<<10)
	for {
		n, from, err := s.packets.ReadFrom(question)
		if err != nil {
			return
		}
		if answer := s.answer(question[:n], maxUDP); answer != nil {
			s.packets.WriteTo(answer, from)
		}
	}
}

func (s *Server) serveStreams() {
	for {
		conn, err := s.streams.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.conns == nil {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serveStream(conn)
			conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

// serveStream reads questions with their lengths before them (RFC 1035 4.2.2).
func (s *Server) serveStream(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(time.Minute))
	for {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, question); err != nil {
			return
		}
		answer := s.answer(question, 1<<16-1)
		if answer == nil {
			continue
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// answer is nil where there is none.
func (s *Server) answer(question []byte, limit int) []byte {
	var parser dnsmessage.Parser
	header, err := parser.Start(question)
	if err != nil || header.Response {
		return nil
	}
	asked, err := parser.Question()
	if err != nil {
		return nil
	}
	name := key(asked.Name.String())
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired},
		Questions: []dnsmessage.Question{asked},
	}
	s.mu.Lock()
	s.asked[name]++
	silent := s.silent
	switch {
	case s.failing[""] || s.failing[name]:
		reply.RCode = dnsmessage.RCodeServerFailure
	case len(s.srv[name]) == 0 && len(s.hosts[name]) == 0:
		reply.RCode = dnsmessage.RCodeNameError
	default:
		reply.Answers = s.records(asked, name)
	}
	s.mu.Unlock()
	if silent {
		return nil
	}
	packed, err := reply.Pack()
	if err == nil && len(packed) <= limit {
		return packed
	}
	reply.Answers, reply.Truncated = nil, true
	if packed, err = reply.Pack(); err != nil {
		return nil
	}
	return packed
}

// records needs mu. Those that cannot be written into a message are a mistake
// of the test, and left out.
func (s *Server) records(asked dnsmessage.Question, name string) []dnsmessage.Resource {
	var records []dnsmessage.Resource
	add := func(body dnsmessage.ResourceBody) {
		records = append(records, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: asked.Name, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   body,
		})
	}
	switch asked.Type {
	case dnsmessage.TypeSRV:
		for _, r := range s.srv[name] {
			target := r.Target
			if !strings.HasSuffix(target, ".") {
				target += "."
			}
			if packed, err := dnsmessage.NewName(target); err == nil {
				add(&dnsmessage.SRVResource{Priority: r.Priority, Weight: r.Weight, Port: r.Port, Target: packed})
			}
		}
	case dnsmessage.TypeA:
		for _, addr := range s.hosts[name] {
			if addr.Is4() {
				add(&dnsmessage.AResource{A: addr.As4()})
			}
		}
	case dnsmessage.TypeAAAA:
		for _, addr := range s.hosts[name] {
			if addr.Is6() {
				add(&dnsmessage.AAAAResource{AAAA: addr.As16()})
			}
		}
	}
	return records
}

func (s *Server) close() {
	s.packets.Close()
	s.streams.Close()
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.wg.Wait()
}

func key(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
