package caddyauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/redisstore"
	"github.com/caddyauth/caddy-ldap/throttle"
)

// throttleNode is what a Caddy has of the throttle, without Caddy.
type throttleNode struct {
	t        *testing.T
	handle   throttleHandle
	sessions *sessionstore.Sessions
	log      nodeLog
}

// nodeLog is a log that a test reads while others write it.
type nodeLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *nodeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *nodeLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func newThrottleNode(t *testing.T, server *realserver.Redis) *throttleNode {
	t.Helper()
	store, err := redisstore.Open(redisstore.Options{Addresses: []string{server.Addr}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := &throttleNode{t: t, sessions: sessionstore.New(store, sessionstore.Options{}, nil)}
	if err := n.handle.open(n.sessions, slog.New(slog.NewTextHandler(&n.log, nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	return n
}

// close ends it, once.
func (n *throttleNode) close() {
	if err := n.handle.close(); err != nil {
		n.t.Error(err)
	}
	_ = n.sessions.Close() // a test may have ended it, or the server
}

func (n *throttleNode) ready() bool { return n.handle.opened.Load() != nil }

func (n *throttleNode) throttle() *throttle.Throttle {
	n.t.Helper()
	eventually(n.t, "the throttle opens", n.ready)
	return n.handle.opened.Load().Throttle
}

var sharedLimits = throttle.Limits{
	Account: throttle.Limit{Failures: 3, Window: 15 * time.Minute},
	Device:  throttle.Limit{Failures: 2, Window: 15 * time.Minute},
	Source:  throttle.Limit{Failures: 1000, Window: 15 * time.Minute},
}

func (n *throttleNode) try(name string, devices ...string) (*throttle.Attempt, error) {
	n.t.Helper()
	return n.throttle().Begin(n.t.Context(), throttle.Request{
		Source: netip.MustParseAddr("192.0.2.1"), Name: name, Devices: devices,
	}, sharedLimits)
}

func (n *throttleNode) begin(name string, devices ...string) *throttle.Attempt {
	n.t.Helper()
	attempt, err := n.try(name, devices...)
	if err != nil {
		n.t.Fatalf("%s: %v", name, err)
	}
	return attempt
}

func (n *throttleNode) blocked(name string, devices ...string) {
	n.t.Helper()
	attempt, err := n.try(name, devices...)
	if err == nil {
		attempt.Release()
	}
	wantBlocked(n.t, err)
}

func wantBlocked(t *testing.T, err error) {
	t.Helper()
	if blocked := (*throttle.BlockedError)(nil); !errors.As(err, &blocked) {
		t.Errorf("error %v, want a BlockedError", err)
	}
}

// later makes all that is counted older, as if so much time had passed.
func later(t *testing.T, server *realserver.Redis, d time.Duration) {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const script = `
for i = 1, #KEYS do
	for _, key in ipairs(redis.call('HKEYS', KEYS[i])) do
		local value = redis.call('HGET', KEYS[i], key)
		local out, at = string.sub(value, 1, 7), 8
		local n = struct.unpack('>I2', value, 6)
		while at <= #value do
			out = out .. struct.pack('>I6', struct.unpack('>I6', value, at) - ARGV[1])
			at = at + 6
			if n > 0 then n = n - 1 else out, at = out .. string.sub(value, at, at + 15), at + 16 end
		end
		redis.call('HSET', KEYS[i], key, out)
	end
end
return 0`
	command := c.B().Eval().Script(script).Numkeys(2).Key("{ldap_auth}:accounts", "{ldap_auth}:sources").Arg(fmt.Sprint(d.Milliseconds())).Build()
	if err := c.Do(t.Context(), command).Error(); err != nil {
		t.Fatal(err)
	}
}

// TestTwoNodesShareTheThrottle: what a directory would count together is counted
// together, wherever it came in.
func TestTwoNodesShareTheThrottle(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	nodes := map[byte]*throttleNode{'A': newThrottleNode(t, server), 'B': newThrottleNode(t, server)}
	a, b := nodes['A'], nodes['B']
	ctx := t.Context()

	t.Run("wrong passwords at any of them block at both", func(t *testing.T) {
		for _, order := range []string{"AAA", "AAB", "ABA", "ABB", "BAA", "BBB"} {
			for i := range len(order) {
				attempt := nodes[order[i]].begin(fmt.Sprintf("name %d of %s", i, order))
				if err := attempt.Identify(ctx, order); err != nil {
					t.Fatalf("%s: %v", order, err)
				}
				attempt.Fail()
				nodes[order[i]].begin(order).Fail()
			}
			a.blocked(order)
			b.blocked(order)
			wantBlocked(t, a.begin("by another name "+order).Identify(ctx, order))
			wantBlocked(t, b.begin("by another name "+order).Identify(ctx, order))
		}
	})
	t.Run("guesses at both at once", func(t *testing.T) {
		var binds, refused atomic.Int32
		var group sync.WaitGroup
		for i := range 60 {
			node := []*throttleNode{a, b}[i%2].throttle()
			group.Go(func() {
				for {
					attempt, err := node.Begin(ctx, throttle.Request{Name: "victim"}, sharedLimits)
					if errors.Is(err, throttle.ErrBusy) {
						continue // on a machine that is slower than a sign-in may wait
					}
					if err != nil {
						wantBlocked(t, err)
						refused.Add(1)
						return
					}
					if err := attempt.Identify(ctx, "id-victim"); errors.Is(err, throttle.ErrBusy) {
						continue
					} else if err != nil {
						wantBlocked(t, err)
						refused.Add(1)
						return
					}
					binds.Add(1)
					time.Sleep(5 * time.Millisecond)
					attempt.Fail()
					return
				}
			})
		}
		group.Wait()
		if binds.Load() != 3 || refused.Load() != 57 {
			t.Errorf("%d passwords were sent and %d refused, want 3 and 57", binds.Load(), refused.Load())
		}
	})
	t.Run("a success at one clears both", func(t *testing.T) {
		a.begin("juan").Fail()
		b.begin("juan").Fail()
		a.begin("juan").Succeed("id-juan", throttle.Own)
		b.begin("juan").Fail()
		b.begin("juan").Fail()
		a.begin("juan").Release()
	})
	t.Run("a device that is known at one is known at the other", func(t *testing.T) {
		cookie := a.begin("maria").Succeed("id-maria", throttle.Own)
		for range 3 {
			b.begin("maria").Fail()
		}
		a.blocked("maria")
		b.blocked("maria")
		b.begin("maria", cookie).Fail()
		a.begin("maria", cookie).Fail()
		b.blocked("maria", cookie) // its own budget is one too
	})
	t.Run("a name that is learned at one counts for its account at the other", func(t *testing.T) {
		a.begin("pepe@mail.test").Succeed("id-pepe", throttle.Further)
		for range 3 {
			b.begin("pepe@mail.test").Fail()
		}
		wantBlocked(t, a.begin("pepe").Identify(ctx, "id-pepe"))
	})
	t.Run("a node that dies with passwords under way leaves no free guesses", func(t *testing.T) {
		c := newThrottleNode(t, server)
		for range 3 {
			c.begin("luisa")
		}
		if err := c.sessions.Close(); err != nil {
			t.Error(err)
		}
		if _, err := a.try("luisa"); err != throttle.ErrBusy {
			t.Errorf("error %v, want ErrBusy: nobody knows yet", err)
		}
		later(t, server, sessionstore.PlaceLease)
		a.blocked("luisa")
		b.blocked("luisa")
		later(t, server, 15*time.Minute)
		a.begin("luisa").Release()
	})
}

// TestThrottleWithoutRedis: nobody is admitted while nobody can count, and all
// goes on by itself.
func TestThrottleWithoutRedis(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"appendfsync always"}})
	a, b := newThrottleNode(t, server), newThrottleNode(t, server)
	a.begin("juan").Fail()
	under := []*throttle.Attempt{a.begin("juan"), b.begin("juan")}
	server.Kill()

	for range 3 {
		attempt, err := a.try("maria")
		var store storeError
		if attempt != nil || !errors.As(err, &store) {
			t.Fatalf("Begin: %v, %v, want no attempt and the store's error", attempt, err)
		}
	}
	began := time.Now()
	under[0].Fail()
	under[1].Succeed("id-juan", throttle.Own)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("outcomes that cannot be counted took %v", took)
	}
	for _, n := range []*throttleNode{a, b} {
		if lines := n.log.count("level=ERROR"); lines != 1 {
			t.Errorf("%d errors were logged, want 1", lines)
		}
	}

	// A third node starts meanwhile.
	c := newThrottleNode(t, server)
	if c.ready() {
		t.Error("a throttle opened without its secret")
	}
	time.Sleep(3 * throttleRetry)
	if lines := c.log.count("level=ERROR"); lines != 1 {
		t.Errorf("%d errors were logged at the start, want 1", lines)
	}

	server.Restart(t)
	for _, n := range []*throttleNode{a, b, c} {
		eventually(t, "the node works again", func() bool {
			attempt, err := n.try("maria")
			if err == nil {
				attempt.Release()
			}
			return err == nil
		})
	}
	if lines := c.log.count("level=INFO"); lines != 1 {
		t.Errorf("%d lines that it works, want 1", lines)
	}
	// What could not be settled is a failure.
	later(t, server, sessionstore.PlaceLease)
	for _, n := range []*throttleNode{a, b, c} {
		n.blocked("juan")
	}
}

// TestAStoreThatFailsForGoodStopsTheStart: only what comes back by itself is
// waited for.
func TestAStoreThatFailsForGoodStopsTheStart(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		shared bool
		later  bool
	}{
		"no space":                {fmt.Errorf("reading: %w", sessionstore.ErrNoSpace), false, true},
		"no server":               {fmt.Errorf("reading: %w", sessionstore.ErrUnavailable), true, true},
		"a slow server":           {fmt.Errorf("reading: %w", context.DeadlineExceeded), true, true},
		"a slow disk":             {fmt.Errorf("reading: %w", context.DeadlineExceeded), false, false},
		"anything else":           {errors.New("the disk is on fire"), false, false},
		"anything else elsewhere": {errors.New("the disk is on fire"), true, false},
	} {
		var store sessionstore.Store = failingStore{err: test.err}
		if test.shared {
			store = failingSharedStore{failingStore{err: test.err}, nil}
		}
		sessions := sessionstore.New(store, sessionstore.Options{}, nil)
		var handle throttleHandle
		err := handle.open(sessions, slog.New(slog.DiscardHandler))
		if (err == nil) != test.later {
			t.Errorf("%s: error %v", name, err)
		}
		if err := handle.close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = sessions.Close() // it fails
	}
}

// failingStore has no secret.
type failingStore struct {
	sessionstore.Store
	err error
}

func (f failingStore) Secret(context.Context, string, []byte) ([]byte, error) { return nil, f.err }

func (failingStore) Close() error { return nil }

func (failingStore) Mark(context.Context, time.Time) (time.Time, error) { return time.Time{}, nil }

type failingSharedStore struct {
	failingStore
	sessionstore.Budgets
}
