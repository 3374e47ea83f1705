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

func TestProxyStallsOpenConnectionsOnly(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	old, busy := dial(t, p.Addr()), dial(t, p.Addr())
	expectEcho(t, old, "before\n")
	expectEcho(t, busy, "before\n")

	p.StallOpen()
	p.StallOpen() // twice is once
	for _, conn := range []net.Conn{old, busy} {
		if _, err := conn.Write([]byte("held\n")); err != nil {
			t.Fatalf("writing: %v", err)
		}
		expectSilence(t, conn)
	}
	expectEcho(t, dial(t, p.Addr()), "new\n")
	expectSilence(t, old)

	p.Cut()
	expectClosed(t, busy)
	expectEcho(t, dial(t, p.Addr()), "after\n")
}

func TestProxyStallsAfterSoManyAnswers(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	old := dial(t, p.Addr())
	expectEcho(t, old, "before\n")
	p.StallAfter(2)
	conn := dial(t, p.Addr())
	expectEcho(t, conn, "one\n")
	expectEcho(t, conn, "two\n")
	if _, err := conn.Write([]byte("held\n")); err != nil {
		t.Fatalf("writing: %v", err)
	}
	expectSilence(t, conn)
	expectEcho(t, old, "one\n")
	expectEcho(t, old, "two\n")
	expectEcho(t, old, "three\n")
	p.Resume()
	expectLine(t, conn, "held\n")
	expectEcho(t, conn, "four\n")
}

func TestProxyResumesForgottenConnections(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	expectEcho(t, conn, "before\n")
	p.StallOpen()
	p.Stall() // both hold it; Resume ends both
	if _, err := conn.Write([]byte("held\n")); err != nil {
		t.Fatalf("writing: %v", err)
	}
	expectSilence(t, conn)
	p.Resume()
	expectLine(t, conn, "held\n")
	expectEcho(t, conn, "again\n")
}

// A firewall that drops packets drops the one that closes, too: the client of
// a forgotten connection must not learn that the server has gone.
func TestStalledConnectionHidesThatTheServerClosed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p := NewProxy(t, listener.Addr().String())
	client := dial(t, p.Addr())
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the connection is open", func() bool { return p.Open() == 1 })
	p.StallOpen()
	server.Close()
	expectSilence(t, client)
	p.Resume()
	expectClosed(t, client)
	waitUntil(t, "nothing is open", func() bool { return p.Open() == 0 })
}

// A client that gives up on a stalled server holds no connection any more.
func TestStalledConnectionEndsWithItsClient(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	expectEcho(t, conn, "before\n")
	p.Stall()
	if _, err := conn.Write([]byte("held\n")); err != nil {
		t.Fatalf("writing: %v", err)
	}
	expectSilence(t, conn)
	conn.Close()
	waitUntil(t, "nothing is open", func() bool { return p.Open() == 0 })
}

func TestProxyDelaysAnswers(t *testing.T) {
	const late = 300 * time.Millisecond
	p := NewProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	expectEcho(t, conn, "before\n")

	p.Delay(late)
	start := time.Now()
	expectEcho(t, conn, "late\n")
	if took := time.Since(start); took < late {
		t.Errorf("the answer took %v, want %v at least", took, late)
	}

	p.Delay(time.Hour)
	if _, err := conn.Write([]byte("never\n")); err != nil {
		t.Fatalf("writing: %v", err)
	}
	expectSilence(t, conn)
	p.Delay(0)
	expectEcho(t, dial(t, p.Addr()), "in time\n")
	// The hour ends with the test: a delayed chunk keeps nothing waiting.
}

func TestDelayIsNotSummedUpOverChunks(t *testing.T) {
	const late, chunks = time.Second, 20
	p := NewProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	p.Delay(late)
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, chunks*chunkSize))
		sent <- err
	}()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(conn, make([]byte, chunks*chunkSize)); err != nil {
		t.Fatalf("reading: %v", err)
	}
	if err := <-sent; err != nil {
		t.Fatalf("writing: %v", err)
	}
	// One after the other they would take twenty seconds.
	if took := time.Since(start); took < late || took > chunks*late/2 {
		t.Errorf("%d chunks took %v, each delayed by %v", chunks, took, late)
	}
}

func TestProxyDropsAfterSoManyBytes(t *testing.T) {
	for _, test := range []struct {
		what string
		n    int64
		sent string
		want string
	}{
		{"before the first byte", 0, "hello", ""},
		{"within a chunk", 3, "hello", "hel"},
		{"at the end of a chunk", 5, "hello", "hello"},
	} {
		t.Run(test.what, func(t *testing.T) {
			p := NewProxy(t, echoServer(t))
			open := dial(t, p.Addr())
			expectEcho(t, open, "before\n")
			p.DropAfter(test.n)
			for what, conn := range map[string]net.Conn{"open before": open, "new": dial(t, p.Addr())} {
				if _, err := conn.Write([]byte(test.sent)); err != nil {
					t.Fatalf("%s: writing: %v", what, err)
				}
				conn.SetReadDeadline(time.Now().Add(5 * time.Second))
				got := make([]byte, len(test.want))
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != test.want {
					t.Errorf("%s: read %q, %v; want %q", what, got, err, test.want)
				}
				expectClosed(t, conn)
			}
			p.Resume()
			expectEcho(t, dial(t, p.Addr()), "again\n")
		})
	}
}

func TestConnectionLivesUntilTheBytesAreUsedUp(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	p.DropAfter(8)
	expectEcho(t, conn, "one\n")
	expectEcho(t, conn, "two\n")
	expectClosed(t, conn)
}

func TestLastWordsPass(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client := dial(t, NewProxy(t, listener.Addr().String()).Addr())
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := client.Write([]byte("goodbye\n")); err != nil {
		t.Fatal(err)
	}
	client.Close()
	expectLine(t, server, "goodbye\n")
	expectClosed(t, server)
}

func waitUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
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
