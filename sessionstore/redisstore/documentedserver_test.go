package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// encrypted are servers that are started with the page's own lines about TLS.
type encrypted struct {
	servers []*realserver.Redis
	config  *tls.Config // of who talks to them
	cas     string      // a file with the certificates of all their CAs
}

// newEncrypted has them ready for restart. The last ones are sentinels.
func newEncrypted(t *testing.T, servers, sentinels int) *encrypted {
	t.Helper()
	e := &encrypted{config: &tls.Config{RootCAs: x509.NewCertPool()}, cas: filepath.Join(t.TempDir(), "ca.pem")}
	var all []byte
	for i := range servers + sentinels {
		server := realserver.NewRedis(t, realserver.RedisOptions{TLS: true, Sentinel: i >= servers})
		server.Kill() // it was there for its port and its files only
		e.servers = append(e.servers, server)
		one, err := os.ReadFile(server.CA.File)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, one...)
	}
	e.config.RootCAs.AppendCertsFromPEM(all)
	if err := os.WriteFile(e.cas, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return e
}

// restart starts a server with these lines and no others. Where they are the
// page's, its address, port and files are in their places.
func (e *encrypted) restart(t *testing.T, server *realserver.Redis, lines ...string) {
	t.Helper()
	_, port := hostPort(t, server.Addr)
	text := strings.Join(append([]string{"dir " + server.Folder()}, lines...), "\n") + "\n"
	for from, to := range map[string]string{
		"bind 10.0.0.20 127.0.0.1\n":     "bind 127.0.0.1\n",
		"tls-port 6379\n":                "tls-port " + port + "\n",
		"/etc/redis/tls/redis.pem\n":     filepath.Join(server.Folder(), "cert.pem") + "\n",
		"/etc/redis/tls/redis-key.pem\n": filepath.Join(server.Folder(), "key.pem") + "\n",
		"/etc/redis/tls/ca.pem\n":        e.cas + "\n",
	} {
		if strings.Count(text, from) != 1 {
			t.Fatalf("not once %q in:\n%s", from, text)
		}
		text = strings.Replace(text, from, to, 1)
	}
	if err := os.WriteFile(filepath.Join(server.Folder(), "redis.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server.Restart(t)
}

// The page's server takes encrypted connections only, has the page's settings, and
// two users: a store with the rights of the one works, and the other can do all
// that an administrator has to.
func TestTheDocumentedServerWithTLS(t *testing.T) {
	all := newEncrypted(t, 1, 0)
	server := all.servers[0]
	all.restart(t, server, documentedConfig(t, false), documented(t, "user default"))
	options := Options{Addresses: []string{server.Addr}, Username: aclUser, Password: aclPassword, TLS: all.config}
	log := &buffer{}
	s := openLogging(t, options, log)
	stays, ends := create(t, s), create(t, s)
	if ok, err := s.Delete(t.Context(), ends); !ok || err != nil {
		t.Fatalf("Delete: %v, %v", ok, err)
	}
	if strings.Contains(log.String(), "level=WARN") {
		t.Errorf("the page's own server is warned of:\n%s", log)
	}
	plain := options
	plain.TLS = nil
	t.Log(unavailable(t, open(t, plain)))
	nobody := Options{Addresses: options.Addresses, TLS: all.config}
	t.Log(unavailable(t, open(t, nobody)))

	c := administers(t, server.Addr, all.config)
	for setting, want := range map[string]string{
		"maxmemory": "2147483648", "maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec", "save": "", "port": "0",
	} {
		got, err := c.Do(t.Context(), c.B().ConfigGet().Parameter(setting).Build()).AsStrMap()
		if err != nil || got[setting] != want {
			t.Errorf("%s: %q, %v, want %q", setting, got[setting], err, want)
		}
	}
	for _, command := range []string{"INFO replication", "CONFIG GET maxmemory", "ACL LOG", "ACL WHOAMI", "CLIENT LIST", "SLOWLOG GET", "BGREWRITEAOF", "CONFIG REWRITE"} {
		if err := c.Do(t.Context(), c.B().Arbitrary(strings.Fields(command)...).Build()).Error(); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	}
	there(t, s, stays, true)
	there(t, s, ends, false)
}

// The page's steps to another password: at no time are there sessions that cannot
// be read, and a restart of Redis after each of them forgets nothing.
func TestTheDocumentedNewPassword(t *testing.T) {
	const renewed = "Clau-Nova-del-Magatzem-10"
	all := newEncrypted(t, 1, 0)
	server := all.servers[0]
	all.restart(t, server, documentedConfig(t, false), documented(t, "user default"))
	options := Options{Addresses: []string{server.Addr}, Username: aclUser, Password: aclPassword, TLS: all.config}
	changed := options
	changed.Password = renewed
	before := open(t, options)
	key := create(t, before)

	step := func(rule string) {
		t.Helper()
		// A client of its own: the one before may have been cut by a restart.
		c := administers(t, server.Addr, all.config)
		for _, command := range [][]string{{"ACL", "SETUSER", aclUser, rule}, {"CONFIG", "REWRITE"}} {
			if err := c.Do(t.Context(), c.B().Arbitrary(command...).Build()).Error(); err != nil {
				t.Fatalf("%s: %v", command[0], err)
			}
		}
		there(t, before, key, true)
		server.Stop()
		server.Restart(t)
	}
	step(">" + renewed)
	works(t, before)
	there(t, before, key, true)
	after := open(t, changed)
	there(t, after, key, true)
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	before = after
	step("<" + aclPassword)
	works(t, after)
	there(t, after, key, true)
	if err := unavailable(t, open(t, options)); !documentedError(t, err, "password") {
		t.Errorf("with the old password: %v, which the page does not have", err)
	}
	nobody := Options{Addresses: options.Addresses, TLS: all.config}
	t.Log(unavailable(t, open(t, nobody)))
}
