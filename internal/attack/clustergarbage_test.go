package attack

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// clusterGarbage puts what no program of ours writes under a name, of each type
// that Redis has.
func clusterGarbage(t *testing.T, cl *cluster, name string, kind int, key string) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{byte(kind)})
	junk := func(n int) string {
		b := make([]byte, n)
		_, _ = random.Read(b) // never fails
		return string(b)
	}
	cl.do(t, "DEL", name)
	switch kind {
	case 0:
		cl.do(t, "SET", name, junk(200))
	case 1:
		cl.do(t, "SET", name, strings.Repeat("9", 19))
	case 2:
		cl.do(t, "RPUSH", name, junk(3), "")
	case 3:
		cl.do(t, "SADD", name, junk(32))
	case 4:
		for _, score := range []string{"-inf", "0", "1e300", "+inf"} {
			for _, n := range []int{0, 1, 25, 26, 60, 300} {
				cl.do(t, "ZADD", name, score, junk(n))
			}
		}
	case 5:
		cl.do(t, "HSET", name, key, junk(19), junk(16), junk(7), "", "")
	case 6:
		cl.do(t, "XADD", name, "*", junk(1), junk(1))
	}
}

const clusterKinds = 7

// Another program writes whatever it likes under the names of ours: nobody is
// served who has no session, nobody as somebody else, and nothing panics.
func TestP86GarbageInRedisIsNobodys(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, setup{})
	nodes := cl.two(t)
	names := []string{"index", "ids", "seen", "people", "counters", "expiries", "mark", "fence", "accounts", "accountends", "sources", "sourceends", "k:throttle", "k:admin cursor", "u:", "s:"}
	for _, name := range names {
		live, ended := nodes[0].in(t, juan, ldaptest.DemoPassword), nodes[1].in(t, juan, ldaptest.DemoPassword)
		live.wantUser(t, juan)
		ended.out(t)
		key := clusterKey(t, live)[len(clusterNames)+2:]
		full := []string{clusterNames + name}
		switch name {
		case "s:":
			full = []string{clusterKey(t, live), clusterKey(t, ended)}
		case "u:":
			full = clusterUsers(t, cl)
		}
		for kind := range clusterKinds {
			for _, name := range full {
				clusterGarbage(t, cl, name, kind, key)
			}
			about := fmt.Sprintf("%s of kind %d", name, kind)
			var all sync.WaitGroup
			ask := func(what, method, path, body string, judge func(r reply) error, n *clusterNode, fields ...string) {
				all.Go(func() {
					r, err := n.send(method, path, body, fields...)
					if err == nil && !clusterUnknown(r) {
						err = judge(r)
					}
					if err != nil && !clusterCut(err) {
						t.Errorf("%s: %s: %v", about, what, err)
					}
				})
			}
			for _, n := range nodes {
				ask("a session", "GET", "/", "", func(r reply) error {
					if r.status == http.StatusUnauthorized {
						return nil
					}
					return clusterTrue(r, juan)
				}, n, "Cookie", live.cookie())
				for what, cookie := range map[string]string{"an ended one": ended.cookie(), "one that there never was": "sessionid=" + strings.Repeat("A", 43)} {
					ask(what, "GET", "/", "", func(r reply) error {
						if r.status != http.StatusUnauthorized {
							return fmt.Errorf("got %d %q", r.status, r.body)
						}
						return nil
					}, n, "Cookie", cookie)
				}
			}
			n := nodes[kind%2]
			ask("a sign-in", "POST", "/api/login-ldap/", signInJSON(maria, ldaptest.DemoPassword), func(r reply) error {
				if r.status != http.StatusOK || r.cookies["sessionid"] == nil {
					return fmt.Errorf("got %d %q", r.status, r.body)
				}
				again, err := nodes[1-kind%2].send("GET", "/", "", "Cookie", "sessionid="+r.cookies["sessionid"].Value)
				if err != nil || clusterUnknown(again) || again.status == http.StatusUnauthorized {
					return err
				}
				return clusterTrue(again, maria)
			}, n, "Content-Type", "application/json")
			for _, path := range []string{"/ldap_auth/sessions", "/ldap_auth/users", "/ldap_auth/counts"} {
				if r := n.admin(t, "GET", path, ""); r.status != http.StatusOK && r.status != http.StatusServiceUnavailable {
					t.Errorf("%s: %s: %d %s", about, path, r.status, r.body)
				}
			}
			all.Wait()
		}
		// Whatever was there: once it is gone all is well again.
		cl.do(t, "FLUSHALL")
		again := nodes[1].in(t, maria, ldaptest.DemoPassword)
		again.at(nodes[0]).wantUser(t, maria)
		again.out(t)
	}
	for _, n := range nodes {
		n.wantNoPanic(t)
	}
}
