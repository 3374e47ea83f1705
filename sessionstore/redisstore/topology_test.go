package redisstore

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// hostPort splits an address of a test's server.
func hostPort(t *testing.T, address string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// direct is a client of one server, whatever it is part of.
func direct(t *testing.T, address string) rueidis.Client {
	t.Helper()
	return raw(t, Options{Addresses: []string{address}})
}

// clusterConfig has nodes notice soon that another one has died.
var clusterConfig = []string{"cluster-node-timeout 1000", "repl-diskless-sync-delay 0"}

// newCluster starts three nodes that share the slots.
func newCluster(t *testing.T) (addresses []string, servers []*realserver.Redis) {
	t.Helper()
	const nodes, slots = 3, 16384
	var buses []string
	for i := range nodes {
		server := realserver.NewRedis(t, realserver.RedisOptions{Cluster: true, Config: clusterConfig})
		servers = append(servers, server)
		buses = append(buses, server.BusPort)
		addresses = append(addresses, server.Addr)
		c := direct(t, server.Addr)
		if err := c.Do(t.Context(), c.B().ClusterAddslotsrange().StartSlotEndSlot().StartSlotEndSlot(int64(i*slots/nodes), int64((i+1)*slots/nodes-1)).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	first := direct(t, addresses[0])
	for i, address := range addresses[1:] {
		host, port := hostPort(t, address)
		if err := first.Do(t.Context(), first.B().Arbitrary("CLUSTER", "MEET", host, port, buses[1+i]).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	for _, address := range addresses {
		c := direct(t, address)
		eventually(t, "a node of the cluster", func() bool {
			info, err := c.Do(t.Context(), c.B().ClusterInfo().Build()).ToString()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return addresses, servers
}

// Every step is one script on one node, whichever the prefix leads to.
func TestCluster(t *testing.T) {
	addresses, _ := newCluster(t)
	ctx := t.Context()
	for i := range 6 {
		options := Options{Addresses: addresses, Cluster: true, Prefix: fmt.Sprint("site", i)}
		here, there := open(t, options), open(t, options)
		ear := listen(here)
		session, key := storetest.NewSession("ana"), storetest.NewKey()
		if err := here.Create(ctx, key, session, nil); err != nil {
			t.Fatal(err)
		}
		next := storetest.NewKey()
		since := time.Now()
		if err := there.Create(ctx, next, storetest.NewSession("ana"), &key); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a change", ear.changedSince(key, since))
		if err := there.SaveCounters(ctx, []sessionstore.Counter{storetest.NewCounter("x")}); err != nil {
			t.Error(err)
		}
		if err := here.Touch(ctx, []sessionstore.Touch{{Key: next, Seen: time.Now().Add(time.Minute)}}); err != nil {
			t.Error(err)
		}
		page, _, err := here.List(ctx, sessionstore.ListQuery{Limit: 10})
		if err != nil || len(page) != 1 || page[0].Key != next || !page[0].LastSeen.After(page[0].Created) {
			t.Errorf("List: %v, %v", page, err)
		}
		if deleted, err := here.DeleteUser(ctx, "empresa.local", "ana", nil); err != nil || len(deleted) != 1 {
			t.Errorf("DeleteUser: %v, %v", deleted, err)
		}
	}
}

// The sentinels put the replica in the place of a primary that died: the store
// follows, tells of the loss, and what a replica had confirmed holds.
func TestSentinel(t *testing.T) {
	primary, replica := replicated(t)
	sentinel := sentinelOver(t, primary)
	knowsReplica(t, Options{Addresses: []string{sentinel.Addr}})
	s := open(t, Options{Addresses: []string{sentinel.Addr}, Sentinel: "main"})
	ear := listen(s)
	eventually(t, "the replica is known", replicasKnown(s))
	ctx := t.Context()
	stays, ends := storetest.NewKey(), storetest.NewKey()
	for _, key := range []sessionstore.Key{stays, ends} {
		if err := s.Create(ctx, key, storetest.NewSession("ana"), nil); err != nil {
			t.Fatal(err)
		}
	}
	copied := direct(t, replica.Addr)
	eventually(t, "copied", func() bool {
		n, err := copied.Do(ctx, copied.B().Exists().Key(s.keys.session(stays), s.keys.session(ends)).Build()).AsInt64()
		return n == 2 && err == nil
	})
	confirmed := false
	eventually(t, "deleted", func() bool {
		_, err := s.Delete(ctx, ends)
		confirmed = err == nil
		return confirmed
	})
	since := time.Now()
	primary.Kill()
	eventually(t, "told of the loss", ear.lostSince(since))
	began := time.Now()
	for {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		_, _, ok, err := s.Get(limited, stays)
		cancel()
		if err == nil {
			if !ok {
				t.Error("a session is gone, and nobody deleted it")
			}
			break
		}
		if time.Since(began) > 3*grace {
			t.Fatalf("no primary again: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("failed over after %v", time.Since(began).Round(time.Millisecond))
	if _, _, ok, err := s.Get(ctx, ends); ok || err != nil {
		t.Errorf("a session whose end was acknowledged: %v, %v", ok, err)
	}
	if err := s.Create(ctx, storetest.NewKey(), storetest.NewSession("ana"), nil); err != nil {
		t.Errorf("Create after the failover: %v", err)
	}
}

// What a session takes in the server, and what a batch of touches takes: for the
// documentation.
func BenchmarkSession(b *testing.B) {
	server := realserver.NewRedis(b, realserver.RedisOptions{})
	s := open(b, Options{Addresses: []string{server.Addr}})
	session := storetest.NewSession("ana")
	session.User.Groups = nil
	for i := range 20 {
		session.User.Groups = append(session.User.Groups, sessionstore.Group{ID: fmt.Sprintf("S-1-5-21-1004336348-1177238915-682003330-%d", 1100+i)})
	}
	used := func() int64 {
		info, err := s.client.connection.Load().info(b.Context(), "memory")
		if err != nil {
			b.Fatal(err)
		}
		var n int64
		if _, err := fmt.Sscan(info["used_memory"], &n); err != nil {
			b.Fatal(err)
		}
		return n
	}
	if _, err := s.Count(b.Context()); err != nil {
		b.Fatal(err)
	}
	before := used()
	var keys []sessionstore.Key
	for b.Loop() {
		next := *session
		next.ID = storetest.NewSession("x").ID
		next.User.ID = fmt.Sprintf("%08x-0000-4000-8000-000000000000", len(keys))
		key := storetest.NewKey()
		if err := s.Create(b.Context(), key, &next, nil); err != nil {
			b.Fatal(err)
		}
		keys = append(keys, key)
	}
	b.ReportMetric(float64(used()-before)/float64(len(keys)), "bytes/session")
	began := time.Now()
	touches := 0
	for batch := range slices.Chunk(keys, touchBatch) {
		var all []sessionstore.Touch
		for _, key := range batch {
			all = append(all, sessionstore.Touch{Key: key, Seen: time.Now()})
		}
		if err := s.Touch(b.Context(), all); err != nil {
			b.Fatal(err)
		}
		touches += len(all)
	}
	b.ReportMetric(float64(time.Since(began).Microseconds())/float64(touches), "µs/touch")
}

func BenchmarkGet(b *testing.B) {
	server := realserver.NewRedis(b, realserver.RedisOptions{})
	s := open(b, Options{Addresses: []string{server.Addr}})
	key := storetest.NewKey()
	if err := s.Create(b.Context(), key, storetest.NewSession("ana"), nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, ok, err := s.Get(b.Context(), key); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
