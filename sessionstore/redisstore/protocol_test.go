package redisstore

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// The words for what is wrong are for whoever runs the server, not for programmers.
func TestServersThatTellOfNoChanges(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{`rename-command HELLO ""`}})
	err := unavailable(t, open(t, Options{Addresses: []string{server.Addr}}))
	if !strings.Contains(err.Error(), errOldProtocol.Error()) || strings.Contains(err.Error(), "ClientOption") {
		t.Errorf("a server of the old protocol: %v", err)
	}

	swallows := netfault.NewProxy(t, server.Addr)
	swallows.Stall()
	if err := unavailable(t, open(t, Options{Addresses: []string{swallows.Addr()}})); !strings.Contains(err.Error(), errSilent.Error()) {
		t.Errorf("a server that is silent: %v", err)
	}
	if err := explain(&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}); !errors.Is(err, errSilent) {
		t.Errorf("a read that timed out: %v", err)
	}
}

// One that falls silent is one cause, and one line; who asks is told within a second
// or little more, and then at once.
func TestSilenceIsToldOfOnce(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	proxy := netfault.NewProxy(t, server.Addr)
	log := &buffer{}
	s := openLogging(t, Options{Addresses: []string{proxy.Addr()}}, log)
	key := create(t, s)
	time.Sleep(steadyAfter)
	proxy.Stall()
	var longest time.Duration
	for began := time.Now(); time.Since(began) < 4*time.Second; time.Sleep(20 * time.Millisecond) {
		asked := time.Now()
		if _, _, _, err := s.Get(t.Context(), key); err != nil {
			longest = max(longest, time.Since(asked))
		}
	}
	t.Logf("the longest wait for an error was %v", longest)
	if longest > grace {
		t.Errorf("waited %v for an error", longest)
	}
	if text := log.String(); strings.Count(text, "level=ERROR") != 1 {
		t.Errorf("want one line:\n%s", text)
	}
	proxy.Resume()
	works(t, s)
	there(t, s, key, true)
}
