package redisstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// A primary that cannot save refuses PING too. The process must outlive that.
func TestAPrimaryThatCannotSave(t *testing.T) {
	primary, _ := replicated(t)
	s := open(t, Options{Addresses: []string{primary.Addr}})
	eventually(t, "the replica is known", replicasKnown(s))
	key := create(t, s)
	c := raw(t, Options{Addresses: []string{primary.Addr}})
	run := func(command ...string) error {
		return c.Do(t.Context(), c.B().Arbitrary(command...).Build()).Error()
	}
	snapshot := filepath.Join(primary.Folder(), "dump.rdb")
	if err := errors.Join(os.RemoveAll(snapshot), os.Mkdir(snapshot, 0o700), run("CONFIG", "SET", "save", "3600 1"), run("BGSAVE")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it refuses PING", func() bool {
		err := run("PING")
		return err != nil && strings.HasPrefix(err.Error(), "MISCONF")
	})
	for range 3 {
		if _, err := s.Delete(t.Context(), key); !errors.Is(err, sessionstore.ErrUnavailable) || !strings.Contains(err.Error(), "MISCONF") {
			t.Errorf("Delete: %v, want that it is refused", err)
		}
		there(t, s, key, true)
	}
	if err := run("CONFIG", "SET", "save", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "deleted", func() bool { _, err := s.Delete(t.Context(), key); return err == nil })
	there(t, s, key, false)
}

// Strangers sign out as often as they like, with tokens that there never were.
func TestManySignOutsHoldFewSockets(t *testing.T) {
	primary, replica := replicated(t)
	s := open(t, Options{Addresses: []string{primary.Addr}})
	eventually(t, "the replica is known", replicasKnown(s))
	clients := func() int {
		fields, err := s.client.connection.Load().info(t.Context(), "clients")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(fields["connected_clients"])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := clients()
	if err := replica.Suspend(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			if _, err := s.Delete(ctx, storetest.NewKey()); err == nil {
				t.Error("acknowledged without a replica")
			}
		})
	}
	most := 0
	eventually(t, "they wait", func() bool { most = max(most, clients()-before); return most > maxWaiting/2 })
	for range 20 {
		most = max(most, clients()-before)
		runtime.Gosched()
	}
	// One more, as the client of those that wait has a socket of its own, and as
	// many as are being closed.
	if most > 2*maxWaiting+1 {
		t.Errorf("%d sockets at a time, want no more than %d", most, 2*maxWaiting+1)
	}
	cancel()
	wg.Wait()
	if err := replica.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sockets are closed", func() bool { return clients()-before <= 1 })
	eventually(t, "the next sign-out is confirmed", func() bool { _, err := s.Delete(t.Context(), storetest.NewKey()); return err == nil })
}

// Whoever looks at what the server has refused finds no commands of ours there.
func TestNothingIsRefusedWithTheLeastRightsAndAReplica(t *testing.T) {
	primary, _ := replicated(t)
	c := raw(t, Options{Addresses: []string{primary.Addr}})
	for line := range strings.Lines(aclRules(t, "shop")) {
		if rule := strings.Fields(line); rule[1] == aclUser {
			if err := c.Do(t.Context(), c.B().Arbitrary(append([]string{"ACL", "SETUSER"}, rule[1:]...)...).Build()).Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := open(t, Options{Addresses: []string{primary.Addr}, Username: aclUser, Password: aclPassword, Prefix: "shop"})
	eventually(t, "the replica is known", replicasKnown(s))
	for range 3 {
		key := create(t, s)
		eventually(t, "deleted", func() bool { _, err := s.Delete(t.Context(), key); return err == nil })
	}
	refused, err := c.Do(t.Context(), c.B().Arbitrary("ACL", "LOG").Build()).ToArray()
	if err != nil || len(refused) > 0 {
		t.Errorf("%v were refused, error %v", refused, err)
	}
}

// A replica that is being sent everything cannot confirm anything, for as long as
// that takes.
func TestAReplicaThatIsNotReadyIsNotWaitedFor(t *testing.T) {
	primary := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"repl-diskless-sync yes", "repl-diskless-sync-delay 3600"}})
	s := open(t, Options{Addresses: []string{primary.Addr}})
	works(t, s)
	key := create(t, s)
	host, port := hostPort(t, primary.Addr)
	realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"replicaof " + host + " " + port}})
	eventually(t, "the replica is connected", func() bool {
		fields, err := s.client.connection.Load().info(t.Context(), "replication")
		return err == nil && fields["connected_slaves"] == "1"
	})
	c := s.client.connection.Load()
	c.replicas.Store(true)
	eventually(t, "it is known not to be ready", func() bool { return !c.replicas.Load() })
	if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
		t.Errorf("Delete: %v, %v", ok, err)
	}
}

func TestConfirms(t *testing.T) {
	for name, test := range map[string]struct {
		fields map[string]string
		want   bool
	}{
		"none":             {map[string]string{"connected_slaves": "0"}, false},
		"one":              {map[string]string{"slave0": "ip=192.0.2.1,port=6379,state=online,offset=42,lag=0"}, true},
		"one of Valkey":    {map[string]string{"slave0": "ip=192.0.2.1,port=6379,state=online,offset=42,lag=0,type=replica"}, true},
		"one of two":       {map[string]string{"slave0": "ip=192.0.2.1,port=6379,state=send_bulk,offset=0,lag=0", "slave12": "ip=192.0.2.2,port=6379,state=online,offset=42,lag=1"}, true},
		"one that waits":   {map[string]string{"connected_slaves": "1", "slave0": "ip=192.0.2.1,port=6379,state=wait_bgsave,offset=0,lag=0"}, false},
		"a new one":        {map[string]string{"slave0": "ip=192.0.2.1,port=6379,state=online,offset=0,lag=0"}, true},
		"something else":   {map[string]string{"slave_repl_offset": "state=online", "slaves": "state=online"}, false},
		"a name like that": {map[string]string{"slave0": "ip=state=online,port=6379,state=send_bulk,offset=0"}, false},
	} {
		if got := confirms(test.fields); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
