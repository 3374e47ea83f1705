//go:build unix

package redisstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// A server that hangs, however it does: the loss is told, calls end soon and say
// why, and it is back by itself.
func TestAServerThatHangs(t *testing.T) {
	pause := func(command ...string) func(t *testing.T, server *realserver.Redis, _ *netfault.Proxy) func() {
		return func(t *testing.T, server *realserver.Redis, _ *netfault.Proxy) func() {
			c := raw(t, Options{Addresses: []string{server.Addr}})
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := c.Do(ctx, c.B().Arbitrary(command...).Build()).Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			return func() {}
		}
	}
	for name, hang := range map[string]func(t *testing.T, server *realserver.Redis, proxy *netfault.Proxy) (goOn func()){
		"it pauses all clients":     pause("CLIENT", "PAUSE", "2000", "ALL"),
		"it is busy with a command": pause("DEBUG", "SLEEP", "2"),
		"its process is stopped": func(t *testing.T, server *realserver.Redis, _ *netfault.Proxy) func() {
			if err := server.Suspend(); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := server.Resume(); err != nil {
					t.Error(err)
				}
			}
		},
		"its answers are late": func(_ *testing.T, _ *realserver.Redis, proxy *netfault.Proxy) func() {
			proxy.Delay(3 * time.Second)
			return func() {
				proxy.Delay(0)
				proxy.Cut()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"enable-debug-command yes"}})
			proxy := netfault.NewProxy(t, server.Addr)
			s := open(t, Options{Addresses: []string{proxy.Addr()}})
			key := create(t, s)
			ear := listen(s)
			since := time.Now()
			goOn := hang(t, server, proxy)
			for _, call := range []struct {
				name string
				do   func() error
			}{
				{"Get", func() error { _, _, _, err := s.Get(t.Context(), key); return err }},
				{"Create", func() error { return s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("ana"), nil) }},
				{"Count", func() error { _, err := s.Count(t.Context()); return err }},
			} {
				began := time.Now()
				err := call.do()
				took := time.Since(began)
				t.Logf("%s ended after %v: %v", call.name, took.Round(time.Millisecond), err)
				// A machine that is slower than the server may find it awake again.
				if err != nil && !errors.Is(err, sessionstore.ErrUnavailable) || took > grace {
					t.Errorf("%s: %v after %v", call.name, err, took)
				}
				if err == nil && took < 2*time.Second && time.Since(since) < 2*time.Second {
					t.Errorf("%s: a server that hangs has answered", call.name)
				}
			}
			eventually(t, "told of the loss", ear.lostSince(since))
			goOn()
			works(t, s)
			there(t, s, key, true)
		})
	}
}

// The stream of changes is gone while the server works: nothing that is remembered
// may outlive it for long.
func TestTheStreamAloneIsCut(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	proxy := netfault.NewProxy(t, server.Addr)
	s, other := open(t, Options{Addresses: []string{proxy.Addr()}}), open(t, Options{Addresses: []string{server.Addr}})
	works(t, s)
	works(t, other)
	ear := listen(s)
	for name, cut := range map[string]func(){
		"cut":       proxy.Cut,
		"forgotten": proxy.StallOpen,
		"cut twice": func() { proxy.Cut(); time.Sleep(20 * time.Millisecond); proxy.Cut() },
		"cut in an answer": func() {
			since := time.Now()
			proxy.DropAfter(40)
			eventually(t, "cut", ear.lostSince(since))
			proxy.DropAfter(-1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			since := time.Now()
			cut()
			eventually(t, "told of the loss", ear.lostSince(since))
			works(t, s)
			key := create(t, other)
			eventually(t, "a change", ear.changedSince(key, since))
		})
	}
}
