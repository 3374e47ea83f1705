package redisstore

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// works waits until the store answers.
func works(t *testing.T, s *Store) {
	t.Helper()
	eventually(t, "works", func() bool {
		_, _, _, err := s.Get(t.Context(), storetest.NewKey())
		return err == nil
	})
}

// Whatever is wrong with the server when a store is opened, repairing it there is
// enough. The reason says what there is to repair.
func TestAServerThatIsRepairedIsFound(t *testing.T) {
	admin := func(t *testing.T, server *realserver.Redis, command ...string) {
		t.Helper()
		c := raw(t, Options{Addresses: []string{server.Addr}})
		if err := c.Do(t.Context(), c.B().Arbitrary(command...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	user := func(password string, rights ...string) []string {
		return append([]string{"ACL", "SETUSER", aclUser, "on", "resetpass", ">" + password, "~*"}, rights...)
	}
	for name, test := range map[string]struct {
		open   func(t *testing.T) (options Options, repair func())
		reason string
	}{
		"a wrong password": {func(t *testing.T) (Options, func()) {
			server := realserver.NewRedis(t, realserver.RedisOptions{})
			admin(t, server, user("another", "+@all")...)
			return Options{Addresses: []string{server.Addr}, Username: aclUser, Password: aclPassword},
				func() { admin(t, server, user(aclPassword)...) }
		}, "WRONGPASS"},
		"no rights": {func(t *testing.T) (Options, func()) {
			server := realserver.NewRedis(t, realserver.RedisOptions{})
			admin(t, server, user(aclPassword, "+@connection")...)
			return Options{Addresses: []string{server.Addr}, Username: aclUser, Password: aclPassword},
				func() { admin(t, server, user(aclPassword, "+@all")...) }
		}, "NOPERM"},
		"too few rights": {func(t *testing.T) (Options, func()) {
			server := realserver.NewRedis(t, realserver.RedisOptions{})
			admin(t, server, user(aclPassword, "+@all", "-get")...)
			return Options{Addresses: []string{server.Addr}, Username: aclUser, Password: aclPassword},
				func() { admin(t, server, user(aclPassword, "+get")...) }
		}, "NOPERM"},
		"a server that starts later": {func(t *testing.T) (Options, func()) {
			server := realserver.NewRedis(t, realserver.RedisOptions{})
			server.Kill()
			return Options{Addresses: []string{server.Addr}}, func() { server.Restart(t) }
		}, "refused"},
		"a replica that is promoted": {func(t *testing.T) (Options, func()) {
			_, replica := replicated(t)
			return Options{Addresses: []string{replica.Addr}},
				func() { admin(t, replica, "REPLICAOF", "NO", "ONE") }
		}, "replica"},
		"a certificate of another name": {func(t *testing.T) (Options, func()) {
			server := realserver.NewRedis(t, realserver.RedisOptions{TLS: true})
			options := Options{Addresses: []string{server.Addr}, TLS: &tls.Config{RootCAs: server.CA.Pool(), ServerName: "sessions.empresa.test"}}
			return options, func() {
				server.Kill()
				server.Reissue(t, "sessions.empresa.test", "127.0.0.1")
				server.Restart(t)
			}
		}, "sessions.empresa.test"},
		"a network that swallows everything": {func(t *testing.T) (Options, func()) {
			server := realserver.NewRedis(t, realserver.RedisOptions{})
			proxy := netfault.NewProxy(t, server.Addr)
			proxy.Stall()
			return Options{Addresses: []string{proxy.Addr()}}, proxy.Resume
		}, ""},
		"another server on its port": {func(t *testing.T) (Options, func()) {
			server := realserver.NewRedis(t, realserver.RedisOptions{})
			server.Kill()
			l, err := net.Listen("tcp", server.Addr)
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					if _, err := conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")); err != nil {
						t.Log(err)
					}
					conn.Close()
				}
			}()
			return Options{Addresses: []string{server.Addr}}, func() {
				l.Close()
				<-served
				server.Restart(t)
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options, repair := test.open(t)
			log := &buffer{}
			s := openLogging(t, options, log)
			err := unavailable(t, s)
			if !strings.Contains(err.Error(), test.reason) {
				t.Errorf("Get: %v, want the reason %q in it", err, test.reason)
			}
			t.Log(err)
			repair()
			works(t, s)
			if err := s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("ana"), nil); err != nil {
				t.Errorf("Create: %v", err)
			}
			// A server that starts anew is down for a moment, which is another reason.
			text := log.String()
			if strings.Count(text, "level=ERROR") > 1+strings.Count(text, "for another reason") || strings.Count(text, "for another reason") > 1 || strings.Contains(text, aclPassword) {
				t.Errorf("the log has more errors than one for each reason, or the password:\n%s", text)
			}
		})
	}
}

// While there is no connection, calls fail at once: an outage must not hold up
// every request.
func TestCallsDoNotWaitDuringAnOutage(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	proxy := netfault.NewProxy(t, server.Addr)
	s := open(t, Options{Addresses: []string{proxy.Addr()}})
	works(t, s)
	proxy.Stall()
	eventually(t, "noticed", func() bool { return s.client.connection.Load() == nil })
	began := time.Now()
	for range 100 {
		unavailable(t, s)
	}
	if took := time.Since(began); took > grace {
		t.Errorf("100 calls took %v", took)
	}
	proxy.Resume()
	works(t, s)
}

// Sentinels that swallow everything must not use up the time of every attempt.
func TestAttemptsBeginWithAnotherAddress(t *testing.T) {
	s := &Store{ctx: t.Context(), options: Options{Addresses: []string{"a:1", "b:1", "c:1"}}}
	for _, want := range []string{"a:1 b:1 c:1", "b:1 c:1 a:1", "c:1 a:1 b:1", "a:1 b:1 c:1"} {
		c := s.newConnection()
		if got := strings.Join(c.options.Addresses, " "); got != want {
			t.Errorf("attempt %d: %s, want %s", s.failures, got, want)
		}
		c.cancel()
		s.failures++
	}
}

// A store that is about to connect is closed at once, and its calls end.
func TestCloseWhileConnecting(t *testing.T) {
	s := open(t, Options{Addresses: []string{netfault.NewStalled(t).Addr()}})
	got := make(chan error, 1)
	go func() {
		_, _, _, err := s.Get(t.Context(), storetest.NewKey())
		got <- err
	}()
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > grace {
		t.Errorf("Close took %v", took)
	}
	if err := <-got; !errors.Is(err, sessionstore.ErrClosed) && !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("Get: %v", err)
	}
}
