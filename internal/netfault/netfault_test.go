package netfault

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStalledAcceptsAndNeverAnswers(t *testing.T) {
	s := NewStalled(t)
	conn := dial(t, s.Addr())
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		t.Fatalf("writing: %v", err)
	}
	expectSilence(t, conn)
	if n := s.Connections(); n != 1 {
		t.Errorf("Connections() = %d, want 1", n)
	}
}

func TestProxyForwards(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	expectEcho(t, conn, "one\n")
	expectEcho(t, conn, "two\n")
	expectEcho(t, dial(t, p.Addr()), "three\n")
	if n := p.Connections(); n != 2 {
		t.Errorf("Connections() = %d, want 2", n)
	}
	if n := p.Open(); n != 2 {
		t.Errorf("Open() = %d, want 2", n)
	}
}

func TestProxyStallsAndResumes(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	expectEcho(t, conn, "before\n")

	p.Stall()
	p.Stall() // twice is once
	if _, err := conn.Write([]byte("held\n")); err != nil {
		t.Fatalf("writing: %v", err)
	}
	expectSilence(t, conn)

	p.Resume()
	expectLine(t, conn, "held\n")
}

func TestProxyCutsOpenConnectionsOnly(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	expectEcho(t, conn, "before\n")
	p.Cut()
	expectClosed(t, conn)
	expectEcho(t, dial(t, p.Addr()), "after\n")
}

func TestProxyRefusesNewConnectionsOnly(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	old := dial(t, p.Addr())
	expectEcho(t, old, "before\n")
	p.Refuse()
	expectClosed(t, dial(t, p.Addr()))
	expectEcho(t, old, "still\n")
	p.Resume()
	expectEcho(t, dial(t, p.Addr()), "again\n")
}

func TestProxyClosesTheClientWhenTheServerIsGone(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	expectClosed(t, dial(t, NewProxy(t, addr).Addr()))
}

func echoServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatalf("dialling %s: %v", addr, err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func expectEcho(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	if _, err := conn.Write([]byte(line)); err != nil {
		t.Fatalf("writing %q: %v", line, err)
	}
	expectLine(t, conn, line)
}

func expectLine(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || got != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func expectSilence(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := conn.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want silence", n, err)
	}
}

func expectClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := conn.Read(make([]byte, 1))
	if n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want a closed connection", n, err)
	}
}
