package redisstore

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/dnstest"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

const redisName = "redis.empresa.test"

var (
	first  = netip.MustParseAddr("127.0.0.1")
	second = netip.MustParseAddr("127.0.0.2")
)

// slow answers as names does, each question a while later: as when another name
// server is asked first, which is down.
func slow(names *dnstest.Server, delay time.Duration) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "udp", names.Addr())
		if err != nil {
			return nil, err
		}
		return slowConn{conn.(*net.UDPConn), delay}, nil
	}}
}

type slowConn struct {
	*net.UDPConn
	delay time.Duration
}

func (c slowConn) Read(b []byte) (int, error) {
	time.Sleep(c.delay)
	return c.UDPConn.Read(b)
}

// barred asks names from the moment on in which the other result is called.
func barred(names *dnstest.Server) (*net.Resolver, func()) {
	barrier := make(chan struct{})
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		select {
		case <-barrier:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, names.Addr())
	}}
	return resolver, sync.OnceFunc(func() { close(barrier) })
}

// A look-up that takes longer than an attempt to connect may is not begun anew by
// each.
func TestSlowNameServersAreWaitedFor(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	sentinel := sentinelOver(t, server)
	nodes, _ := newCluster(t)
	names := dnstest.New(t)
	named := func(name, address string) string {
		names.SetA(name, first)
		_, port := hostPort(t, address)
		return net.JoinHostPort(name, port)
	}
	var cluster []string
	for i, node := range nodes {
		// The nodes tell names of each other, too.
		name := "node" + string(rune('a'+i)) + ".empresa.test"
		c := direct(t, node)
		for option, value := range map[string]string{"cluster-announce-hostname": name, "cluster-preferred-endpoint-type": "hostname"} {
			if err := c.Do(t.Context(), c.B().ConfigSet().ParameterValue().ParameterValue(option, value).Build()).Error(); err != nil {
				t.Fatal(err)
			}
		}
		cluster = append(cluster, named(name, node))
	}
	for name, options := range map[string]Options{
		"one server": {Addresses: []string{named(redisName, server.Addr)}},
		"sentinel":   {Addresses: []string{named("sentinel.empresa.test", sentinel.Addr)}, Sentinel: "main"},
		"cluster":    {Addresses: cluster[1:], Cluster: true}, // the keys are on the first
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options.resolver = slow(names, 3*dialTimeout/2)
			s := open(t, options)
			atLast(t, "connected", func() error {
				_, err := s.Count(t.Context())
				return err
			})
		})
	}
}

// Which of the two is wrong, the server or its name, must be seen.
func TestErrorsOfLookups(t *testing.T) {
	names := dnstest.New(t)
	names.SetA("fails.empresa.test", first)
	names.Fail("fails.empresa.test")
	silent := dnstest.New(t)
	silent.Silence()
	for _, test := range []struct {
		name, host string
		names      *dnstest.Server
		want, cure string
	}{
		{"a name server that is silent", redisName, silent, `looking up "redis.empresa.test" takes longer than`, "name server"},
		{"a name that there is not", "nobody.empresa.test", names, "no such host", "address"},
		{"a name server that fails", "fails.empresa.test", names, "server misbehaving", "name server"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, Options{Addresses: []string{test.host + ":6379"}, resolver: test.names.Resolver()})
			<-s.tried.Load().over
			err := unavailable(t, s)
			if !strings.Contains(err.Error(), test.want) || !documentedError(t, err, test.cure) {
				t.Errorf("%v, want %q, and that the page has it", err, test.want)
			}
			if test.want != "no such host" && strings.Contains(err.Error(), "no such host") || strings.Contains(err.Error(), errSilent.Error()) {
				t.Errorf("%v, which is not so", err)
			}
			// A look-up that is under way ends: without that, its question would be
			// waited for, 5 s or what resolv.conf says.
			began := time.Now()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("Close took %v", took)
			}
		})
	}

	// No attempt waits until nobody is asked any more.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := lookUp(ctx, redisName, silent.Resolver())
	if err == nil || !strings.Contains(explain(err).Error(), "no name server answers") || !documentedError(t, err, "name server") {
		t.Errorf("the end of a look-up without an answer: %v", err)
	}
}

// A failover may be a change of the name.
func TestAChangedNameIsFollowed(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	names := dnstest.New(t)
	names.SetA(redisName, second) // where nobody listens
	_, port := hostPort(t, server.Addr)
	s := open(t, Options{Addresses: []string{net.JoinHostPort(redisName, port)}, resolver: names.Resolver()})
	if err := unavailable(t, s); !strings.Contains(err.Error(), "refused") {
		t.Errorf("at the wrong address: %v", err)
	}
	names.SetA(redisName, first)
	works(t, s)
}

// looking is a store that only looks names up.
func looking(t *testing.T) *Store {
	s := new(Store)
	s.ctx, s.cancel = context.WithCancel(t.Context())
	t.Cleanup(func() {
		s.cancel()
		s.names.close()
		s.background.Wait()
	})
	return s
}

func (s *Store) finds(t *testing.T, resolver *net.Resolver, want netip.Addr) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), grace)
	defer cancel()
	if got, err := s.find(ctx, redisName, resolver); err != nil || !slices.Equal(got, []string{want.String()}) {
		t.Errorf("found %v, %v, want %v", got, err, want)
	}
}

// impatient is an attempt that has given up before any answer.
func (s *Store) impatient(t *testing.T, resolver *net.Resolver) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got, err := s.find(ctx, redisName, resolver); err == nil || !strings.Contains(err.Error(), "takes longer than") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("found %v, %v, want that it takes too long", got, err)
	}
}

// unused returns the look-up whose addresses nobody has used.
func (s *Store) unused(t *testing.T) (l *lookup) {
	t.Helper()
	eventually(t, "looked up", func() bool {
		s.names.mu.Lock()
		defer s.names.mu.Unlock()
		l = s.names.lookups[redisName]
		return l != nil && !l.ended.IsZero()
	})
	return l
}

func TestLookupsAreJoined(t *testing.T) {
	s, names := looking(t), dnstest.New(t)
	names.SetA(redisName, first)
	resolver, unbar := barred(names)
	s.impatient(t, resolver)
	s.impatient(t, resolver)
	unbar()
	s.finds(t, resolver, first)
	asked := names.Asked(redisName)
	if asked != 2 {
		t.Errorf("asked %d times, want 2: for either kind of address", asked)
	}
	names.SetA(redisName, second)
	s.finds(t, resolver, second)
	if again := names.Asked(redisName); again != 2*asked {
		t.Errorf("asked %d times in all, want %d", again, 2*asked)
	}
	var attempts sync.WaitGroup
	for range 10 {
		attempts.Go(func() { s.finds(t, resolver, second) })
	}
	attempts.Wait()
}

func TestAddressesThatCameTooLateAreUsedOnce(t *testing.T) {
	for name, test := range map[string]struct {
		passes time.Duration
		want   netip.Addr
	}{
		"at once": {0, first},
		"soon":    {keptFor / 2, first},
		"later":   {keptFor + time.Millisecond, second},
	} {
		t.Run(name, func(t *testing.T) {
			s, names := looking(t), dnstest.New(t)
			names.SetA(redisName, first)
			resolver, unbar := barred(names)
			s.impatient(t, resolver)
			unbar()
			l := s.unused(t)
			s.names.mu.Lock()
			l.ended = l.ended.Add(-test.passes)
			s.names.mu.Unlock()
			names.SetA(redisName, second)
			s.finds(t, resolver, test.want)
			s.finds(t, resolver, second)
		})
	}
}

// What came at the end of an attempt did not get its chance.
func TestAddressesThatCameAtTheEndAreUsedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		comes, limit time.Duration
		used         bool
	}{
		"in good time": {0, time.Hour, true},
		"at the end":   {950 * time.Millisecond, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := looking(t)
			l := &lookup{began: time.Now(), over: make(chan struct{}), found: []string{first.String()}}
			s.names.lookups = map[string]*lookup{redisName: l}
			ctx, cancel := context.WithTimeout(t.Context(), test.limit)
			defer cancel()
			defer time.AfterFunc(test.comes, func() {
				s.names.mu.Lock()
				defer s.names.mu.Unlock()
				l.ended = time.Now()
				close(l.over)
			}).Stop()
			// One that takes longer, as on a busy machine, leaves them too.
			if _, err := s.find(ctx, redisName, nil); err != nil && test.used {
				t.Error(err)
			}
			s.names.mu.Lock()
			defer s.names.mu.Unlock()
			if _, left := s.names.lookups[redisName]; left == test.used {
				t.Errorf("left for the next attempt: %v", left)
			}
		})
	}
}

func TestFailuresOfLookupsAreNotKept(t *testing.T) {
	s, names := looking(t), dnstest.New(t)
	resolver, unbar := barred(names)
	ctx, cancel := context.WithTimeout(t.Context(), grace)
	defer cancel()
	failed := make(chan error)
	for range 2 {
		go func() {
			_, err := s.find(ctx, redisName, resolver)
			failed <- err
		}()
	}
	eventually(t, "begun", func() bool {
		s.names.mu.Lock()
		defer s.names.mu.Unlock()
		return len(s.names.lookups) == 1
	})
	unbar()
	for range 2 {
		if err := <-failed; !strings.Contains(err.Error(), "no such host") {
			t.Errorf("%v, want no such host", err)
		}
	}
	names.SetA(redisName, first)
	s.finds(t, resolver, first)
}

// Names come from the servers of a cluster too, and must not add up.
func TestOldAddressesAreForgotten(t *testing.T) {
	s, names := looking(t), dnstest.New(t)
	names.SetA(redisName, first)
	s.names.lookups = map[string]*lookup{
		"old.empresa.test":   {ended: time.Now().Add(-2 * keptFor)},
		"late.empresa.test":  {ended: time.Now()},
		"under.empresa.test": {},
	}
	s.finds(t, names.Resolver(), first)
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	if _, old := s.names.lookups["old.empresa.test"]; old || len(s.names.lookups) != 2 {
		t.Errorf("left: %v", s.names.lookups)
	}
}

func TestLookupsEndWithTheirStore(t *testing.T) {
	s, names := looking(t), dnstest.New(t)
	names.Silence()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.find(ctx, redisName, names.Resolver()); !errors.Is(err, context.Canceled) {
		t.Errorf("of an attempt that was left: %v", err)
	}
	eventually(t, "asked", func() bool { return names.Asked(redisName) > 0 })
	began := time.Now()
	s.cancel()
	s.names.close()
	s.background.Wait()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("its end took %v", took)
	}
	asked := names.Asked(redisName)
	if _, err := s.find(t.Context(), redisName, names.Resolver()); !errors.Is(err, net.ErrClosed) || names.Asked(redisName) != asked {
		t.Errorf("of a store that is closed: %v, asked %d times more", err, names.Asked(redisName)-asked)
	}

	// The client of a cluster looks at its nodes once more after its end, while Close
	// waits.
	for range 100 {
		s, names := looking(t), dnstest.New(t)
		names.SetA(redisName, first)
		var late sync.WaitGroup
		late.Go(func() { _, _ = s.find(s.ctx, redisName, names.Resolver()) })
		s.cancel()
		s.names.close()
		s.background.Wait()
		late.Wait()
	}
}

// Addresses are no names.
func TestAddressesAreNotLookedUp(t *testing.T) {
	s := looking(t)
	s.names.close()
	for _, address := range []string{"192.0.2.1", "2001:db8::1", "fe80::1%lo"} {
		if got, err := s.find(t.Context(), address, nil); err != nil || !slices.Equal(got, []string{address}) {
			t.Errorf("%s: %v, %v", address, got, err)
		}
	}
	if _, err := s.find(t.Context(), redisName, nil); err == nil {
		t.Error("a name is found by nobody")
	}
}

func TestNamesAreLookedUpAsElsewhere(t *testing.T) {
	s := open(t, Options{Addresses: []string{"127.0.0.1:1"}})
	if s.options.client().Dialer.Resolver != net.DefaultResolver {
		t.Error("not by the default resolver")
	}
}

// Writes that wait for a replica have sockets of their own, which go where the name
// has led: a name server that is down later keeps nobody from signing out.
func TestEndsWaitForNoNameServer(t *testing.T) {
	primary, _ := replicated(t)
	names := dnstest.New(t)
	names.SetA(redisName, first)
	_, port := hostPort(t, primary.Addr)
	s := open(t, Options{Addresses: []string{net.JoinHostPort(redisName, port)}, resolver: slow(names, 1500*time.Millisecond)})
	atLast(t, "connected", func() error {
		_, err := s.Count(t.Context())
		return err
	})
	eventually(t, "the replica is known", replicasKnown(s))
	for range 5 {
		key := create(t, s)
		if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
			t.Errorf("Delete: %v, %v", ok, err)
		}
	}
}
