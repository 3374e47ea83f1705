package ldaptest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// A broken or hostile connection ends itself, and nothing else.
func TestMalformedPacketsEndTheirConnectionOnly(t *testing.T) {
	s := start(t, Demo())
	healthy := bound(t, s, "ac12345@empresa.local", "secreto")
	deep := strings.Repeat("\x30\x80", 100)
	for what, packet := range map[string]string{
		"not BER":           "GET / HTTP/1.1\r\n\r\n",
		"2 GiB":             "\x30\x84\x7f\xff\xff\xff",
		"over 1 MiB":        "\x30\x83\x10\x00\x01",
		"negative length":   "\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff",
		"indefinite length": "\x30\x80",
		"deep":              "\x30\x81\xc8" + deep,
		"empty":             "\x30\x00",
		"no operation":      "\x30\x03\x02\x01\x01",
		"lying length":      "\x30\x05\x02\x01\x01\x60\x7f",
		"message 0":         "\x30\x05\x02\x01\x00\x60\x00",
		"unknown operation": "\x30\x05\x02\x01\x01\x7d\x00",
		"response":          "\x30\x05\x02\x01\x01\x61\x00",
	} {
		t.Run(what, func(t *testing.T) {
			c, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			c.Write([]byte(packet))
			if _, err := io.Copy(io.Discard, c); err != nil && errors.Is(err, errTimeout(err)) {
				t.Errorf("the connection stays open: %v", err)
			}
		})
	}
	t.Run("malformed requests are answered", func(t *testing.T) {
		for _, op := range []string{"\x60\x00", "\x63\x00", "\x77\x00"} {
			c, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(5 * time.Second))
			c.Write([]byte("\x30\x05\x02\x01\x01" + op))
			if n, err := c.Read(make([]byte, 256)); n == 0 {
				t.Errorf("%x: %v", op, err)
			}
			c.Close()
		}
	})
	if len(find(t, healthy, "DC=empresa,DC=local", 2, "(sAMAccountName=ac12345)")) != 1 {
		t.Error("the other connection suffered")
	}
}

// errTimeout is err if it is a time-out, else nil.
func errTimeout(err error) error {
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return err
	}
	return errors.New("no time-out")
}

func TestConnectionsAreBounded(t *testing.T) {
	s := start(t, Demo())
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range maxConnections {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	for end := time.Now().Add(5 * time.Second); s.Connections() < maxConnections && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, errTimeout(err)) {
		t.Errorf("one connection too many is open: %v", err)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	s, err := Start("127.0.0.1:0", Demo(), func(s *Server) { s.idleFirst, s.idleLater = 50*time.Millisecond, 50*time.Millisecond })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("idle connection: %v", err)
	}
}

func TestCloseEndsStalledAndDelayedConnections(t *testing.T) {
	for _, stage := range []Stage{StallConnect, StallBind, StallSearch} {
		s := start(t, Demo())
		s.Stall(stage)
		c := dial(t, s)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if stage == StallSearch {
				c.Search(goldap.NewSearchRequest("", 0, 0, 0, 0, false, "(cn=*)", nil, nil))
				return
			}
			c.Bind("a", "b")
		}()
		time.Sleep(20 * time.Millisecond)
		began := time.Now()
		s.Close()
		<-done
		if took := time.Since(began); took > time.Second {
			t.Errorf("stage %d: Close took %v", stage, took)
		}
	}
	s := start(t, Demo())
	s.Delay(time.Hour)
	c := dial(t, s)
	go c.Bind("a", "b")
	time.Sleep(20 * time.Millisecond)
	s.Close()
	s.Close()
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte("\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"))
	f.Add([]byte("\x30\x80"))
	tree, err := newTree(Demo())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := readRequest(bufio.NewReader(strings.NewReader(string(data))))
		if err != nil || len(p.Children) < 2 {
			return
		}
		// What is read must be decidable without a panic.
		c := &conn{server: &Server{}, tree: tree}
		op := p.Children[1]
		c.bind(op)
		if q, ok := parseQuery(op); ok {
			tree.resolve(q.base)
			for _, e := range tree.entries {
				tree.matches(q.filter, e)
			}
		}
	})
}
