package attack

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// guessAll tries guesses on all nodes at once, each from an address of its own, and
// returns how many were tried at the directory, as far as the answers tell.
func guessAll(t *testing.T, nodes []*clusterNode, tries []signInTry) (tried int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for i, n := range nodes {
		for k, try := range tries {
			all.Go(func() {
				r, err := n.send("POST", "/api/login-ldap/", signInJSON(try.username, try.password),
					"Content-Type", "application/json", "X-Forwarded-For", fmt.Sprintf("198.18.%d.%d", i, k+1))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && r.status == http.StatusUnauthorized && r.body == signInRefused:
					tried++
				case err == nil && r.status == http.StatusTooManyRequests && r.body == signInThrottled:
				case err == nil && r.status == http.StatusServiceUnavailable:
				default:
					t.Errorf("a guess: %d %s %v", r.status, r.body, err)
				}
			})
		}
	}
	all.Wait()
	return tried
}

// A cluster is not so many times more guesses: the budget of an account is one,
// however many are tried on all nodes at the same moment, and for those that were
// under way on a node that dies.
func TestS23GuessesAreCountedOverAllNodes(t *testing.T) {
	t.Parallel()
	dir := directoryWithService(ldaptest.Demo())
	dir.LockoutThreshold = 5
	c := throttleBehindProxy
	c.directory, c.block = dir, directoryServiceLines
	cl := newCluster(t, c)
	nodes := cl.two(t)
	asked := directoryWatch(cl.directory)
	spellings := []string{juan, "AC12345", "ac12345@empresa.local", `EMPRESA\ac12345`}
	var names []string
	for i := range 24 {
		names = append(names, spellings[i%len(spellings)])
	}
	tried := guessAll(t, nodes, throttleGuesses(names...))
	if n := len(asked.people()); n > 3 || tried > 3 || n == 0 {
		t.Errorf("%d guesses were tried and %d reached the directory, want 3", tried, n)
	}
	for _, n := range nodes {
		for _, r := range n.signInAll(t, []signInTry{{juan, ldaptest.DemoPassword, "203.0.113.7"}}) {
			if r.status == http.StatusOK {
				t.Error("the right password was tried when the budget was used up")
			}
		}
	}
	// The account is not locked where it matters, and others sign in.
	nodes[0].in(t, maria, ldaptest.DemoPassword).at(nodes[1]).wantUser(t, maria)
	cl.do(t, "DEL", clusterNames+"accounts", clusterNames+"accountends", clusterNames+"sources", clusterNames+"sourceends")
	nodes[1].in(t, juan, ldaptest.DemoPassword)

	// Killed while it waits for the directory's answers.
	var reached atomic.Int32
	var silent atomic.Bool
	silent.Store(true)
	cl.directory.Observe(func(r ldaptest.Request) ldaptest.Fault {
		if !r.Bind || r.Name == "" || directoryIsService(r.Name) {
			return ldaptest.Fault{}
		}
		reached.Add(1)
		return ldaptest.Fault{Silent: silent.Load()}
	})
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			_, _ = nodes[0].send("POST", "/api/login-ldap/", signInJSON(maria, fmt.Sprint(signInWrongPassword, i)),
				"Content-Type", "application/json", "X-Forwarded-For", fmt.Sprintf("198.18.9.%d", i+1))
		})
	}
	nodes[0].eventually(t, "a guess under way", func() bool { return reached.Load() > 0 })
	nodes[0].child.Kill()
	all.Wait()
	silent.Store(false)
	tried = guessAll(t, nodes[1:], throttleGuesses(slices.Repeat([]string{maria}, 8)...))
	nodes[0].run(t, nodes[0].text)
	tried += guessAll(t, nodes, throttleGuesses(slices.Repeat([]string{maria}, 4)...))
	if n := reached.Load(); n > 3 || tried > 3 {
		t.Errorf("a node that was killed gave guesses away: %d were tried and %d reached the directory, want 3", tried, n)
	}
}

// What has no session makes Redis grow by nothing; wrong passwords do, by what
// the throttle counts, which has a bound.
func TestP81AnonymousRequestsStoreNothingInRedis(t *testing.T) {
	t.Parallel()
	c := throttleBehindProxy
	cl := newCluster(t, c)
	nodes := cl.two(t)
	live := nodes[0].in(t, juan, ldaptest.DemoPassword)
	live.at(nodes[1]).wantUser(t, juan)
	sizes := func() map[string]int64 {
		all := map[string]int64{}
		for _, name := range cl.names(t) {
			kind := cl.do(t, "TYPE", name)
			of, err := kind.ToString()
			if err != nil {
				t.Fatal(err)
			}
			size := cl.do(t, map[string]string{"string": "STRLEN", "hash": "HLEN", "zset": "ZCARD"}[of], name)
			if all[name], err = size.AsInt64(); err != nil {
				t.Fatalf("%q is a %s: %v", name, of, err)
			}
		}
		return all
	}
	differ := func(when string, before, after map[string]int64, but ...string) {
		t.Helper()
		for name := range after {
			if before[name] != after[name] && !slices.Contains(but, strings.TrimPrefix(name, clusterNames)) {
				t.Errorf("%s: %q has %d, before it had %d", when, name, after[name], before[name])
			}
		}
	}
	before := sizes()
	for i, n := range nodes {
		clusterFlood(t, n, 1000*i, 1000*i+500)
	}
	differ("anonymous requests", before, sizes())

	// A wrong password for each of many names.
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("nadie%d", i))
	}
	guessAll(t, nodes, throttleGuesses(names...))
	budgets := []string{"accounts", "accountends", "sources", "sourceends"}
	after := sizes()
	differ("wrong passwords", before, after, budgets...)
	// A name is counted as it was typed, and as what the directory may bind by it.
	if grown := after[clusterNames+"accounts"]; grown == 0 || grown > 4*int64(len(names)) {
		t.Errorf("guesses for %d names have left %d counts", len(names), grown)
	}

	// As many counts as there may be of made-up names: there are no more of them
	// then, and accounts that exist are counted all the same.
	const room = 262_144
	for done := 0; done < room; done += 16_384 {
		cl.do(t, "EVAL", `
			local time = redis.call('TIME')
			local now = time[1] * 1000 + math.floor(time[2] / 1000)
			for i = 1, tonumber(ARGV[1]) do
				local key = string.sub(redis.sha1hex(ARGV[2] .. ':' .. i), 1, 16)
				redis.call('HSET', KEYS[1], key, struct.pack('>BI4I2I6', 1, 900000, 1, now))
				redis.call('ZADD', KEYS[2], now + 900000, key)
			end`, "2", clusterNames+"accounts", clusterNames+"accountends", "16384", fmt.Sprint(done))
	}
	full := sizes()
	if full[clusterNames+"accounts"] < room {
		t.Fatalf("only %d counts are there", full[clusterNames+"accounts"])
	}
	for i := range names {
		names[i] = "otro" + names[i]
	}
	guessAll(t, nodes, throttleGuesses(names...))
	after = sizes()
	if grown := after[clusterNames+"accounts"] - full[clusterNames+"accounts"]; grown > 0 {
		t.Errorf("guesses for made-up names have left %d counts more than there may be", grown)
	}
	nodes[1].in(t, maria, ldaptest.DemoPassword).at(nodes[0]).wantUser(t, maria)
	live.wantUser(t, juan)
}

// clusterFlood is storeSend, on a node that may not know.
func clusterFlood(t *testing.T, n *clusterNode, from, to int) {
	t.Helper()
	const step = 250
	for ; from < to; from += step {
		for i, r := range n.burst(t, storeAnonymous(from, from+step)) {
			want := http.StatusOK
			if i%5 == 4 {
				want = http.StatusUnauthorized
			}
			if r.status != want && r.status != http.StatusServiceUnavailable {
				t.Fatalf("request %d: %d %s", i, r.status, r.body)
			}
		}
	}
}
