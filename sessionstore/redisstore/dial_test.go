package redisstore

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/dnstest"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// swallowing is a dialer to which the addresses behind some hosts never answer, as
// when a firewall drops what is sent there.
func swallowing(names *dnstest.Server, hosts ...string) *net.Dialer {
	return &net.Dialer{Timeout: dialTimeout, Resolver: names.Resolver(),
		ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
			for _, host := range hosts {
				if strings.HasPrefix(address, host+":") {
					<-ctx.Done()
					return ctx.Err()
				}
			}
			return nil
		}}
}

// A name has several addresses, and the first of them swallows everything.
func TestEveryAddressOfANameIsTried(t *testing.T) {
	plain := realserver.NewRedis(t, realserver.RedisOptions{})
	encrypted := realserver.NewRedis(t, realserver.RedisOptions{TLS: true})
	names := dnstest.New(t)
	address := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	live, dead, refuses := address("127.0.0.1"), address("127.0.0.2"), address("127.0.0.3")
	names.SetA("redis.empresa.test", dead, live)
	names.SetA("other.empresa.test", dead, live)
	names.SetA("turned.empresa.test", live, dead)
	names.SetA("refuses.empresa.test", refuses, live)
	names.SetA("dead.empresa.test", dead, dead)
	names.SetA("many.empresa.test", dead, dead, dead, dead, dead, dead, dead, live)
	for _, test := range []struct {
		name, host string
		attempts   []int // that find it; all others do not
		tls        *tls.Config
		fails      string
	}{
		{"the first one swallows", "redis.empresa.test", []int{0, 1, 2}, nil, ""},
		{"the second one swallows", "turned.empresa.test", []int{0, 1, 2}, nil, ""},
		{"the first one refuses", "refuses.empresa.test", []int{0, 1}, nil, ""},
		{"all swallow", "dead.empresa.test", []int{0, 1}, nil, "deadline exceeded"},
		{"many swallow, and the last one is the first of this attempt", "many.empresa.test", []int{7, 15}, nil, ""},
		{"an address", "127.0.0.1", []int{0, 1}, nil, ""},
		{"a name that there is not", "nobody.empresa.test", []int{0}, nil, "no such host"},
		{"encrypted", "redis.empresa.test", []int{0, 1}, &tls.Config{RootCAs: encrypted.CA.Pool()}, ""},
		{"encrypted, an address", "127.0.0.1", []int{0}, &tls.Config{RootCAs: encrypted.CA.Pool()}, ""},
		{"encrypted, under a name that is not in the certificate", "other.empresa.test", []int{0}, &tls.Config{RootCAs: encrypted.CA.Pool()}, "other.empresa.test"},
		{"encrypted, with a name of its own", "other.empresa.test", []int{0},
			&tls.Config{RootCAs: encrypted.CA.Pool(), ServerName: "redis.empresa.test"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := plain
			if test.tls != nil {
				server = encrypted
			}
			_, port := hostPort(t, server.Addr)
			for _, attempt := range test.attempts {
				s := &Store{ctx: t.Context(), options: Options{Addresses: []string{net.JoinHostPort(test.host, port)}}, failures: attempt}
				c := s.newConnection()
				began := time.Now()
				conn, err := c.dial(t.Context(), c.options.Addresses[0], swallowing(names, dead.String()), test.tls)
				if took := time.Since(began); took > grace {
					t.Errorf("attempt %d took %v", attempt, took)
				}
				if test.fails != "" {
					if err == nil || !strings.Contains(err.Error(), test.fails) {
						t.Errorf("attempt %d: %v, want %q", attempt, err, test.fails)
					}
				} else if err != nil {
					t.Errorf("attempt %d: %v", attempt, err)
				} else if _, err := conn.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
					t.Error(err)
				} else if answer, err := bufio.NewReader(conn).ReadString('\n'); err != nil || answer != "+PONG\r\n" {
					t.Errorf("attempt %d: %q, %v", attempt, answer, err)
				}
				// It ends with the connection.
				c.cancel()
				if conn != nil {
					eventually(t, "closed", func() bool { _, err := conn.Read(make([]byte, 1)); return err != nil })
				}
			}
		})
	}
}

// Leaving the connection ends a dial that is under way.
func TestADialEndsWithItsConnection(t *testing.T) {
	names := dnstest.New(t)
	names.SetA("redis.empresa.test", netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3"))
	s := &Store{ctx: t.Context(), options: Options{Addresses: []string{"redis.empresa.test:6379"}}}
	c := s.newConnection()
	dialer := swallowing(names, "127.0.0.2", "127.0.0.3")
	dialer.Timeout = time.Hour
	ended := make(chan error, 1)
	go func() {
		_, err := c.dial(context.Background(), "redis.empresa.test:6379", dialer, nil)
		ended <- err
	}()
	c.cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("connected to nobody")
		}
	case <-time.After(grace):
		t.Error("it goes on")
	}
}
