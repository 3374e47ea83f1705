package redisstore

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// set changes what a server is told by its configuration.
func set(t *testing.T, server *realserver.Redis, name, value string) {
	t.Helper()
	c := raw(t, Options{Addresses: []string{server.Addr}})
	if err := c.Do(t.Context(), c.B().ConfigSet().ParameterValue().ParameterValue(name, value).Build()).Error(); err != nil {
		t.Fatal(err)
	}
}

// replicaOf starts a replica of a server.
func replicaOf(t *testing.T, primary *realserver.Redis) *realserver.Redis {
	t.Helper()
	host, port, err := net.SplitHostPort(primary.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return realserver.NewRedis(t, realserver.RedisOptions{Config: []string{fmt.Sprintf("replicaof %s %s", host, port)}})
}

// stored tells whether the server has the record of a session.
func stored(t *testing.T, s *Store, server *realserver.Redis, key sessionstore.Key) bool {
	t.Helper()
	c := raw(t, Options{Addresses: []string{server.Addr}})
	n, err := c.Do(t.Context(), c.B().Exists().Key(s.keys.session(key)).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// A server that has lost a sign-out and takes no writes, as one that wants replicas
// and has none after a failover, is read: what has ended through this node is gone
// for it, and ends on the server as soon as that takes writes again.
func TestAServerThatRefusesWritesIsRead(t *testing.T) {
	primary := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{
		"repl-diskless-sync-delay 0", "appendfsync always", "min-replicas-to-write 1",
	}})
	replica := replicaOf(t, primary)
	c := raw(t, Options{Addresses: []string{primary.Addr}})
	eventually(t, "the replica is whole", func() bool {
		info, err := c.Do(t.Context(), c.B().Info().Section("replication").Build()).ToString()
		return err == nil && strings.Contains(info, "state=online")
	})
	log := &buffer{}
	s := openLogging(t, Options{Addresses: []string{primary.Addr}}, log)
	eventually(t, "the replica counts", func() bool {
		_, err := s.Delete(t.Context(), storetest.NewKey())
		return err == nil
	})
	ended, kept := create(t, s), create(t, s)
	before := primary.CopyFiles(t)
	eventually(t, "deleted", func() bool { _, err := s.Delete(t.Context(), ended); return err == nil })
	replica.Kill()
	primary.Kill()
	primary.RestoreFiles(t, before)
	primary.Restart(t)

	works(t, s)
	there(t, s, kept, true)
	there(t, s, ended, false)
	if !stored(t, s, primary, ended) {
		t.Error("a server that takes no writes has ended a session")
	}
	first := s.client.connection.Load()
	for name, end := range map[string]func() error{
		"Delete":                  func() error { _, err := s.Delete(t.Context(), kept); return err },
		"Delete of what is gone":  func() error { _, err := s.Delete(t.Context(), ended); return err },
		"DeleteUser":              func() error { _, err := s.DeleteUser(t.Context(), "empresa.local", "ana", nil); return err },
		"Drop":                    func() error { return s.Drop(t.Context(), []sessionstore.Key{kept}) },
		"Create":                  func() error { return s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("bea"), nil) },
		"a sign-in that ends one": func() error { return s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("bea"), &kept) },
	} {
		if err := end(); !errors.Is(err, sessionstore.ErrUnavailable) || !strings.Contains(err.Error(), "NOREPLICAS") {
			t.Errorf("%s: %v, want that the server refuses it", name, err)
		}
	}
	there(t, s, kept, true) // nothing of that was done
	time.Sleep(replayEvery + 2*healthEvery)
	if s.client.connection.Load() != first {
		t.Error("the connection was left when the server refused once more")
	}
	if text := log.String(); strings.Count(text, "refuses what") != 1 || strings.Contains(text, "does again") {
		t.Errorf("not one line of the refusals:\n%s", text)
	}

	replicaOf(t, primary)
	eventually(t, "ended on the server", func() bool { return !stored(t, s, primary, ended) })
	eventually(t, "all was told", func() bool { return !s.journal.late.Load() })
	eventually(t, "a sign-out", func() bool { _, err := s.Delete(t.Context(), kept); return err == nil })
	there(t, s, create(t, s), true)
	there(t, s, ended, false)
	there(t, open(t, Options{Addresses: []string{primary.Addr}}), ended, false)
	if text := log.String(); strings.Count(text, "does again what it has refused") != 1 {
		t.Errorf("not one line of their end:\n%s", text)
	}
}

// The same when the server says so within one connection.
func TestAReplayThatIsRefusedIsMadeLater(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	s := open(t, Options{Addresses: []string{server.Addr}})
	key := create(t, s)
	if _, err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	c := raw(t, Options{Addresses: []string{server.Addr}})
	if err := c.Do(t.Context(), c.B().Set().Key(s.keys.session(key)).Value("back").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	first := s.client.connection.Load()
	set(t, server, "min-replicas-to-write", "1")
	s.journal.late.Store(true)
	time.Sleep(3 * healthEvery)
	there(t, s, key, false)
	if s.client.connection.Load() != first || !s.journal.late.Load() || !stored(t, s, server, key) {
		t.Errorf("the connection was left: %v, late: %v", s.client.connection.Load() != first, s.journal.late.Load())
	}
	set(t, server, "min-replicas-to-write", "0")
	eventually(t, "ended on the server", func() bool { return !stored(t, s, server, key) })
}

// What is no refusal of writes is a failure of the server, or of the connection.
func TestWhatServersRefuse(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	c := raw(t, Options{Addresses: []string{server.Addr}})
	for answer, want := range map[string]bool{
		"NOREPLICAS Not enough good replicas to write.":                                                          true,
		"MISCONF Redis is configured to save RDB snapshots":                                                      true,
		"OOM command not allowed when used memory > 'maxmemory'.":                                                true,
		"NOPERM this user has no permissions":                                                                    true,
		"TRYAGAIN Multiple keys request during rehashing of slot":                                                true,
		"The user executing the script can't run this command or subcommand":                                     true,
		"The user executing the script can't access at least one of the keys mentioned in the command arguments": true,
		"ACL failure in script: User caddy has no permissions to run the 'hdel' command":                         true,
		"READONLY You can't write against a read only replica.":                                                  false,
		"LOADING Redis is loading the dataset in memory":                                                         false,
		"CLUSTERDOWN The cluster is down":                                                                        false,
		"BUSY Redis is busy running a script.":                                                                   false,
		"ERR unknown command":                                                                                    false,
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is no":                                 false,
	} {
		err := c.Do(t.Context(), c.B().Eval().Script("return redis.error_reply(ARGV[1])").Numkeys(0).Arg(answer).Build()).Error()
		got, ok := refusal(fmt.Errorf("ending a session: %w", err))
		if ok != want || ok && !strings.HasPrefix(got.Error(), answer) {
			t.Errorf("%q: %v, %v", answer, got, ok)
		}
	}
	for _, err := range []error{nil, errSilent, errNotReplicated} {
		if _, ok := refusal(err); ok {
			t.Errorf("%v is taken for what a server refuses", err)
		}
	}
}
