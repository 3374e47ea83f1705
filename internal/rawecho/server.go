package rawecho

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// limit bounds a request that a test lets through.
const limit = 8 << 20

// Server is a running upstream.
type Server struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]struct{}
	requests []Request
	answer   func(Request) string
}

// Start runs an upstream until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{listener: listener, conns: map[net.Conn]struct{}{}}
	s.wg.Add(1)
	go s.accept()
	t.Cleanup(s.close)
	return s
}

// Addr is the host and port that the upstream listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Answer sets the answer from now on: for HTTP/1 all its bytes; for HTTP/2 those
// that an HTTP/1 answer would have, of which status, header and body count. Nil,
// or an answer of "", is 200 with the text "upstream " and the target.
func (s *Server) Answer(answer func(Request) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// Requests returns what has come in so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Count is how many requests have come in.
func (s *Server) Count() int { return len(s.Requests()) }

// Last returns the newest request.
func (s *Server) Last(t testing.TB) Request {
	t.Helper()
	requests := s.Requests()
	if len(requests) == 0 {
		t.Fatal("nothing reached the upstream")
	}
	return requests[len(requests)-1]
}

// Forget drops what has come in.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

func (s *Server) close() {
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	_ = s.listener.Close()
	s.wg.Wait()
}

func (s *Server) accept() {
	defer s.wg.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.wg.Add(1)
		s.mu.Unlock()
		go s.serve(conn)
	}
}

func (s *Server) serve(conn net.Conn) {
	defer s.wg.Done()
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	in := bufio.NewReader(conn)
	if start, _ := in.Peek(len(http2.ClientPreface)); string(start) == http2.ClientPreface {
		_, _ = in.Discard(len(start))
		s.serveHTTP2(conn, in)
		return
	}
	for s.serveOne(conn, in) {
	}
}

// serveOne answers one HTTP/1 request. It is false when the connection is over.
func (s *Server) serveOne(conn net.Conn, in *bufio.Reader) bool {
	r, err := readRequest(in)
	if err != nil {
		return false
	}
	text := s.take(r)
	if _, err := io.WriteString(conn, text); err != nil {
		return false
	}
	if strings.HasPrefix(text, "HTTP/1.1 101") {
		// What follows is the other protocol's: it is sent back as it comes.
		_, _ = io.Copy(conn, in)
		return false
	}
	return strings.Contains(strings.ToLower(text), "\r\ncontent-length:") && r.Method() != "CONNECT"
}

// take notes a request and returns its answer.
func (s *Server) take(r Request) string {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if text := answer(r); text != "" {
			return text
		}
	}
	body := "upstream " + r.Target()
	if r.Method() == "HEAD" {
		body = ""
	}
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// readRequest reads a request to its end: a length, chunks, or nothing.
func readRequest(in *bufio.Reader) (Request, error) {
	r := Request{Protocol: 1}
	raw := &recorder{in: in}
	var err error
	if r.Line, err = raw.line(); err != nil {
		return r, err
	}
	if r.Header, err = raw.fields(); err != nil {
		return r, err
	}
	switch {
	case len(valuesOf(r.Header, "Transfer-Encoding")) > 0:
		if r.Body, err = raw.chunks(); err == nil {
			r.Trailer, err = raw.fields()
		}
	case len(valuesOf(r.Header, "Content-Length")) > 0:
		var n int
		if n, err = strconv.Atoi(valuesOf(r.Header, "Content-Length")[0]); err == nil {
			r.Body, err = raw.bytes(n)
		}
	}
	r.Raw = raw.read.String()
	return r, err
}

// recorder reads, and keeps what it has read.
type recorder struct {
	in   *bufio.Reader
	read strings.Builder
}

func (r *recorder) line() (string, error) {
	text, err := r.in.ReadString('\n')
	r.read.WriteString(text)
	return strings.TrimRight(text, "\r\n"), err
}

func (r *recorder) fields() ([]Field, error) {
	var fields []Field
	for {
		line, err := r.line()
		if err != nil || line == "" {
			return fields, err
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, Field{name, strings.Trim(value, " \t")})
	}
}

func (r *recorder) bytes(n int) (string, error) {
	if n < 0 || n > limit {
		return "", fmt.Errorf("a body of %d bytes", n)
	}
	body := make([]byte, n)
	n, err := io.ReadFull(r.in, body)
	r.read.Write(body[:n])
	return string(body[:n]), err
}

func (r *recorder) chunks() (string, error) {
	var body strings.Builder
	for {
		line, err := r.line()
		if err != nil {
			return body.String(), err
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseInt(strings.TrimSpace(size), 16, 32)
		if err != nil || n == 0 {
			return body.String(), err
		}
		chunk, err := r.bytes(int(n))
		body.WriteString(chunk)
		if err != nil || body.Len() > limit {
			return body.String(), err
		}
		if _, err := r.line(); err != nil {
			return body.String(), err
		}
	}
}

// idle is how long an HTTP/2 connection is kept without a frame.
const idle = time.Minute
