package redisstore

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// Each server that is not as it should be says so in words that the page has.
func TestTheDocumentedErrors(t *testing.T) {
	admin := func(t *testing.T, server *realserver.Redis, command string) {
		t.Helper()
		c := administers(t, server.Addr, nil)
		if err := c.Do(t.Context(), c.B().Arbitrary(strings.Fields(command)...).Build()).Error(); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	start := func(t *testing.T, lines ...string) (*realserver.Redis, Options) {
		t.Helper()
		config := append([]string{documentedPlain(t, false), documented(t, "user default")}, lines...)
		server := realserver.NewRedis(t, realserver.RedisOptions{Config: config})
		return server, Options{Addresses: []string{server.Addr}, Username: aclUser, Password: aclPassword}
	}
	want := func(t *testing.T, err error, cure string) {
		t.Helper()
		if err == nil || !documentedError(t, err, cure) {
			t.Errorf("%v, want an error that the page has, with %s", err, cure)
		}
	}

	t.Run("a right that a script needs", func(t *testing.T) {
		server, options := start(t)
		s := open(t, options)
		key := create(t, s)
		admin(t, server, "ACL SETUSER caddy -hdel")
		_, err := s.Delete(t.Context(), key)
		want(t, err, "the rights")
	})
	t.Run("a right that a command needs", func(t *testing.T) {
		server, options := start(t)
		admin(t, server, "ACL SETUSER caddy -evalsha -eval")
		want(t, open(t, options).Create(t.Context(), storetest.NewKey(), storetest.NewSession("ana"), nil), "the rights")
	})
	t.Run("no connection left", func(t *testing.T) {
		server, options := start(t, "maxclients 3")
		var others []net.Conn
		eventually(t, "all are used", func() bool {
			conn, err := net.Dial("tcp", server.Addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			_, _ = conn.Write([]byte("PING\r\n")) // one that is not taken may be closed already
			if answer, err := bufio.NewReader(conn).ReadString(' '); err == nil && answer == "-NOAUTH " {
				others = append(others, conn)
			}
			return len(others) == 3
		})
		s := open(t, options)
		want(t, unavailable(t, s), "`maxclients`")
		for _, conn := range others {
			conn.Close()
		}
		works(t, s)
	})
	t.Run("another password", func(t *testing.T) {
		_, options := start(t)
		options.Password = "wrong"
		want(t, unavailable(t, open(t, options)), "`password`")
		options.Username, options.Password = "", ""
		want(t, unavailable(t, open(t, options)), "`password`")
	})
	t.Run("nobody listens", func(t *testing.T) {
		server, options := start(t)
		server.Kill()
		want(t, unavailable(t, open(t, options)), "the address")
	})
	t.Run("a server or proxy of the old protocol", func(t *testing.T) {
		server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{`rename-command HELLO ""`}})
		want(t, unavailable(t, open(t, Options{Addresses: []string{server.Addr}})), "RESP2")
	})
}
