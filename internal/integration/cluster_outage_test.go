package integration

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

func TestClusterOneNodeIsKilled(t *testing.T) {
	a, b := newCluster(t).startTwo(t)
	s, ended := a.demo(t), a.demo(t)
	s.at(b).served(t)
	ended.at(b).served(t)
	a.caddy.child.Kill()
	s.at(b).served(t)
	ended.at(b).end(t)
	ended.at(b).refused(t)
	next := b.demo(t)
	a.start(t)
	s.served(t)
	next.at(a).served(t)
	ended.refused(t)

	// And right after it has acknowledged something.
	last := a.demo(t)
	s.end(t)
	a.caddy.child.Kill()
	last.at(b).served(t)
	if served := s.at(b).untilRefused(t, time.Now()); served > elsewhere+slack {
		t.Errorf("a request was served %v after the sign-out", served)
	}
}

// TestClusterRedisIsKilled: while nothing is known, nobody is told that he has no
// session, and nobody is let in.
func TestClusterRedisIsKilled(t *testing.T) {
	cl := newCluster(t)
	a, b := cl.startTwo(t)
	s, ended := a.demo(t), b.demo(t)
	for _, n := range []*node{a, b} {
		s.at(n).served(t)
		ended.at(n).served(t)
	}
	ended.end(t)
	if served := ended.at(a).untilRefused(t, time.Now()); served > elsewhere+slack {
		t.Errorf("a request was served %v after the sign-out", served)
	}

	cl.redis.Kill()
	since := time.Now()
	for _, n := range []*node{a, b} {
		waitFor(t, "the outage to be noticed", func() bool { return s.at(n).get(t, "/").status != http.StatusOK })
	}
	t.Logf("noticed within %v", time.Since(since))
	binds := cl.directory.Binds()
	for range 20 {
		for _, n := range []*node{a, b} {
			expectNoStore(t, s.at(n).get(t, "/"))
			if n == b {
				// What it has ended itself it knows; not whether a sign-in at the other
				// node has set a new cookie since, so this one stays.
				expect(t, ended.get(t, "/"), http.StatusUnauthorized, bodyUnauthenticated)
			} else {
				expectNoStore(t, ended.at(n).get(t, "/"))
			}
			expectNoStore(t, s.at(n).get(t, "/api/session/"))
			expectNoStore(t, s.at(n).get(t, "/api/logout/"))
			expect(t, n.do(t, "GET", "/", ""), http.StatusUnauthorized, bodyUnauthenticated)
		}
	}
	for _, n := range []*node{a, b} {
		r, err := n.trySignIn("mgarcia", ldaptest.DemoPassword)
		if err != nil {
			t.Fatal(err)
		}
		expectNoStore(t, r)
		run := n.caddy.sessionsCommand(t, "list", "--address", n.caddy.adminAddress())
		if run.exitCode != 1 || run.output != "" {
			t.Errorf("listing: %+v", run)
		}
	}
	if n := cl.directory.Binds() - binds; n != 0 {
		t.Errorf("%d passwords went to the directory", n)
	}

	cl.redis.Restart(t)
	since = time.Now()
	for _, n := range []*node{a, b} {
		s.at(n).served(t)
		t.Logf("served again %v after the restart", time.Since(since))
		ended.at(n).refused(t)
	}
	waitFor(t, "sign-ins", func() bool {
		r, err := b.trySignIn("mgarcia", ldaptest.DemoPassword)
		return err == nil && r.status == http.StatusOK
	})
	s.end(t)
	s.refused(t)
}

// TestClusterNodeWithAStalledLink: Redis does not answer one node any more, and
// does not refuse it either. What that node has in memory ends all the same.
func TestClusterNodeWithAStalledLink(t *testing.T) {
	cl := newCluster(t)
	proxy := netfault.NewProxy(t, cl.redis.Addr)
	a, b := cl.node(t, proxy.Addr()).start(t), cl.node(t, cl.redis.Addr).start(t)
	for range 3 {
		s, kept := a.demo(t), a.demo(t)
		s.served(t)
		kept.served(t)
		proxy.Stall()
		s.at(b).end(t)
		since := time.Now()
		// Until anything but 200 comes.
		var served, slowest time.Duration
		for {
			began := time.Since(since)
			r := s.get(t, "/")
			slowest = max(slowest, r.took)
			if r.status != http.StatusOK {
				expectNoStore(t, r)
				break
			}
			if served = began; served > 20*time.Second {
				t.Fatal("an ended session is served on and on")
			}
			time.Sleep(time.Millisecond)
		}
		t.Logf("served until %v after the sign-out elsewhere; the slowest answer took %v", served, slowest)
		if served > elsewhere+slack {
			t.Errorf("a request was served %v after the sign-out", served)
		}
		for range 5 {
			expectNoStore(t, s.get(t, "/"))
			expectNoStore(t, kept.get(t, "/"))
		}
		kept.at(b).served(t)
		proxy.Resume()
		if served := s.untilRefused(t, since); served > elsewhere+slack {
			t.Errorf("an ended session was served again %v later", served)
		}
		kept.served(t)
		kept.end(t)
	}
}

// TestClusterCutAtEveryPoint closes the node's connections to Redis after every
// so many bytes that Redis sends, while somebody signs in, uses the session and
// signs out. What is answered is true, or that nothing is known.
func TestClusterCutAtEveryPoint(t *testing.T) {
	cl := newCluster(t)
	proxy := netfault.NewProxy(t, cl.redis.Addr)
	a, b := cl.node(t, proxy.Addr()).start(t), cl.node(t, cl.redis.Addr).start(t)
	credentials := fmt.Sprintf(`{"username":"ac12345","password":%q}`, ldaptest.DemoPassword)
	whole := func() {
		t.Helper()
		proxy.Resume()
		waitFor(t, "the node to work again", func() bool {
			r := a.do(t, "POST", "/api/login-ldap/", credentials, "Content-Type", "application/json")
			if r.status != http.StatusOK {
				expectNoStore(t, r)
				return false
			}
			s := a.sessionOf(t, r)
			s.end(t)
			return true
		})
	}
	known := map[string]map[int]int{"sign-in": {}, "request": {}, "sign-out": {}}
	for _, bytes := range []int64{0, 1, 16, 300, 1000, 4000} {
		// During a sign-in: an answer with a session is one that works everywhere.
		proxy.DropAfter(bytes)
		r := a.do(t, "POST", "/api/login-ldap/", credentials, "Content-Type", "application/json")
		known["sign-in"][r.status]++
		if r.status == http.StatusOK {
			a.sessionOf(t, r).at(b).served(t)
		} else {
			expectNoStore(t, r)
		}
		whole()

		// During requests, of a session and of one that was ended; neither is in
		// the node's memory.
		s, ended := b.demo(t).at(a), b.demo(t).at(a)
		ended.at(b).end(t)
		proxy.DropAfter(bytes)
		for range 2 {
			r := s.get(t, "/")
			if known["request"][r.status]++; r.status != http.StatusOK {
				expectNoStore(t, r)
			}
			if r := ended.get(t, "/"); r.status != http.StatusUnauthorized {
				expectNoStore(t, r)
			}
		}
		whole()
		s.served(t)
		ended.refused(t)

		// During a sign-out: one that was acknowledged is one, at once here and
		// soon elsewhere. One that was not may be tried again.
		s.at(b).served(t)
		proxy.DropAfter(bytes)
		r = s.get(t, "/api/logout/")
		since := time.Now()
		if known["sign-out"][r.status]++; r.status == http.StatusOK {
			expect(t, r, http.StatusOK, bodySignedOut)
			if served := s.at(b).untilRefused(t, since); served > elsewhere+slack {
				t.Errorf("cut after %d bytes: served %v after the sign-out", bytes, served)
			}
			if r := s.get(t, "/"); r.status != http.StatusUnauthorized {
				expectNoStore(t, r)
			}
		} else {
			expectNoStore(t, r)
		}
		whole()
		if r.status == http.StatusOK {
			s.refused(t)
		} else {
			s.end(t)
			s.refused(t)
		}
	}
	t.Logf("answers by status: %v", known)
	for what, statuses := range known {
		if statuses[http.StatusServiceUnavailable] == 0 {
			t.Errorf("no %s was cut: %v", what, statuses)
		}
	}
}

// TestClusterLinkThatIsCutUnderTraffic: sign-ins, uses and sign-outs on one node
// while its connections are closed again and again.
func TestClusterLinkThatIsCutUnderTraffic(t *testing.T) {
	cl := newCluster(t)
	proxy := netfault.NewProxy(t, cl.redis.Addr)
	a, b := cl.node(t, proxy.Addr()).start(t), cl.node(t, cl.redis.Addr).start(t)
	stop := make(chan struct{})
	var workers sync.WaitGroup
	var visits, ends, unknown counter
	for range 4 {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := a.trySignIn("ac12345", ldaptest.DemoPassword)
				if err != nil || r.status != http.StatusOK {
					if err != nil || r.body != bodySignInNoStore {
						t.Errorf("a sign-in: %d %s %v", r.status, r.body, err)
					}
					unknown.add()
					continue
				}
				visits.add()
				s := session{a.client, r.cookies["sessionid"].Value, r.cookies["csrftoken"].Value}
				for range 5 {
					if r, err := s.send("GET", "/", "", "Cookie", s.cookies()); err != nil || r.status != http.StatusOK && r.body != bodyNoStore {
						t.Errorf("a request: %d %s %v", r.status, r.body, err)
					}
				}
				r, err = s.send("GET", "/api/logout/", "", "Cookie", s.cookies())
				if err != nil || r.status != http.StatusOK {
					if err != nil || r.body != bodySignInNoStore {
						t.Errorf("a sign-out: %d %s %v", r.status, r.body, err)
					}
					unknown.add()
					continue
				}
				ends.add()
				for range 3 {
					if r, err := s.send("GET", "/", "", "Cookie", s.cookies()); err != nil || r.status != http.StatusUnauthorized && r.body != bodyNoStore {
						t.Errorf("a request after the sign-out: %d %s %v", r.status, r.body, err)
					}
				}
				if served := s.at(b).untilRefused(t, time.Now()); served > elsewhere+slack {
					t.Errorf("served %v after the sign-out", served)
				}
			}
		})
	}
	for range 4 {
		time.Sleep(700 * time.Millisecond)
		proxy.Cut()
	}
	close(stop)
	workers.Wait()
	t.Logf("%d visits, %d sign-outs, %d times nothing was known", visits.n, ends.n, unknown.n)
	if visits.n == 0 || ends.n == 0 {
		t.Error("too little happened for the test to mean anything")
	}
}
