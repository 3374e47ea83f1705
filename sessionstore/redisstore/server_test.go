package redisstore

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// buffer is a log that a test reads while others write it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

const (
	aclUser     = "caddy"
	aclPassword = "Clau-del-Magatzem-9"
)

// aclRules are the rights that the documentation asks for, for another prefix.
func aclRules(t *testing.T, prefix string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := regexp.MustCompile(`(?m)^user default off resetpass ~\* &\* \+@all\nuser caddy on .*$`).FindString(string(page))
	for from, to := range map[string]string{"caddy on >…": aclUser + " on >" + aclPassword, "{ldap_auth}": "{" + prefix + "}"} {
		if strings.Count(rules, from) != 1 {
			t.Fatalf("docs/cluster.md has the rules %q, without %s", rules, from)
		}
		rules = strings.Replace(rules, from, to, 1)
	}
	return rules
}

func TestTLSAndACL(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{TLS: true, Config: []string{aclRules(t, "shop")}})
	config := &tls.Config{RootCAs: server.CA.Pool()}
	good := Options{Addresses: []string{server.Addr}, Username: aclUser, Password: aclPassword, TLS: config, Prefix: "shop"}

	t.Run("the suite's calls with the least rights", func(t *testing.T) {
		s := open(t, good)
		session := storetest.NewSession("ana")
		key, ctx := storetest.NewKey(), t.Context()
		ear := listen(open(t, good))
		if err := s.Create(ctx, key, session, nil); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a change", ear.changedSince(key, time.Time{}))
		check := func(name string, err error) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		check("Touch", s.Touch(ctx, []sessionstore.Touch{{Key: key, Seen: session.Created.Add(time.Minute)}}))
		_, err := s.Update(ctx, key, session)
		check("Update", err)
		_, _, ok, err := s.Get(ctx, key)
		check("Get", err)
		page, _, errList := s.List(ctx, sessionstore.ListQuery{Limit: 10})
		check("List", errList)
		if !ok || len(page) != 1 {
			t.Errorf("Get: %v, List: %v", ok, page)
		}
		_, _, err = s.Find(ctx, session.ID)
		check("Find", err)
		_, err = s.Count(ctx)
		check("Count", err)
		_, _, err = s.User(ctx, "empresa.local", "ana")
		check("User", err)
		_, _, err = s.Users(ctx, "", 10)
		check("Users", err)
		_, err = s.Mark(ctx, time.Now())
		check("Mark", err)
		check("SaveCounters", s.SaveCounters(ctx, []sessionstore.Counter{storetest.NewCounter("x")}))
		check("Counters", s.Counters(ctx, func(sessionstore.Counter) error { return nil }))
		_, err = s.Secret(ctx, "device", []byte("fresh"))
		check("Secret", err)
		// One that the server has collected, and one that is damaged.
		past := storetest.NewSession("bea")
		past.Created = past.Created.Add(-72 * time.Hour)
		check("Create", s.Create(ctx, storetest.NewKey(), past, &key))
		page, _, err = s.List(ctx, sessionstore.ListQuery{Limit: 10})
		check("List", err)
		if len(page) != 0 {
			t.Errorf("List: %v, want what the server has collected left out", page)
		}
		_, err = s.DeleteUser(ctx, "empresa.local", "ana", nil)
		check("DeleteUser", err)
		check("Drop", s.Drop(ctx, []sessionstore.Key{key}))
	})

	for name, spoil := range map[string]func(*Options){
		"a wrong password":                func(o *Options) { o.Password = "wrong" },
		"an unknown user":                 func(o *Options) { o.Username = "nobody" },
		"no password":                     func(o *Options) { o.Username, o.Password = "", "" },
		"a prefix that the user may not":  func(o *Options) { o.Prefix = "other" },
		"a CA that has not signed it":     func(o *Options) { o.TLS = &tls.Config{} },
		"a name that it is not issued to": func(o *Options) { o.TLS = &tls.Config{RootCAs: server.CA.Pool(), ServerName: "other.empresa.test"} },
		"no TLS":                          func(o *Options) { o.TLS = nil },
		"nobody listens": func(o *Options) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			o.Addresses = []string{l.Addr().String()}
			l.Close()
		},
		"a server that never answers": func(o *Options) { o.Addresses = []string{netfault.NewStalled(t).Addr()} },
	} {
		t.Run(name, func(t *testing.T) {
			options := good
			spoil(&options)
			log := &buffer{}
			s := openLogging(t, options, log)
			err := unavailable(t, s)
			eventually(t, "logged", func() bool { return strings.Contains(log.String(), "level=ERROR") })
			for _, text := range []string{err.Error(), log.String()} {
				if strings.Contains(text, aclPassword) || strings.Contains(text, `"wrong"`) {
					t.Errorf("the password is shown: %s", text)
				}
			}
			t.Log(err)
		})
	}
	t.Run("the name that it is issued to", func(t *testing.T) {
		options := good
		options.TLS = &tls.Config{RootCAs: server.CA.Pool(), ServerName: "redis.empresa.test"}
		open(t, options)
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for name, options := range map[string]Options{
		"no address":              {},
		"no port":                 {Addresses: []string{"127.0.0.1"}},
		"no host":                 {Addresses: []string{":6379"}},
		"two servers":             {Addresses: []string{"a:1", "b:1"}},
		"sentinel and cluster":    {Addresses: []string{"a:1"}, Sentinel: "primary", Cluster: true},
		"a user, and no password": {Addresses: []string{"a:1"}, Username: "u"},
		"a prefix with a brace":   {Addresses: []string{"a:1"}, Prefix: "a}b"},
	} {
		if s, err := Open(options, nil); err == nil {
			s.Close()
			t.Errorf("%s: it was opened", name)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, test := range []struct {
		info map[string]string
		ok   bool
	}{
		{map[string]string{"redis_version": "6.2.14"}, false},
		{map[string]string{"redis_version": "7.0.0"}, true},
		{map[string]string{"redis_version": "7.0.15"}, true},
		{map[string]string{"redis_version": "8.2.1"}, true},
		{map[string]string{"redis_version": "10.0.0"}, true},
		{map[string]string{"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.0"}, true},
		{map[string]string{"redis_version": "255.255.255"}, true},
		{map[string]string{}, false},
	} {
		if err := checkVersion(test.info); (err == nil) != test.ok {
			t.Errorf("%v: %v", test.info, err)
		}
	}
}

func TestDangerousServersAreWarnedOf(t *testing.T) {
	for config, want := range map[string]string{
		"maxmemory-policy noeviction":   "",
		"maxmemory-policy allkeys-lru":  "noeviction",
		"maxmemory-policy volatile-ttl": "noeviction",
		"appendonly no":                 "append-only",
	} {
		t.Run(config, func(t *testing.T) {
			server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{config}})
			log := &buffer{}
			s := openLogging(t, Options{Addresses: []string{server.Addr}}, log)
			works(t, s)
			warned := func() int { return strings.Count(log.String(), "level=WARN") }
			if want == "" && warned() != 0 || want != "" && (warned() != 1 || !strings.Contains(log.String(), want)) {
				t.Errorf("want a warning of %q:\n%s", want, log)
			}
			// The same server is warned of once.
			before := warned()
			server.Kill()
			server.Restart(t)
			works(t, s)
			if warned() != before {
				t.Errorf("warned again:\n%s", log)
			}
		})
	}
}

// A server whose memory is full takes no sign-in, and still ends sessions.
func TestAServerWithoutMemory(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"maxmemory-policy noeviction"}})
	log := &buffer{}
	s := openLogging(t, Options{Addresses: []string{server.Addr}}, log)
	session, key := storetest.NewSession("ana"), storetest.NewKey()
	if err := s.Create(t.Context(), key, session, nil); err != nil {
		t.Fatal(err)
	}
	c := raw(t, Options{Addresses: []string{server.Addr}})
	limit := func(to string) {
		if err := c.Do(t.Context(), c.B().ConfigSet().ParameterValue().ParameterValue("maxmemory", to).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	for range 3 {
		if err := s.Create(t.Context(), storetest.NewKey(), session, nil); !errors.Is(err, sessionstore.ErrNoSpace) {
			t.Errorf("Create: %v, want no space", err)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors in the log, want one:\n%s", n, log)
	}
	if _, _, ok, err := s.Get(t.Context(), key); !ok || err != nil {
		t.Errorf("Get: %v, %v", ok, err)
	}
	if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
		t.Errorf("Delete: %v, %v", ok, err)
	}
	limit("0")
	if err := s.Create(t.Context(), key, session, nil); err != nil {
		t.Errorf("Create with memory again: %v", err)
	}
}

func replicasKnown(s *Store) func() bool {
	return func() bool {
		c := s.client.connection.Load()
		return c != nil && c.replicas.Load()
	}
}

// replicated starts a primary with one replica, which has all that it has.
func replicated(t *testing.T) (primary, replica *realserver.Redis) {
	t.Helper()
	primary = realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"repl-diskless-sync-delay 0"}})
	host, port, err := net.SplitHostPort(primary.Addr)
	if err != nil {
		t.Fatal(err)
	}
	replica = realserver.NewRedis(t, realserver.RedisOptions{Config: []string{fmt.Sprintf("replicaof %s %s", host, port)}})
	c := raw(t, Options{Addresses: []string{replica.Addr}})
	// Sentinels look at the primary and its replica once in ten seconds only.
	eventually(t, "a replica", func() bool {
		info, err := c.Do(t.Context(), c.B().Info().Section("replication").Build()).ToString()
		return err == nil && strings.Contains(info, "master_link_status:up")
	})
	return primary, replica
}

func TestADeleteWaitsForAReplica(t *testing.T) {
	primary, replica := replicated(t)
	s := open(t, Options{Addresses: []string{primary.Addr}})
	eventually(t, "the replica is known", replicasKnown(s))
	session := storetest.NewSession("ana")
	ctx := t.Context()
	create := func() sessionstore.Key {
		key := storetest.NewKey()
		if err := s.Create(ctx, key, session, nil); err != nil {
			t.Fatal(err)
		}
		return key
	}
	copied := raw(t, Options{Addresses: []string{replica.Addr}})
	for range 20 {
		key := create()
		eventually(t, "copied", func() bool {
			n, err := copied.Do(ctx, copied.B().Exists().Key(s.keys.session(key)).Build()).AsInt64()
			return n == 1 && err == nil
		})
		ok, err := s.Delete(ctx, key)
		if !ok || err != nil {
			if errors.Is(err, errNotReplicated) {
				continue // on a machine that is busy for longer than it waits
			}
			t.Fatalf("Delete: %v, %v", ok, err)
		}
		if n, err := copied.Do(ctx, copied.B().Exists().Key(s.keys.session(key)).Build()).AsInt64(); n != 0 || err != nil {
			t.Fatalf("an acknowledged delete is not at the replica: %d, %v", n, err)
		}
	}
	// The rest goes the same way.
	old := create()
	if err := s.Create(ctx, storetest.NewKey(), session, &old); err != nil && !errors.Is(err, errNotReplicated) {
		t.Errorf("Create that replaces: %v", err)
	}
	if _, err := s.DeleteUser(ctx, "empresa.local", "ana", nil); err != nil && !errors.Is(err, errNotReplicated) {
		t.Errorf("DeleteUser: %v", err)
	}
	if ok, err := s.Delete(ctx, storetest.NewKey()); ok || err != nil && !errors.Is(err, errNotReplicated) {
		t.Errorf("Delete of nothing: %v, %v", ok, err)
	}

	// A replica that hangs: the delete is done, and not acknowledged.
	key := create()
	pause := copied.B().ClientPause().Timeout(100).Build()
	if err := copied.Do(ctx, pause).Error(); err != nil {
		t.Fatal(err)
	}
	replica.Kill()
	s.client.connection.Load().replicas.Store(true)
	if _, err := s.Delete(ctx, key); !errors.Is(err, errNotReplicated) {
		t.Errorf("Delete without a confirmation: %v, want that error", err)
	}
	if _, _, ok, err := s.Get(ctx, key); ok || err != nil {
		t.Errorf("Get: %v, %v, want the session gone on the primary", ok, err)
	}
	eventually(t, "no replica is left", func() bool { return !replicasKnown(s)() })
	if ok, err := s.Delete(ctx, create()); !ok || err != nil {
		t.Errorf("Delete without replicas: %v, %v", ok, err)
	}
}

// A replica may not know of a sign-out yet: it is neither opened nor read.
func TestAReplicaIsNotRead(t *testing.T) {
	primary, replica := replicated(t)
	if err := unavailable(t, open(t, Options{Addresses: []string{replica.Addr}})); !errors.Is(err, errNotPrimary) {
		t.Errorf("Get from a replica: %v", err)
	}
	s := open(t, Options{Addresses: []string{primary.Addr}})
	works(t, s)
	ear := listen(s)
	since := time.Now()
	host, port, err := net.SplitHostPort(replica.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c := raw(t, Options{Addresses: []string{primary.Addr}})
	if err := c.Do(t.Context(), c.B().Arbitrary("REPLICAOF", host, port).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "told of the loss", ear.lostSince(since))
	if _, _, _, err := s.Get(t.Context(), storetest.NewKey()); !errors.Is(err, errNotPrimary) {
		t.Errorf("Get from one that became a replica: %v", err)
	}
	if err := c.Do(t.Context(), c.B().Arbitrary("REPLICAOF", "NO", "ONE").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "primary again", func() bool {
		_, _, _, err := s.Get(t.Context(), storetest.NewKey())
		return err == nil
	})
}
