package ldap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

var errDown = errors.New("connection refused")

func TestWaitersMoveOnWhenTheirServerFails(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		p.capacity[signInLane] = 1
		first := p.must(t, signInLane, "dc1")
		second := p.must(t, signInLane, "dc2")
		second.conn = pipeConnection(t, p)
		granted := make(chan grant)
		go func() {
			g, err := p.take(context.Background(), signInLane, nil, nil)
			if err != nil {
				t.Errorf("the waiter got %v", err)
			}
			granted <- g
		}()
		synctest.Wait()
		p.fail(first.host, errDown)
		p.giveBack(first, false) // is no reason to try a server that is down
		synctest.Wait()
		select {
		case g := <-granted:
			t.Fatalf("the waiter got one at %s", g.host.url)
		default:
		}
		p.giveBack(second, true)
		if g := <-granted; g.host != second.host || g.conn != second.conn {
			t.Errorf("the waiter got %+v", g)
		}
	}, "dc1", "dc2")
}

func TestWaitersLearnThatTheLastServerFailed(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		p.capacity[signInLane] = 1
		g := p.must(t, signInLane, "dc1")
		got := make(chan error)
		go func() {
			_, err := p.take(context.Background(), signInLane, nil, nil)
			got <- err
		}()
		synctest.Wait()
		began := time.Now()
		p.fail(g.host, errDown)
		if err := <-got; !errors.Is(err, errDown) || errors.Is(err, errBusy) {
			t.Errorf("the waiter got %v, want why the server is down", err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("after %v", waited)
		}
	}, "dc1")
}

func TestAFailureClosesWhatIsIdle(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		a, b := p.must(t, signInLane, "dc1"), p.must(t, lookupLane, "dc1")
		a.conn, b.conn = pipeConnection(t, p), pipeConnection(t, p)
		p.giveBack(b, true)
		p.fail(a.host, errDown)
		p.giveBack(a, true)
		if !a.conn.ldap.IsClosing() || !b.conn.ldap.IsClosing() {
			t.Error("connections to a server that is down are kept")
		}
		if n := p.logs.count("level=ERROR"); n != 1 {
			t.Errorf("%d errors are logged: %s", n, p.logs)
		}
		p.fail(a.host, errDown) // somebody else saw it too
		if n := p.logs.count("level=ERROR"); n != 1 {
			t.Errorf("one failure is logged %d times", n)
		}
	}, "dc1")
}

// Pauses double from 1 s to 60 s, each less up to a quarter: the nodes of a
// cluster must not knock all at once, nor ever be silent for long.
func TestProbesWaitLongerAfterEachFailureAndBringTheServerBack(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		p.probes(errDown)
		began := time.Now()
		p.fail(p.hosts[0], errDown)
		time.Sleep(10 * time.Minute)
		times := p.probes(nil)
		if len(times) < 15 || len(times) > 20 {
			t.Fatalf("%d probes in 10 minutes", len(times))
		}
		last, want := began, time.Second
		for i, at := range times {
			if pause := at.Sub(last); pause < want-want/4 || pause > want {
				t.Errorf("the pause before probe %d is %v, want %v or little less", i+1, pause, want)
			}
			last, want = at, min(2*want, time.Minute)
		}
		if _, err := p.take(context.Background(), signInLane, nil, []*host{}); err == nil {
			t.Error("it is in use although no probe has found it")
		}
		time.Sleep(time.Minute) // by itself
		p.must(t, signInLane, "dc1")
		if p.logs.count("is back") != 1 {
			t.Errorf("logs: %s", p.logs)
		}
		p.probes(nil)
		time.Sleep(time.Hour)
		if n := len(p.probes(nil)); n != 0 {
			t.Errorf("%d probes of a healthy server", n)
		}
		// Once somebody's bind was answered, the next failure starts anew.
		p.judged(p.hosts[0], "anybody", nil)
		p.probes(errDown)
		p.fail(p.hosts[0], errDown)
		time.Sleep(time.Second)
		if times := p.probes(nil); len(times) != 1 {
			t.Errorf("%d probes within a second of the next failure", len(times))
		}
	}, "dc1")
}

func TestPausesOfProbesDiffer(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 1000 {
		pause := jittered(time.Minute)
		if pause < 45*time.Second || pause > time.Minute {
			t.Fatalf("a pause of %v", pause)
		}
		seen[pause] = true
	}
	if len(seen) < 900 {
		t.Errorf("%d different pauses of 1000", len(seen))
	}
}

// With every server down for long, the pause is a minute. Once somebody asks it
// is a second.
func TestWhoeverAsksHurriesTheProbes(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		p.probes(errDown)
		p.fail(p.hosts[0], errDown)
		p.fail(p.hosts[1], errDown)
		time.Sleep(10 * time.Minute)
		p.probes(nil)
		began := time.Now()
		if _, err := p.take(context.Background(), signInLane, nil, nil); !errors.Is(err, errDown) {
			t.Fatalf("got %v, want why the first server is down", err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it took %v", waited)
		}
		time.Sleep(time.Second)
		p.must(t, signInLane, "dc1")
		p.must(t, signInLane, "dc2", p.hosts[0])
	}, "dc1", "dc2")
}

func TestManyWhoAskCauseOneProbeASecond(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		p.probes(errDown)
		p.fail(p.hosts[0], errDown)
		time.Sleep(10 * time.Minute)
		p.probes(errDown)
		for range 1000 {
			p.take(context.Background(), signInLane, nil, nil)
			time.Sleep(10 * time.Millisecond)
		}
		if n := len(p.probes(nil)); n < 8 || n > 14 {
			t.Errorf("%d probes in 10 s", n)
		}
	}, "dc1")
}

// One server that is up is enough: the others keep their pauses.
func TestAHealthyServerLeavesTheOthersTheirPauses(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		p.probes(errDown)
		p.fail(p.hosts[0], errDown)
		time.Sleep(10 * time.Minute)
		p.probes(errDown)
		for range 30 {
			p.giveBack(p.must(t, signInLane, "dc2"), false)
			time.Sleep(time.Second)
		}
		if n := len(p.probes(nil)); n > 1 {
			t.Errorf("%d probes in 30 s", n)
		}
	}, "dc1", "dc2")
}

func TestDoubtIsAProbeAndNoFailure(t *testing.T) {
	pooling(t, func(t *testing.T, p *testPool) {
		h := p.hosts[0]
		for range 5 {
			p.doubt(h)
		}
		p.must(t, signInLane, "dc1") // it is in use all the time
		synctest.Wait()
		if n := len(p.probes(errDown)); n != 1 {
			t.Errorf("%d probes at once", n)
		}
		p.must(t, signInLane, "dc1")
		p.doubt(h)
		synctest.Wait()
		if _, err := p.take(context.Background(), signInLane, nil, nil); !errors.Is(err, errDown) {
			t.Errorf("after a probe that failed: %v", err)
		}
		p.probes(nil)
		time.Sleep(time.Second)
		p.must(t, signInLane, "dc1")
	}, "dc1")
}

// counting is a server that hangs up, and how often it did.
func counting(t *testing.T) (url string, connections *atomic.Int64) {
	t.Helper()
	connections = new(atomic.Int64)
	return "ldap://" + listen(t, func(net.Conn) { connections.Add(1) }), connections
}

func TestNobodyDialsWhileEveryServerIsDown(t *testing.T) {
	a, dialsA := counting(t)
	b, dialsB := counting(t)
	for _, config := range []Config{
		{Kind: KindAD, Servers: []string{a, b}},
		{Kind: KindAD, Servers: []string{a, b}, BindUser: "svc@empresa.local", BindPassword: "x"},
		{Kind: KindGeneric, Servers: []string{a, b}, BindUser: serviceDN, BindPassword: "x"},
	} {
		t.Run(fmt.Sprint(config.Kind, " ", config.BindUser), func(t *testing.T) {
			d, l := open(t, config)
			d.pool.probe = func(context.Context, server) error { return errDown }
			mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
			dialsA.Store(0)
			dialsB.Store(0)
			for range 200 {
				mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
			}
			if dialsA.Load() != 0 || dialsB.Load() != 0 {
				t.Errorf("%d and %d connections", dialsA.Load(), dialsB.Load())
			}
			if n := l.count("signing in without it"); n > 1 {
				t.Errorf("strangers fill the log: %d lines", n)
			}
		})
	}
}

func TestAServerComesBackByItself(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(s))
	s.Stall(ldaptest.StallSearch)
	mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
	s.Stall(ldaptest.StallNever)
	eventually(t, "somebody signs in", func() bool {
		_, err := d.SignIn(context.Background(), "ac12345", "secreto")
		return err == nil
	})
}

// A server that answers strangers and never the service account is not back.
func TestTheProbeAsksAsTheServiceAccount(t *testing.T) {
	s := serve(t, plainDirectory())
	d, _ := open(t, plainConfig(s))
	probe := func() error { return d.probe(context.Background(), d.pool.hosts[0].server) }
	if err := probe(); err != nil || s.Binds() != 1 {
		t.Fatalf("%v, %d binds", err, s.Binds())
	}
	s.Stall(ldaptest.StallBind)
	if err := probe(); err == nil {
		t.Error("a server that hangs at the bind passes")
	}
	s.Stall(ldaptest.StallNever)
	s.Observe(func(r ldaptest.Request) ldaptest.Fault {
		if r.Bind {
			return ldaptest.Fault{Code: goldap.LDAPResultUnavailable}
		}
		return ldaptest.Fault{}
	})
	if err := probe(); err == nil {
		t.Error("a server that is unavailable passes")
	}
	s.Observe(func(r ldaptest.Request) ldaptest.Fault {
		if r.Bind {
			return ldaptest.Fault{Code: goldap.LDAPResultInvalidCredentials}
		}
		return ldaptest.Fault{}
	})
	if err := probe(); err != nil {
		t.Errorf("a wrong password of ours says nothing about the server: %v", err)
	}
	eventually(t, "nothing is left open", func() bool { return s.Open() == 0 })
}

func TestServerThatIsNotSynchronized(t *testing.T) {
	dir := ldaptest.Demo()
	dir.NotSynchronized = true
	fresh, ready := serve(t, dir), serve(t, ldaptest.Demo())
	d, _ := open(t, adConfig(fresh, ready))
	mustSignIn(t, d, "ac12345", "secreto")
	if fresh.Binds() != 0 || ready.Binds() != 1 {
		t.Errorf("%d and %d binds", fresh.Binds(), ready.Binds())
	}
	if err := fresh.Replace(ldaptest.Demo()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is used", func() bool { mustSignIn(t, d, "ac12345", "secreto"); return fresh.Binds() > 0 })
}

// A stranger's name that the server chokes on is asked once, of one server, and
// locks nobody else out.
func TestAnOddNameTakesNoServerOutOfUse(t *testing.T) {
	for _, config := range []func(s *ldaptest.Server) Config{
		func(s *ldaptest.Server) Config { return adConfig(s) },
		func(s *ldaptest.Server) Config {
			c := serviceConfig(s)
			c.Groups = nil
			return c
		},
	} {
		s := serve(t, ldaptest.Demo())
		d, _ := open(t, config(s))
		t.Run(fmt.Sprint("service account: ", d.HasService()), func(t *testing.T) {
			s.Observe(func(r ldaptest.Request) ldaptest.Fault {
				return ldaptest.Fault{Silent: r.Bind && strings.Contains(strings.ToLower(r.Name), "expirada")}
			})
			u := mustBeUnavailable(t, d, "expirada", "secreto", ReasonDirectoryUnavailable)
			if !u.Sent {
				t.Error("the password was sent")
			}
			for range 10 {
				mustSignIn(t, d, "ac12345", "secreto") // at once, and afterwards
			}
			if isDown(d, 0) {
				t.Error("the server is down")
			}
		})
	}
}

func TestAnOddFilterTakesNoServerOutOfUse(t *testing.T) {
	first, second := serve(t, plainDirectory()), serve(t, plainDirectory())
	config := plainConfig(first)
	config.Servers = append(config.Servers, second.URL())
	d, _ := open(t, config)
	odd := func(r ldaptest.Request) ldaptest.Fault { return ldaptest.Fault{Silent: r.Filter == "(uid=odd)"} }
	first.Observe(odd)
	others := tap(second, odd)
	mustBeUnavailable(t, d, "odd", "secreto", ReasonDirectoryUnavailable)
	for range 5 {
		mustSignIn(t, d, "ac12345", "secreto")
	}
	if n := others.bindsBut(serviceDN); n != 0 {
		t.Errorf("%d people signed in at the second server", n)
	}
}

// A server that answers strangers' questions and nobody's bind: probes find
// nothing wrong with it.
func TestAServerThatHangsAtBindsIsOutOfUse(t *testing.T) {
	first, second := serve(t, ldaptest.Demo()), serve(t, ldaptest.Demo())
	d, l := open(t, adConfig(first, second))
	first.Observe(func(r ldaptest.Request) ldaptest.Fault { return ldaptest.Fault{Silent: r.Bind} })
	for i, name := range []string{"ac12345", "ac12345", "mgarcia", "expirada"} {
		if isDown(d, 0) {
			t.Errorf("it is down after %d binds", i)
		}
		mustBeUnavailable(t, d, name, "secreto", ReasonDirectoryUnavailable)
	}
	mustSignIn(t, d, "ac12345", "secreto")
	if second.Binds() != 1 || l.count("is down") != 1 {
		t.Errorf("%d binds at the second server, logs: %s", second.Binds(), l)
	}
	// With nobody else to ask, it is better than nothing.
	alone, l := open(t, adConfig(first))
	for _, name := range []string{"ac12345", "mgarcia", "expirada", "bloqueada"} {
		mustBeUnavailable(t, alone, name, "secreto", ReasonDirectoryUnavailable)
	}
	if isDown(alone, 0) {
		t.Errorf("the only server is down: %s", l)
	}
}

func TestAServerThatSaysItIsBusyIsOutOfUse(t *testing.T) {
	for _, code := range []int{goldap.LDAPResultBusy, goldap.LDAPResultUnavailable} {
		t.Run(goldap.LDAPResultCodeMap[uint16(code)], func(t *testing.T) {
			first, second := serve(t, ldaptest.Demo()), serve(t, ldaptest.Demo())
			d, _ := open(t, adConfig(first, second))
			d.pool.probe = func(context.Context, server) error { return errDown }
			first.Observe(func(r ldaptest.Request) ldaptest.Fault {
				if r.Bind {
					return ldaptest.Fault{Code: code}
				}
				return ldaptest.Fault{}
			})
			u := mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
			if !u.Sent || second.Connections() != 0 {
				t.Errorf("%+v, %d connections to the second server: the password had left", u, second.Connections())
			}
			eventually(t, "the probe has found the same", func() bool { return isDown(d, 0) })
			mustSignIn(t, d, "ac12345", "secreto")
			if first.Binds() != 1 || second.Binds() != 1 {
				t.Errorf("%d and %d binds", first.Binds(), second.Binds())
			}
		})
		t.Run(goldap.LDAPResultCodeMap[uint16(code)]+", of one name only", func(t *testing.T) {
			first, second := serve(t, ldaptest.Demo()), serve(t, ldaptest.Demo())
			d, _ := open(t, adConfig(first, second))
			first.Observe(func(r ldaptest.Request) ldaptest.Fault {
				if r.Bind && strings.HasPrefix(r.Name, "odd@") {
					return ldaptest.Fault{Code: code}
				}
				return ldaptest.Fault{}
			})
			for range 5 {
				mustBeUnavailable(t, d, "odd", "secreto", ReasonDirectoryUnavailable)
				mustSignIn(t, d, "ac12345", "secreto")
			}
			if isDown(d, 0) || second.Connections() != 0 {
				t.Error("a stranger's name takes the server from everybody")
			}
		})
	}
	t.Run("asked for a look-up it costs nobody a sign-in", func(t *testing.T) {
		first, second := serve(t, plainDirectory()), serve(t, plainDirectory())
		config := plainConfig(first)
		config.Servers = append(config.Servers, second.URL())
		d, _ := open(t, config)
		d.pool.probe = func(context.Context, server) error { return errDown }
		first.Observe(func(r ldaptest.Request) ldaptest.Fault {
			if !r.Bind && r.Name != "" {
				return ldaptest.Fault{Code: goldap.LDAPResultBusy}
			}
			return ldaptest.Fault{}
		})
		mustSignIn(t, d, "ac12345", "secreto")
		if !isDown(d, 0) || first.Binds() != 1 {
			t.Errorf("%d binds at the first server", first.Binds())
		}
	})
}

// The time of one client that ends says nothing about the server.
func TestASignInThatRunsOutOfTimeTakesNoServerOutOfUse(t *testing.T) {
	s := serve(t, ldaptest.Demo())
	d, l := open(t, adConfig(s))
	d.limits.dial = time.Minute
	s.Delay(200 * time.Millisecond)
	for i := range 20 {
		d.limits.total = time.Duration(20+i) * time.Millisecond
		mustBeUnavailable(t, d, "ac12345", "secreto", ReasonDirectoryUnavailable)
	}
	if l.count("is down") != 0 {
		t.Errorf("logs: %s", l)
	}
}

// hostsInDNS is what names of servers stand for.
type hostsInDNS map[string]*ldaptest.Server

func (h hostsInDNS) makeServer(name string, _ uint16) server {
	return server{url: "ldap://" + name, address: h[name].Addr(), host: name}
}

func TestServersInDNSThatChangeWhileSignInsRun(t *testing.T) {
	hosts := hostsInDNS{}
	for _, name := range []string{"dc1.corp.test", "dc2.corp.test", "dc3.corp.test"} {
		hosts[name] = serve(t, ldaptest.Demo())
	}
	d, _ := open(t, Config{Kind: KindAD, Label: "corp.test", Domains: []string{"empresa.local"}})
	d.limits = defaultLimits(defaultTimeout)
	dns := newFakeDNS()
	dns.set(firstName, srvAt("dc1.corp.test.", "dc2.corp.test."))
	d.discovery = newDiscovery("corp.test", dns, hosts.makeServer, d.config.Logger, d.spawn)

	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var signedIn atomic.Int64
	for range 10 {
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := d.SignIn(context.Background(), "ac12345@empresa.local", "secreto"); err != nil {
					t.Errorf("SignIn: %v", err)
					return
				}
				signedIn.Add(1)
			}
		})
	}
	lookUpAgain := func() {
		d.discovery.mu.Lock()
		d.discovery.ended = time.Time{}
		d.discovery.mu.Unlock()
	}
	for i := range 20 {
		dns.set(firstName, srvAt([][]string{{"dc2.corp.test.", "dc3.corp.test."}, {"dc1.corp.test."}, {"dc1.corp.test.", "dc2.corp.test."}}[i%3]...))
		lookUpAgain()
		before := signedIn.Load()
		eventually(t, "people go on signing in", func() bool { return signedIn.Load() > before+5 || t.Failed() })
	}
	dns.set(firstName, srvAt("dc3.corp.test."))
	lookUpAgain()
	eventually(t, "only the last server is left", func() bool { return d.pool.has([]server{hosts.makeServer("dc3.corp.test", 0)}) })
	cancel()
	all.Wait()
	eventually(t, "servers that left have no connection", func() bool {
		return hosts["dc1.corp.test"].Open()+hosts["dc2.corp.test"].Open() == 0
	})
	if hosts["dc3.corp.test"].Open() == 0 {
		t.Error("the last server has none either")
	}
}
