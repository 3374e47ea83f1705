package attack

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// directoryWiretap forwards connections to a server and keeps what clients send.
type directoryWiretap struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	// answer, if it is not nil, takes the place of the server.
	answer func(net.Conn)

	mu   sync.Mutex
	sent bytes.Buffer
	open []net.Conn
}

func directoryTap(t *testing.T, target string, answer func(net.Conn)) *directoryWiretap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &directoryWiretap{listener: listener, target: target, answer: answer}
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		w.mu.Lock()
		for _, conn := range w.open {
			_ = conn.Close()
		}
		w.mu.Unlock()
		w.wg.Wait()
	})
	return w
}

func (w *directoryWiretap) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.keep(client)
		w.wg.Go(func() {
			defer client.Close()
			if w.answer != nil {
				w.answer(directoryRecorded{client, w})
				return
			}
			server, err := net.Dial("tcp", w.target)
			if err != nil {
				return
			}
			defer server.Close()
			w.keep(server)
			w.wg.Go(func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
			})
			_, _ = io.Copy(server, directoryRecorded{client, w})
		})
	}
}

func (w *directoryWiretap) keep(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, conn)
}

// addr is the host and port to use in the place of the server's.
func (w *directoryWiretap) addr() string { return w.listener.Addr().String() }

// connections is how many were made.
func (w *directoryWiretap) connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.open)
}

// carried tells whether clients sent a text readable.
func (w *directoryWiretap) carried(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Contains(w.sent.Bytes(), []byte(text))
}

type directoryRecorded struct {
	net.Conn
	tap *directoryWiretap
}

func (r directoryRecorded) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.tap.mu.Lock()
	defer r.tap.mu.Unlock()
	r.tap.sent.Write(b[:n])
	return n, err
}

// directoryTapped is a demonstration directory behind a wire tap.
func directoryTapped(t *testing.T, options ...ldaptest.Option) (*ldaptest.Server, *directoryWiretap) {
	t.Helper()
	server, err := ldaptest.Start("127.0.0.1:0", ldaptest.Demo(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return server, directoryTap(t, server.Addr(), nil)
}
