package netfault

import (
	"net"
	"sync"
	"testing"
)

// Stalled is a server that accepts every connection, reads what comes and
// never sends a byte: the half-dead domain controller of which a dial and a
// health check by TCP say that it is well.
type Stalled struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	conns    []net.Conn
	accepted int
}

// NewStalled listens on a free loopback port until the test ends.
func NewStalled(t testing.TB) *Stalled {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listening for a stalled server: %v", err)
	}
	s := &Stalled{listener: listener}
	s.wg.Add(1)
	go s.accept()
	t.Cleanup(s.close)
	return s
}

// Addr is the host:port to dial.
func (s *Stalled) Addr() string { return s.listener.Addr().String() }

// Connections counts those accepted since the start.
func (s *Stalled) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

func (s *Stalled) accept() {
	defer s.wg.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.accepted++
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
		// Reading keeps the client's writes from blocking on a full window:
		// only the answer is missing.
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			buf := make([]byte, 4096)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
			}
		}()
	}
}

func (s *Stalled) close() {
	s.listener.Close()
	s.mu.Lock()
	for _, conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}
