package attack

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/netfault"
)

// clusterLife is what the visits of one person have shown.
type clusterLife struct {
	mu       sync.Mutex
	ended    []clusterEnd // whose end was acknowledged
	answered map[string]int
}

type clusterEnd struct {
	session
	username string
}

func (l *clusterLife) saw(what string, known bool) {
	if !known {
		what += " unknown"
		time.Sleep(10 * time.Millisecond) // an outage is answered at once
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answered[what]++
}

// clusterUncounted tells whether a sign-in was not tried, or not kept. An attempt
// whose outcome did not reach Redis is under way there for a minute, and a failure
// then: who waits for its place is told that the directory has no time, and three
// are too many.
func clusterUncounted(r reply) bool {
	busy := r.status == http.StatusServiceUnavailable && r.code() == "directory_unavailable"
	throttled := r.status == http.StatusTooManyRequests && r.body == signInThrottled
	return clusterUnknown(r) || (busy || throttled) && len(r.cookies) == 0
}

// clusterVisit is a sign-in, some use and a sign-out on a node whose link to
// Redis may fail at any moment. Every answer is true, or that nobody can know.
func (l *clusterLife) clusterVisit(n *clusterNode, username string) error {
	r, err := n.send("POST", "/api/login-ldap/", signInJSON(username, "clave-"+username), "Content-Type", "application/json")
	if err != nil || clusterUncounted(r) {
		l.saw("sign-in", false)
		return err
	}
	token, csrf := r.cookies["sessionid"], r.cookies["csrftoken"]
	if r.status != http.StatusOK || token == nil || csrf == nil {
		return fmt.Errorf("signing in: %d %s", r.status, r.body)
	}
	l.saw("sign-in", true)
	c := session{n.site, token.Value, csrf.Value}
	for range 4 {
		r, err := c.send("GET", "/", "", "Cookie", c.cookie())
		unknown := clusterUnknown(r)
		if err == nil && !unknown {
			err = clusterTrue(r, username)
		}
		if l.saw("request", !unknown); err != nil {
			return fmt.Errorf("using a session: %w", err)
		}
	}
	r, err = c.send("POST", "/api/logout/", "", "Cookie", c.cookie(), "X-CSRFToken", c.csrf)
	if err != nil || clusterUnknown(r) {
		l.saw("sign-out", false)
		return err
	}
	if r.status != http.StatusOK || r.body != signedOut {
		return fmt.Errorf("signing out: %d %s", r.status, r.body)
	}
	l.saw("sign-out", true)
	l.mu.Lock()
	l.ended = append(l.ended, clusterEnd{c, username})
	l.mu.Unlock()
	for range 2 {
		if r, err := c.send("GET", "/", "", "Cookie", c.cookie()); err != nil || r.status != http.StatusUnauthorized && !clusterUnknown(r) {
			return fmt.Errorf("after the sign-out: %d %q %w", r.status, r.body, err)
		}
	}
	return nil
}

// The link of a node to Redis is slow, silent, cut within an answer, and there
// again, at any moment of what people do. Nobody is told what is not so; and what
// was acknowledged as a sign-out is one on both nodes, for good.
func TestS05EndsHoldOverALinkThatFails(t *testing.T) {
	t.Parallel()
	dir, names := sessionCrowd(4)
	cl := newCluster(t, setup{directory: &dir})
	proxy := netfault.NewProxy(t, cl.redis.Addr)
	nodes := []*clusterNode{cl.node(t, proxy.Addr()), cl.node(t, cl.redis.Addr)}
	life := &clusterLife{answered: map[string]int{}}
	// One person stays in, on both nodes.
	stays := nodes[1].in(t, maria, "secreto")
	work := clusterUntil(len(names)+1, func(i int, stopped func() bool) {
		for !stopped() {
			var err error
			if i < len(names) {
				err = life.clusterVisit(nodes[0], names[i])
			} else {
				var r reply
				if r, err = stays.at(nodes[0]).send("GET", "/", "", "Cookie", stays.cookie()); err == nil && !clusterUnknown(r) {
					err = clusterTrue(r, maria)
				}
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer work()
	for round := range 3 {
		for _, fault := range []struct {
			name string
			do   func()
			last time.Duration
		}{
			{"slow", func() { proxy.Delay(150 * time.Millisecond) }, 400 * time.Millisecond},
			{"as good as silent", func() { proxy.Delay(3 * time.Second) }, 300 * time.Millisecond},
			{"cut", proxy.Cut, 100 * time.Millisecond},
			{"cut within an answer", func() { proxy.DropAfter(1 + rand.Int64N(2000)) }, 300 * time.Millisecond},
			{"forgotten", proxy.StallOpen, 300 * time.Millisecond},
			{"silent", proxy.Stall, 300 * time.Millisecond},
			{"answered a few times only", func() { proxy.StallAfter(3 + rand.IntN(20)); proxy.Cut() }, 400 * time.Millisecond},
		} {
			fault.do()
			time.Sleep(fault.last)
			proxy.Delay(0)
			proxy.Resume()
			if round > 0 || fault.name == "slow" {
				time.Sleep(rand.N(200 * time.Millisecond)) // or the next follows at once
			}
		}
		stays.at(nodes[0]).wantUser(t, maria)
		for range 2 { // between the rounds there are visits from their beginning to their end
			if err := life.clusterVisit(nodes[0], names[0]); err != nil {
				t.Error(err)
			}
		}
	}
	work()
	life.mu.Lock()
	defer life.mu.Unlock()
	t.Logf("%v", life.answered)
	if len(life.ended) < 3 || life.answered["request unknown"] == 0 {
		t.Errorf("too little happened for the test to mean anything: %v", life.answered)
	}
	for _, c := range life.ended {
		for _, n := range nodes {
			c.at(n).wantOver(t, c.username)
		}
	}
	for _, n := range nodes {
		stays.at(n).wantUser(t, maria)
		n.wantNoPanic(t)
	}
}

// Redis forgets: somebody empties it, deletes under the prefix, has too little
// memory and throws away what it likes. People are signed out and sign in again;
// nobody is served as somebody else.
func TestP47ARedisThatForgetsMixesNobodyUp(t *testing.T) {
	t.Parallel()
	dir, names := sessionCrowd(6)
	cl := newCluster(t, setup{directory: &dir})
	nodes := cl.two(t)
	var mu sync.Mutex
	var all []clusterEnd
	served, out := 0, 0
	visit := func(i int, stopped func() bool) error {
		username := names[i]
		r, err := nodes[i%2].send("POST", "/api/login-ldap/", signInJSON(username, "clave-"+username), "Content-Type", "application/json")
		if err != nil || clusterUncounted(r) {
			return err
		}
		token, csrf := r.cookies["sessionid"], r.cookies["csrftoken"]
		if r.status != http.StatusOK || token == nil || csrf == nil {
			return fmt.Errorf("signing in: %d %s", r.status, r.body)
		}
		c := session{nodes[i%2].site, token.Value, csrf.Value}
		mu.Lock()
		all = append(all, clusterEnd{c, username})
		mu.Unlock()
		for k := 0; k < 20 && !stopped(); k++ {
			r, err := c.at(nodes[k%2]).send("GET", "/", "", "Cookie", c.cookie())
			if err == nil && r.status == http.StatusUnauthorized {
				mu.Lock()
				defer mu.Unlock()
				out++
				return nil
			}
			if err == nil && !clusterUnknown(r) {
				err = clusterTrue(r, username)
				mu.Lock()
				served++
				mu.Unlock()
			}
			if err != nil && !clusterCut(err) {
				return fmt.Errorf("using a session: %w", err)
			}
		}
		return nil
	}
	work := clusterUntil(len(names), func(i int, stopped func() bool) {
		for !stopped() {
			if err := visit(i, stopped); err != nil {
				t.Errorf("%s: %v", names[i], err)
				return
			}
		}
	})
	defer work()
	for range 3 {
		for _, forget := range []func(){
			func() { cl.do(t, "FLUSHALL") },
			func() { cl.do(t, "FLUSHALL", "ASYNC") },
			func() {
				for _, name := range cl.names(t) {
					cl.do(t, "DEL", name)
				}
			},
			func() { cl.do(t, "SCRIPT", "FLUSH") },
			func() {
				cl.do(t, "CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "1mb")
				time.Sleep(200 * time.Millisecond)
				cl.do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "0")
			},
			func() { cl.do(t, "SWAPDB", "0", "1") },
		} {
			time.Sleep(150 * time.Millisecond)
			forget()
		}
	}
	work()
	cl.do(t, "FLUSHALL")
	t.Logf("%d sessions were used %d times and refused %d times", len(all), served, out)
	if served == 0 || out == 0 {
		t.Error("too little happened for the test to mean anything")
	}
	for i, c := range all {
		if i%10 == 0 || i > len(all)-10 {
			for _, n := range nodes {
				c.at(n).wantOver(t, c.username)
			}
		}
	}
	for i, n := range nodes {
		again := n.in(t, names[i], "clave-"+names[i])
		for _, n := range nodes {
			again.at(n).wantUser(t, names[i])
		}
		n.wantNoPanic(t)
	}
}
