package redisstore

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// A reload that goes away from a server leaves nothing of it behind, in whatever
// state it was: the process goes on for months.
func TestCloseLeavesNothingRunning(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	primary, _ := replicated(t)
	down := realserver.NewRedis(t, realserver.RedisOptions{})
	down.Kill()
	refuses := realserver.NewRedis(t, realserver.RedisOptions{})
	sentinel := sentinelOver(t, primary)
	stalled := netfault.NewStalled(t)
	var proxy *netfault.Proxy
	for _, test := range []struct {
		name  string
		open  func(t *testing.T) Options
		state func(t *testing.T, s *Store)
	}{
		{"at once", func(*testing.T) Options { return Options{Addresses: []string{server.Addr}} }, func(*testing.T, *Store) {}},
		{"at work", func(*testing.T) Options { return Options{Addresses: []string{server.Addr}} }, func(t *testing.T, s *Store) {
			works(t, s)
			create(t, s)
		}},
		{"with sockets that wait for a replica", func(*testing.T) Options { return Options{Addresses: []string{primary.Addr}} }, func(t *testing.T, s *Store) {
			eventually(t, "the replica is known", replicasKnown(s))
			eventually(t, "a sign-out", func() bool { _, err := s.Delete(t.Context(), create(t, s)); return err == nil })
		}},
		{"through sentinels", func(*testing.T) Options { return Options{Addresses: []string{sentinel.Addr}, Sentinel: "main"} }, works},
		{"through sentinels of which some are down", func(*testing.T) Options {
			return Options{Addresses: []string{down.Addr, stalled.Addr(), sentinel.Addr}, Sentinel: "main"}
		}, func(t *testing.T, s *Store) { works(t, s) }},
		{"nobody listens", func(*testing.T) Options { return Options{Addresses: []string{down.Addr}} }, func(t *testing.T, s *Store) { unavailable(t, s) }},
		{"nobody answers", func(*testing.T) Options { return Options{Addresses: []string{stalled.Addr()}} }, func(*testing.T, *Store) {}},
		{"in a cluster that is down", func(*testing.T) Options {
			return Options{Addresses: []string{down.Addr, stalled.Addr()}, Cluster: true}
		}, func(t *testing.T, s *Store) { unavailable(t, s) }},
		{"writes are refused", func(*testing.T) Options { return Options{Addresses: []string{refuses.Addr}} }, func(t *testing.T, s *Store) {
			if _, err := s.Delete(t.Context(), create(t, s)); err != nil {
				t.Fatal(err)
			}
			// Not with a client of its own, which would be taken for one that is left.
			if err := s.client.Do(t.Context(), s.client.B().ConfigSet().ParameterValue().ParameterValue("min-replicas-to-write", "1").Build()).Error(); err != nil {
				t.Fatal(err)
			}
			s.journal.late.Store(true)
			time.Sleep(2 * healthEvery)
		}},
		{"gone silent, with calls under way", func(t *testing.T) Options {
			proxy = netfault.NewProxy(t, primary.Addr)
			return Options{Addresses: []string{proxy.Addr()}}
		}, func(t *testing.T, s *Store) {
			eventually(t, "a sign-out", func() bool { _, err := s.Delete(t.Context(), create(t, s)); return err == nil })
			proxy.Stall()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := test.open(t)
			before := goleak.IgnoreCurrent()
			s := open(t, options)
			test.state(t, s)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			for range 5 {
				// What they answer is not the question.
				go func() { _, _, _, _ = s.Get(ctx, storetest.NewKey()) }()
				go func() { _, _ = s.Delete(ctx, storetest.NewKey()) }()
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			// The client of a cluster looks at its nodes once more, a second after its end.
			var left error
			for began := time.Now(); time.Since(began) < grace; {
				if left = goleak.Find(before); left == nil {
					break
				}
			}
			if left != nil {
				t.Error(left)
			}
		})
	}
}
