package redisstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// sentinelOver starts a sentinel over a primary and its replica.
func sentinelOver(t *testing.T, primary *realserver.Redis, config ...string) *realserver.Redis {
	t.Helper()
	host, port := hostPort(t, primary.Addr)
	return realserver.NewRedis(t, realserver.RedisOptions{Sentinel: true, Config: append([]string{
		"sentinel monitor main " + host + " " + port + " 1",
		"sentinel down-after-milliseconds main 500", "sentinel failover-timeout main 3000",
	}, config...)})
}

// knowsReplica waits until the sentinel could put a replica in the primary's
// place.
func knowsReplica(t *testing.T, options Options) {
	t.Helper()
	c := raw(t, options)
	eventually(t, "the sentinel knows the replica", func() bool {
		all, err := c.Do(t.Context(), c.B().SentinelReplicas().Master("main").Build()).ToArray()
		if err != nil || len(all) != 1 {
			return false
		}
		replica, err := all[0].AsStrMap()
		return err == nil && replica["master-link-status"] == "ok"
	})
}

// history is what one session's calls have told.
type history struct {
	key     sessionstore.Key
	owner   *Store        // through which it was deleted
	deleted time.Time     // when that was acknowledged
	stalled time.Duration // for how long the machine had stood still by then
}

// Sessions are created, deleted and read through two nodes while the primary dies
// and its replica takes over: after an acknowledged deletion the same node never
// finds the session again, and the other one does so for a second at the most.
func TestAFailoverUnderTraffic(t *testing.T) {
	primary, _ := replicated(t)
	sentinel := sentinelOver(t, primary)
	knowsReplica(t, Options{Addresses: []string{sentinel.Addr}})
	options := Options{Addresses: []string{sentinel.Addr}, Sentinel: "main"}
	nodes := []*Store{open(t, options), open(t, options)}
	for _, s := range nodes {
		works(t, s)
		eventually(t, "the replica is known", replicasKnown(s))
	}
	var mu sync.Mutex
	var ended []*history
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	var acknowledged atomic.Int64

	// A machine that stands still for long is no judge of what was late.
	var stalled atomic.Int64
	readers.Go(func() {
		for last := time.Now(); !stop.Load(); last = time.Now() {
			time.Sleep(5 * time.Millisecond)
			if gap := time.Since(last); gap > 100*time.Millisecond {
				stalled.Add(int64(gap))
			}
		}
	})
	for i, s := range nodes {
		for w := range 2 {
			writers.Go(func() {
				for n := 0; !stop.Load(); n++ {
					session := storetest.NewSession(fmt.Sprint("user", i, w, n%10))
					key := storetest.NewKey()
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					err := s.Create(ctx, key, session, nil)
					if err == nil {
						_, _, _, err = nodes[1-i].Get(ctx, key)
					}
					if err == nil {
						if _, err = s.Delete(ctx, key); err == nil {
							h := &history{key, s, time.Now(), time.Duration(stalled.Load())}
							acknowledged.Add(1)
							mu.Lock()
							ended = append(ended, h)
							mu.Unlock()
						}
					}
					cancel()
					if err != nil {
						time.Sleep(5 * time.Millisecond)
					}
				}
			})
		}
	}
	for range 3 {
		readers.Go(func() {
			for !stop.Load() {
				mu.Lock()
				var h *history
				if n := len(ended); n > 0 {
					h = ended[n-1-rand.N(min(n, 400))]
				}
				mu.Unlock()
				if h == nil {
					time.Sleep(time.Millisecond)
					continue
				}
				for _, s := range nodes {
					asked := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					_, _, ok, err := s.Get(ctx, h.key)
					cancel()
					if err != nil || !ok {
						continue
					}
					if s == h.owner {
						t.Error("a session was found by the node that has acknowledged its end")
					} else if late := asked.Sub(h.deleted) - promise; late > time.Duration(stalled.Load())-h.stalled {
						t.Errorf("a session was found %v later than a node may", late)
					}
				}
			}
		})
	}
	time.Sleep(700 * time.Millisecond)
	primary.Kill()
	killed := time.Now()
	before := acknowledged.Load()
	for _, s := range nodes {
		eventually(t, "noticed", func() bool { return s.client.connection.Load() == nil || acknowledged.Load() > before+50 })
	}
	for _, s := range nodes {
		for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			if _, err := s.Mark(t.Context(), time.Now()); err == nil {
				break
			} else if time.Since(begun) > 3*grace {
				t.Fatalf("no primary again: %v", err)
			}
		}
	}
	t.Logf("failed over after %v", time.Since(killed).Round(time.Millisecond))
	time.Sleep(1500 * time.Millisecond)
	stop.Store(true)
	writers.Wait()
	readers.Wait()
	// In the end nobody finds any of them.
	for _, h := range ended {
		for _, s := range nodes {
			if _, _, ok, err := s.Get(t.Context(), h.key); ok || err != nil {
				t.Fatalf("after all: %v, %v", ok, err)
			}
		}
	}
	t.Logf("%d deletions were acknowledged; the machine stood still for %v", len(ended), time.Duration(stalled.Load()))
}

// Sentinels have no password, the server's, or one of their own.
func TestPasswordsOfSentinels(t *testing.T) {
	const own = "Fil-d-Empalomar-3"
	account := "user " + aclUser + " on >" + aclPassword + " ~* &* +@all"
	for _, test := range []struct {
		name     string
		sentinel []string
		options  Options
		ok       bool
	}{
		{"none", nil, Options{}, true},
		{"the server's", []string{"requirepass " + aclPassword}, Options{}, true},
		{"the server's account", []string{"user default off", account}, Options{Username: aclUser}, true},
		{"none, and the server's account is unknown to it", nil, Options{Username: aclUser}, true},
		{"its own", []string{"requirepass " + own}, Options{SentinelPassword: own}, true},
		{"its own account", []string{"user default off", "user watch on >" + own + " ~* &* +@all"},
			Options{SentinelUsername: "watch", SentinelPassword: own}, true},
		{"its own, and nobody says it", []string{"requirepass " + own}, Options{}, false},
		{"another than is said", []string{"requirepass " + own}, Options{SentinelPassword: "wrong-one"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"requirepass " + aclPassword, account}})
			sentinel := sentinelOver(t, server, append(test.sentinel, "sentinel auth-pass main "+aclPassword)...)
			options := test.options
			options.Addresses, options.Sentinel, options.Password = []string{sentinel.Addr}, "main", aclPassword
			log := &buffer{}
			s := openLogging(t, options, log)
			if test.ok {
				works(t, s)
				key := create(t, s)
				if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
					t.Errorf("Delete: %v, %v", ok, err)
				}
			} else {
				t.Log(unavailable(t, s))
			}
			if text := log.String(); strings.Contains(text, aclPassword) || strings.Contains(text, own) {
				t.Errorf("the log has a password:\n%s", text)
			}
		})
	}
}

// The order of the addresses must not matter: one that is down hides what the
// other one wants.
func TestASentinelThatIsDownHidesNoPassword(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"requirepass " + aclPassword}})
	up := sentinelOver(t, server, "requirepass "+aclPassword, "sentinel auth-pass main "+aclPassword)
	down := realserver.NewRedis(t, realserver.RedisOptions{Sentinel: true})
	down.Kill()
	for _, addresses := range [][]string{{up.Addr, down.Addr}, {down.Addr, up.Addr}} {
		works(t, open(t, Options{Addresses: addresses, Sentinel: "main", Password: aclPassword}))
	}
}

// A cluster's node dies, and its replica takes its slots.
func TestAFailoverInACluster(t *testing.T) {
	addresses, servers := newCluster(t)
	options := Options{Addresses: addresses, Cluster: true}
	s := open(t, options)
	stays, ends := create(t, s), create(t, s)
	c := direct(t, addresses[0])
	slot, err := c.Do(t.Context(), c.B().ClusterKeyslot().Key(s.keys.index).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	primary := servers[int(slot)*len(servers)/16384]
	p := direct(t, primary.Addr)
	id, err := p.Do(t.Context(), p.B().ClusterMyid().Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	replica := realserver.NewRedis(t, realserver.RedisOptions{Cluster: true, Config: clusterConfig})
	r := direct(t, replica.Addr)
	host, port := hostPort(t, primary.Addr)
	if err := r.Do(t.Context(), r.B().Arbitrary("CLUSTER", "MEET", host, port, primary.BusPort).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a replica", func() bool {
		return r.Do(t.Context(), r.B().ClusterReplicate().NodeId(id).Build()).Error() == nil
	})
	eventually(t, "the replica is known", replicasKnown(s))
	eventually(t, "copied", func() bool {
		info, err := r.Do(t.Context(), r.B().Info().Section("replication").Build()).ToString()
		return err == nil && strings.Contains(info, "master_link_status:up")
	})
	eventually(t, "the others know it", func() bool {
		for _, address := range addresses {
			c := direct(t, address)
			nodes, err := c.Do(t.Context(), c.B().ClusterNodes().Build()).ToString()
			if err != nil || !strings.Contains(nodes, "slave "+id) {
				return false
			}
		}
		return true
	})
	eventually(t, "deleted", func() bool { _, err := s.Delete(t.Context(), ends); return err == nil })
	ear := listen(s)
	since := time.Now()
	primary.Kill()
	eventually(t, "told of the loss", ear.lostSince(since))
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		_, _, ok, err := s.Get(t.Context(), stays)
		if err == nil {
			if !ok {
				t.Error("a session is gone, and nobody deleted it")
			}
			break
		}
		if time.Since(begun) > 3*grace {
			t.Fatalf("no primary again: %v", err)
		}
	}
	t.Logf("failed over after %v", time.Since(since).Round(time.Millisecond))
	there(t, s, ends, false)
	there(t, open(t, options), ends, false)
	there(t, s, create(t, s), true)
}
