package ldap

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// testPool is a pool without a directory, with probes of the test's own.
type testPool struct {
	*pool
	logs  *logs
	life  context.Context
	end   context.CancelFunc
	work  sync.WaitGroup
	mu    sync.Mutex
	probe error // what probes find
	times []time.Time
}

// pooling runs a test with a pool of such servers, on a clock of its own.
func pooling(t *testing.T, test func(t *testing.T, p *testPool), servers ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &testPool{logs: &logs{}}
		limits := defaultLimits(defaultTimeout)
		p.life, p.end = context.WithCancel(context.Background())
		p.pool = &pool{
			limits: &limits, capacity: [lanes]int{signInLane: 8, lookupLane: 2}, queue: 64,
			label: "corp.test", logger: p.logs.logger(),
			probe: func(context.Context, server) error {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.times = append(p.times, time.Now())
				return p.probe
			},
			spawn: func(work func(ctx context.Context)) { p.work.Go(func() { work(p.life) }) },
		}
		p.setServers(serversAt(servers...))
		test(t, p)
		p.end()
		p.close()
		p.work.Wait()
	})
}

func serversAt(hosts ...string) []server {
	var servers []server
	for _, host := range hosts {
		servers = append(servers, server{url: "ldaps://" + host, address: host + ":636", host: host, implicit: true})
	}
	return servers
}

// probes finds what the next probes find, and returns when the last ones were.
func (p *testPool) probes(err error) []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probe = err
	times := p.times
	p.times = nil
	return times
}

// must takes a connection that is to be had at once, at the server of that host.
func (p *testPool) must(t *testing.T, kind laneKind, at string, avoid ...*host) grant {
	t.Helper()
	g, err := p.take(context.Background(), kind, nil, avoid)
	if err != nil || g.host.server.host != at {
		t.Fatalf("took %+v, %v, want one at %s", g, err, at)
	}
	return g
}

// pipeConnection is a connection to nobody, who never says anything.
func pipeConnection(t *testing.T, p *testPool) *connection {
	t.Helper()
	near, far := net.Pipe()
	go func() { io.Copy(io.Discard, far); far.Close() }()
	c := &connection{raw: near, meter: &meteredConn{Conn: near}, operation: time.Second, opened: time.Now(), maxAge: p.limits.age}
	c.ldap = goldap.NewConn(c.meter, false)
	c.ldap.Start()
	t.Cleanup(c.close)
	return c
}

func (p *testPool) state(h *host) (signIns, idle, waiting int) {
	p.pool.mu.Lock()
	defer p.pool.mu.Unlock()
	return h.lanes[signInLane].inUse, len(h.lanes[signInLane].idle), len(p.waiting)
}

func TestTheConnectionThatWasUsedLastIsUsedNext(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		a, b := p.must(t, signInLane, "dc1"), p.must(t, signInLane, "dc1")
		a.conn, b.conn = pipeConnection(t, p), pipeConnection(t, p)
		p.giveBack(a, true)
		p.giveBack(b, true)
		if g := p.must(t, signInLane, "dc1"); g.conn != b.conn {
			t.Error("another one than the last")
		}
		if g := p.must(t, signInLane, "dc1"); g.conn != a.conn {
			t.Error("the other one was not kept")
		}
		if g := p.must(t, signInLane, "dc1"); g.conn != nil {
			t.Error("a connection in use was handed out again")
		}
	}, "dc1")
}

func TestLanesAreCountedAndKeptApart(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		a := p.must(t, lookupLane, "dc1")
		a.conn = pipeConnection(t, p)
		p.giveBack(a, true)
		for range 8 {
			if g := p.must(t, signInLane, "dc1"); g.conn != nil {
				t.Fatal("a connection of the other lane")
			}
		}
		if g := p.must(t, lookupLane, "dc1"); g.conn != a.conn {
			t.Error("the lookup lane lost its connection")
		}
		p.must(t, lookupLane, "dc1")
	}, "dc1")
}

func TestFullServerThenTheNextThenTheQueueThenBusy(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		p.queue = 3
		for _, host := range []string{"dc1", "dc2"} {
			for range 8 {
				p.must(t, signInLane, host)
			}
		}
		began := time.Now()
		var waiters sync.WaitGroup
		for range 3 {
			waiters.Go(func() {
				if _, err := p.take(context.Background(), signInLane, nil, nil); !errors.Is(err, errBusy) {
					t.Errorf("a waiter got %v", err)
				}
				if waited := time.Since(began); waited != p.limits.wait {
					t.Errorf("it waited %v, want %v", waited, p.limits.wait)
				}
			})
		}
		synctest.Wait()
		if _, err := p.take(context.Background(), signInLane, nil, nil); !errors.Is(err, errBusy) || time.Since(began) != 0 {
			t.Errorf("past the queue: %v after %v, want busy at once", err, time.Since(began))
		}
		waiters.Wait()
		if _, _, waiting := p.state(p.hosts[0]); waiting != 0 {
			t.Errorf("%d still wait", waiting)
		}
	}, "dc1", "dc2")
}

func TestThePreferredServerComesFirst(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		for _, want := range []*host{p.hosts[1], p.hosts[1], p.hosts[0], p.hosts[2]} {
			p.capacity[lookupLane] = 2
			g, err := p.take(context.Background(), lookupLane, p.hosts[1], nil)
			if err != nil {
				t.Fatal(err)
			}
			if g.host != want {
				t.Fatalf("took one at %s, want %s", g.host.url, want.url)
			}
			if want != p.hosts[1] {
				p.must(t, lookupLane, want.server.host)
			}
		}
	}, "dc1", "dc2", "dc3")
}

func TestWaitersAreServedInTheirOrder(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		p.capacity[signInLane] = 1
		g := p.must(t, signInLane, "dc1")
		served := make(chan int, 10)
		for i := range 10 {
			go func() {
				g, err := p.take(context.Background(), signInLane, nil, nil)
				if err != nil {
					t.Errorf("waiter %d: %v", i, err)
					return
				}
				served <- i
				p.giveBack(g, false)
			}()
			synctest.Wait()
		}
		p.giveBack(g, false)
		for want := range 10 {
			if got := <-served; got != want {
				t.Errorf("waiter %d was served in the place of %d", got, want)
			}
		}
	}, "dc1")
}

func TestAWaiterThatGoesAwayLeavesNoTrace(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		p.capacity[signInLane] = 1
		g := p.must(t, signInLane, "dc1")
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan error)
		go func() {
			_, err := p.take(ctx, signInLane, nil, nil)
			gone <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("it got %v", err)
		}
		if _, _, waiting := p.state(g.host); waiting != 0 {
			t.Errorf("%d wait", waiting)
		}
		p.giveBack(g, false)
		p.must(t, signInLane, "dc1")
	}, "dc1")
}

// A grant that comes in the moment in which its waiter goes away must not be
// lost: after eight of them nobody could sign in.
func TestNoGrantIsLostWhenWaitersGoAway(t *testing.T) {
	limits := defaultLimits(defaultTimeout)
	limits.wait = time.Minute
	p := &pool{limits: &limits, capacity: [lanes]int{1, 1}, queue: 10, logger: (&logs{}).logger()}
	p.setServers(serversAt("dc1"))
	h := p.hosts[0]
	for range 20 {
		g, err := p.take(context.Background(), signInLane, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if g, err := p.take(ctx, signInLane, nil, nil); err == nil {
				p.giveBack(g, false)
			}
		}()
		eventually(t, "somebody waits", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.waiting) == 1
		})
		p.mu.Lock()
		cancel()
		time.Sleep(2 * time.Millisecond) // the waiter has noticed, and cannot say so yet
		g.host.lanes[signInLane].inUse--
		p.serve()
		p.mu.Unlock()
		<-done
		if inUse := h.lanes[signInLane].inUse; inUse != 0 || len(p.waiting) != 0 {
			t.Fatalf("%d grants are lost, %d wait", inUse, len(p.waiting))
		}
	}
}

// Lending a kept connection to somebody who is gone would close it.
func TestWhoIsGoneTakesNothing(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		g := p.must(t, signInLane, "dc1")
		g.conn = pipeConnection(t, p)
		p.giveBack(g, true)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := p.take(ctx, signInLane, nil, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("it got %v", err)
		}
		if again := p.must(t, signInLane, "dc1"); again.conn != g.conn {
			t.Error("the connection was not kept")
		}
	}, "dc1")
}

func TestIdleAndOldConnectionsAreSwept(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		idle, used := p.must(t, signInLane, "dc1"), p.must(t, signInLane, "dc1")
		idle.conn, used.conn = pipeConnection(t, p), pipeConnection(t, p)
		p.giveBack(idle, true)
		for range 10 { // used is never idle for long
			p.giveBack(used, true)
			time.Sleep(p.limits.idle / 3)
			if again := p.must(t, signInLane, "dc1"); again.conn != used.conn {
				t.Fatal("it is another connection")
			}
		}
		if !idle.conn.ldap.IsClosing() || used.conn.ldap.IsClosing() {
			t.Errorf("closed: the idle one %v, the used one %v, want only the former", idle.conn.ldap.IsClosing(), used.conn.ldap.IsClosing())
		}
		p.giveBack(used, true)
		time.Sleep(2 * p.limits.idle)
		if _, kept, _ := p.state(used.host); kept != 0 || !used.conn.ldap.IsClosing() {
			t.Errorf("%d connections are kept", kept)
		}
		old := p.must(t, signInLane, "dc1")
		old.conn = pipeConnection(t, p)
		old.conn.opened = time.Now().Add(-p.limits.age)
		p.giveBack(old, true)
		time.Sleep(p.limits.idle * 3 / 4)
		if !old.conn.ldap.IsClosing() {
			t.Error("an old connection was kept")
		}
	}, "dc1")
}

func TestServersThatChange(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		p.capacity[signInLane] = 2
		leaving, staying := p.hosts[0], p.hosts[1]
		used, idle := p.must(t, signInLane, "dc1"), p.must(t, signInLane, "dc1")
		used.conn, idle.conn = pipeConnection(t, p), pipeConnection(t, p)
		p.giveBack(idle, true)
		kept := p.must(t, signInLane, "dc2", leaving)
		kept.conn = pipeConnection(t, p)
		p.giveBack(kept, true)
		p.must(t, signInLane, "dc1")
		p.must(t, signInLane, "dc2")
		p.must(t, signInLane, "dc2")
		waiter := make(chan grant)
		go func() {
			g, err := p.take(context.Background(), signInLane, nil, nil)
			if err != nil {
				t.Errorf("the waiter got %v", err)
			}
			waiter <- g
		}()
		synctest.Wait()

		p.setServers(serversAt("dc2", "dc3"))
		if g := <-waiter; g.host == nil || g.host.server.host != "dc3" {
			t.Errorf("the waiter got one at %+v, want the new server", g.host)
		}
		if p.hosts[0] != staying {
			t.Error("what was known of the server that stays is lost")
		}
		if !p.has(serversAt("dc2", "dc3")) || p.has(serversAt("dc3", "dc2")) || p.size() != 2 {
			t.Error("has does not tell which servers there are")
		}
		if used.conn.ldap.IsClosing() {
			t.Error("a connection in use was cut")
		}
		p.giveBack(used, true)
		if !used.conn.ldap.IsClosing() {
			t.Error("a connection to a server that left is kept")
		}
	}, "dc1", "dc2")
}

func TestAServerThatLeftIsNotProbed(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		p.probes(errors.New("still down"))
		idle := p.must(t, signInLane, "dc1")
		idle.conn = pipeConnection(t, p)
		left := p.hosts[0]
		p.giveBack(idle, true)
		p.fail(left, errors.New("down"))
		p.setServers(serversAt("dc2"))
		time.Sleep(10 * time.Minute)
		if n := len(p.probes(nil)); n != 0 {
			t.Errorf("%d probes", n)
		}
		if !idle.conn.ldap.IsClosing() {
			t.Error("its connection is open")
		}
	}, "dc1")
}

func TestConnectionsOfOneUserOnly(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	d.limits = defaultLimits(defaultTimeout)
	d.limits.wait = time.Minute
	var mu sync.Mutex
	users := map[*connection]int{}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 4 {
				l, err := d.lease(context.Background(), signInLane, nil, new([]*host))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if users[l.connection]++; users[l.connection] > 1 {
					t.Error("two use one connection")
				}
				mu.Unlock()
				_, err = l.rootDSE("1.1")
				mu.Lock()
				users[l.connection]--
				mu.Unlock()
				l.end(err)
			}
		})
	}
	all.Wait()
	if s.MostOpen() > 8 || s.Connections() > 8 || len(users) > 8 {
		t.Errorf("%d connections at once, %d in all, want at most 8", s.MostOpen(), s.Connections())
	}
}

// Requests outlive the configuration they came in with. What they leave behind
// is nothing.
func TestCloseWhileManySignInsAreUnderWay(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	d.limits = defaultLimits(defaultTimeout)
	d.limits.wait = time.Minute
	s.Delay(5 * time.Millisecond)
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if _, err := d.SignIn(context.Background(), "ac12345", "secreto"); err != nil {
				t.Errorf("a sign-in ended with %v", err)
			}
		})
	}
	eventually(t, "some are under way", func() bool { return s.Binds() > 3 })
	d.Close()
	all.Wait()
	eventually(t, "the server has no connection left", func() bool { return s.Open() == 0 })
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	if h := d.pool.hosts[0]; h.lanes[signInLane].inUse != 0 || len(h.lanes[signInLane].idle) != 0 || h.timer != nil || len(d.pool.waiting) != 0 {
		t.Errorf("%+v is left", h)
	}
}

func TestPlacesAreBoundedAndGivenBack(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	config := adConfig(s, s)
	config.Connections, config.Queue = 2, 3
	d, _ := open(t, config)
	var leave []func()
	for range 2*2 + 3 {
		l, err := d.Reserve()
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	var u *UnavailableError
	if _, err := d.Reserve(); !errors.As(err, &u) || u.Reason != ReasonBusy {
		t.Errorf("one more got %v", err)
	}
	leave[0]()
	leave[0]() // twice is once
	last, err := d.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Reserve(); err == nil {
		t.Error("a place was given back twice")
	}
	for _, l := range append(leave[1:], last) {
		l()
	}
	if n := d.places.Load(); n != 0 {
		t.Errorf("%d places are taken", n)
	}
}
