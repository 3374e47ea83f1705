package integration

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// askRedis sends one command to one server, whatever it is part of.
func askRedis(t testing.TB, address string, command ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := exec.Command("redis-cli", append([]string{"-h", host, "-p", port}, command...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %s: %v: %s", command[0], err, answer)
	}
	return string(answer)
}

// oneSetOfSessions goes through a visit that uses both nodes, in both directions.
func oneSetOfSessions(t testing.TB, a, b *node) {
	t.Helper()
	for _, pair := range [][2]*node{{a, b}, {b, a}} {
		here, there := pair[0], pair[1]
		s := here.demo(t)
		s.served(t)
		s.at(there).served(t)
		s.at(there).end(t)
		since := time.Now()
		s.at(there).refused(t)
		if served := s.untilRefused(t, since); served > elsewhere+slack {
			t.Errorf("a request was served %v after the sign-out elsewhere", served)
		}
	}
}

func TestClusterOverTLSWithLittleRights(t *testing.T) {
	const password = "Clau-de-la-Biblioteca-7"
	redis := realserver.NewRedis(t, realserver.RedisOptions{TLS: true, Config: []string{
		"user default off resetpass ~* &* +@all",
		"user caddy on >" + password + " resetchannels ~{intranet}:* -@all +hello +auth +ping +client|tracking +client|setname" +
			" +evalsha +eval +info +wait +time +get +set +del +exists +mget +hget +hset +hdel +hmget +hscan +zadd +zrem +zrange +zcard",
	}})
	cl := newClusterOn(t, redis)
	options := []string{"username caddy", "password " + password, "ca_file " + redis.CA.File, "prefix intranet"}
	a, b := cl.node(t, redis.Addr, options...).start(t), cl.node(t, redis.Addr, options...).start(t)
	for _, n := range []*node{a, b} {
		n.caddy.keepSecret(password, false)
	}
	oneSetOfSessions(t, a, b)
	for i, n := range []*node{a, b, a} {
		if got := n.guess(t, "mgarcia"); got != http.StatusUnauthorized {
			t.Errorf("guess %d: %d", i+1, got)
		}
	}
	if got := b.guess(t, "mgarcia"); got != http.StatusTooManyRequests {
		t.Errorf("one more guess: %d", got)
	}
}

// TestClusterFailsOverUnderTraffic: the primary dies while both nodes serve. What
// was acknowledged before holds, and nobody is signed out.
func TestClusterFailsOverUnderTraffic(t *testing.T) {
	primary := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"repl-diskless-sync-delay 0"}})
	host, port, err := net.SplitHostPort(primary.Addr)
	if err != nil {
		t.Fatal(err)
	}
	realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"replicaof " + host + " " + port}})
	sentinel := realserver.NewRedis(t, realserver.RedisOptions{Sentinel: true, Config: []string{
		"sentinel monitor principal " + host + " " + port + " 1",
		"sentinel down-after-milliseconds principal 700", "sentinel failover-timeout principal 3000",
	}})
	waitFor(t, "the sentinel to know the replica", func() bool {
		known := strings.Fields(askRedis(t, sentinel.Addr, "SENTINEL", "REPLICAS", "principal"))
		for i, word := range known[:max(len(known)-1, 0)] {
			if word == "master-link-status" {
				return known[i+1] == "ok"
			}
		}
		return false
	})
	waitFor(t, "the replica to be whole", func() bool {
		return strings.Contains(askRedis(t, primary.Addr, "INFO", "replication"), "state=online")
	})

	cl := newClusterOn(t, primary)
	a := cl.node(t, sentinel.Addr, "sentinel principal").start(t)
	b := cl.node(t, sentinel.Addr, "sentinel principal").start(t)
	stays, ends := a.demo(t), b.demo(t)
	for _, n := range []*node{a, b} {
		stays.at(n).served(t)
		ends.at(n).served(t)
	}
	askRedis(t, primary.Addr, "WAIT", "1", "5000")

	var stop atomic.Bool
	var traffic sync.WaitGroup
	var served, unknown atomic.Int64
	for _, n := range []*node{a, b} {
		s := stays.at(n)
		for range 2 {
			traffic.Go(func() {
				for !stop.Load() {
					switch r, err := s.send("GET", "/", "", "Cookie", s.cookies()); {
					case err != nil:
						t.Errorf("a request: %v", err)
						return
					case r.status == http.StatusOK:
						served.Add(1)
					case r.status == http.StatusServiceUnavailable:
						unknown.Add(1)
					default:
						t.Errorf("a session that nobody ended got %d %s", r.status, r.body)
						return
					}
					time.Sleep(2 * time.Millisecond)
				}
			})
		}
	}
	defer func() { stop.Store(true); traffic.Wait() }()
	ends.end(t)
	primary.Kill()
	since := time.Now()
	for _, n := range []*node{a, b} {
		waitFor(t, "the loss of the primary to be noticed", func() bool { return stays.at(n).get(t, "/").status != http.StatusOK })
	}
	for _, n := range []*node{a, b} {
		stays.at(n).served(t)
		ends.at(n).refused(t)
	}
	took := time.Since(since)
	oneSetOfSessions(t, a, b)
	stop.Store(true)
	traffic.Wait()
	stays.at(b).end(t)
	t.Logf("both served again %v after the primary was killed; %d requests were served, %d answered 503", took, served.Load(), unknown.Load())
}

func TestClusterOnARedisCluster(t *testing.T) {
	const nodes, slots = 3, 16384
	var all []*realserver.Redis
	for i := range nodes {
		all = append(all, realserver.NewRedis(t, realserver.RedisOptions{Cluster: true}))
		askRedis(t, all[i].Addr, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*slots/nodes), fmt.Sprint((i+1)*slots/nodes-1))
	}
	for _, other := range all[1:] {
		host, port, err := net.SplitHostPort(other.Addr)
		if err != nil {
			t.Fatal(err)
		}
		askRedis(t, all[0].Addr, "CLUSTER", "MEET", host, port, other.BusPort)
	}
	for _, server := range all {
		waitFor(t, "the cluster", func() bool {
			info := askRedis(t, server.Addr, "CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	cl := newClusterOn(t, all[0])
	// Each begins at another node, wherever the sessions are.
	a := cl.node(t, all[0].Addr+" "+all[1].Addr, "cluster").start(t)
	b := cl.node(t, all[2].Addr, "cluster").start(t)
	oneSetOfSessions(t, a, b)
}
