package attack

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// Whoever can write to Redis can write sessions. But what gets there by mistake,
// or out of order, or from an old copy, makes nobody somebody else: a record says
// whose key it is under, and what is no record at all is no session.
func TestP86RecordsInRedisAreNobodyElses(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, setup{})
	nodes := cl.two(t)
	swap := func(t *testing.T, one, other string) {
		cl.do(t, "RENAME", one, clusterNames+"away")
		cl.do(t, "RENAME", other, one)
		cl.do(t, "RENAME", clusterNames+"away", other)
	}
	swapFields := func(t *testing.T, hash, one, other string) {
		a, b := cl.do(t, "HGET", hash, one), cl.do(t, "HGET", hash, other)
		first, err1 := a.ToString()
		second, err2 := b.ToString()
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		cl.do(t, "HSET", hash, one, second, other, first)
	}
	head := func(value string) int { // of a value: its place, with the length
		return 4 + int(value[2])<<8 + int(value[3])
	}
	for _, test := range []struct {
		name   string
		tamper func(t *testing.T, first, second session)

		// Whether each is refused then; otherwise it is still its own user's.
		first, second bool
		unknown       bool // or it cannot be known, as long as it stays so
	}{
		{name: "two records change places", first: true, second: true, tamper: func(t *testing.T, first, second session) {
			swap(t, clusterKey(t, first), clusterKey(t, second))
		}},
		{name: "copied under another key", first: true, tamper: func(t *testing.T, first, second session) {
			cl.do(t, "COPY", clusterKey(t, second), clusterKey(t, first), "REPLACE")
		}},
		{name: "another one's record behind the own place", first: true, tamper: func(t *testing.T, first, second session) {
			own, other := cl.value(t, clusterKey(t, first)), cl.value(t, clusterKey(t, second))
			cl.do(t, "SET", clusterKey(t, first), own[:head(own)]+other[head(other):])
		}},
		{name: "another one's place before the own record", tamper: func(t *testing.T, first, second session) {
			own, other := cl.value(t, clusterKey(t, first)), cl.value(t, clusterKey(t, second))
			cl.do(t, "SET", clusterKey(t, first), other[:head(other)]+own[head(own):])
		}},
		{name: "cut", first: true, tamper: func(t *testing.T, first, _ session) {
			own := cl.value(t, clusterKey(t, first))
			cl.do(t, "SET", clusterKey(t, first), own[:len(own)-1])
		}},
		{name: "cut in its place", first: true, tamper: func(t *testing.T, first, _ session) {
			cl.do(t, "SETRANGE", clusterKey(t, first), "0", "\xff\xff")
		}},
		{name: "one bit is another", first: true, tamper: func(t *testing.T, first, _ session) {
			own := []byte(cl.value(t, clusterKey(t, first)))
			own[(head(string(own))+len(own))/2] ^= 1
			cl.do(t, "SET", clusterKey(t, first), string(own))
		}},
		{name: "more behind it", first: true, tamper: func(t *testing.T, first, second session) {
			cl.do(t, "APPEND", clusterKey(t, first), cl.value(t, clusterKey(t, second)))
		}},
		{name: "empty", first: true, tamper: func(t *testing.T, first, _ session) {
			cl.do(t, "SET", clusterKey(t, first), "")
		}},
		{name: "taken away", first: true, tamper: func(t *testing.T, first, _ session) {
			cl.do(t, "DEL", clusterKey(t, first))
		}},
		{name: "of another type", first: true, unknown: true, tamper: func(t *testing.T, first, second session) {
			other := cl.value(t, clusterKey(t, second))
			cl.do(t, "DEL", clusterKey(t, first))
			cl.do(t, "RPUSH", clusterKey(t, first), other)
		}},
		{name: "the last-seen times change places", tamper: func(t *testing.T, first, second session) {
			swapFields(t, clusterNames+"seen", clusterKey(t, first)[len(clusterNames)+2:], clusterKey(t, second)[len(clusterNames)+2:])
		}},
		{name: "the last-seen time is text", first: true, tamper: func(t *testing.T, first, _ session) {
			cl.do(t, "HSET", clusterNames+"seen", clusterKey(t, first)[len(clusterNames)+2:], "later")
			touchRecord(t, cl, first)
		}},
		{name: "the last-seen time is of next year", first: true, tamper: func(t *testing.T, first, _ session) {
			cl.do(t, "HSET", clusterNames+"seen", clusterKey(t, first)[len(clusterNames)+2:], fmt.Sprintf("%019d", int64(1)<<62))
			touchRecord(t, cl, first)
		}},
		{name: "all lists are gone", tamper: func(t *testing.T, _, _ session) {
			cl.do(t, "DEL", clusterNames+"index", clusterNames+"ids", clusterNames+"people")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			first, second := nodes[0].in(t, juan, ldaptest.DemoPassword), nodes[1].in(t, maria, ldaptest.DemoPassword)
			for _, n := range nodes {
				first.at(n).wantUser(t, juan)
				second.at(n).wantUser(t, maria)
			}
			test.tamper(t, first, second)
			for _, n := range nodes {
				for _, c := range []struct {
					session
					username string
					refused  bool
				}{{first.at(n), juan, test.first}, {second.at(n), maria, test.second}} {
					switch {
					case !c.refused:
						c.wantUser(t, c.username)
					case test.unknown:
						n.eventually(t, "a refusal", func() bool {
							r := c.get(t, "/")
							if r.status == http.StatusOK && clusterTrue(r, c.username) != nil {
								t.Errorf("it is served as %q", r.body)
							}
							return r.status != http.StatusOK
						})
						for range 3 {
							if r := c.get(t, "/"); !clusterUnknown(r) && r.status != http.StatusUnauthorized {
								t.Errorf("got %d %q", r.status, r.body)
							}
						}
					default:
						c.wantOver(t, c.username)
					}
				}
			}
			// The end of one is the end of no other, whatever leads to which now.
			if !test.first {
				first.out(t)
				for _, n := range nodes {
					first.at(n).wantOver(t, juan)
				}
			}
			if !test.second {
				for _, n := range nodes {
					second.at(n).wantUser(t, maria)
				}
				if ids := nodes[0].sessionIDs(t, maria); len(ids) != 1 && test.name != "all lists are gone" {
					t.Errorf("%s is listed with the sessions %v", maria, ids)
				}
				second.at(nodes[0]).out(t)
				for _, n := range nodes {
					second.at(n).wantOver(t, maria)
				}
			}
			cl.do(t, "FLUSHALL")
		})
	}

	t.Run("the public ids change places", func(t *testing.T) {
		first, second := nodes[0].in(t, juan, ldaptest.DemoPassword), nodes[0].in(t, maria, ldaptest.DemoPassword)
		ids := []string{nodes[0].sessionIDs(t, juan)[0], nodes[0].sessionIDs(t, maria)[0]}
		swapFields(t, clusterNames+"ids", ids[0], ids[1])
		// What juan ends on his own page is not the session of somebody else.
		r := first.post(t, "/accounts/sessions/", `{"end":"`+ids[0]+`"}`, "Content-Type", "application/json")
		if r.status == http.StatusOK {
			first.at(nodes[1]).wantOver(t, juan)
		}
		for _, n := range nodes {
			second.at(n).wantUser(t, maria)
		}
		cl.do(t, "FLUSHALL")
	})
	t.Run("the records of two users change places", func(t *testing.T) {
		nodes[0].in(t, juan, ldaptest.DemoPassword)
		one := clusterUsers(t, cl)
		nodes[0].in(t, maria, ldaptest.DemoPassword)
		both := clusterUsers(t, cl)
		if len(one) != 1 || len(both) != 2 {
			t.Fatalf("the records of users are %q, then %q", one, both)
		}
		swap(t, both[0], both[1])
		list := nodes[1].admin(t, "GET", "/ldap_auth/users", "")
		if strings.Contains(list.body, juan) || strings.Contains(list.body, maria) {
			t.Errorf("users are listed by records that are not theirs: %s", list.body)
		}
		for _, n := range nodes {
			n.in(t, juan, ldaptest.DemoPassword).wantUser(t, juan)
			n.in(t, maria, ldaptest.DemoPassword).wantUser(t, maria)
		}
		cl.do(t, "FLUSHALL")
	})
	t.Run("an old copy of what has ended", func(t *testing.T) {
		ended := nodes[0].in(t, juan, ldaptest.DemoPassword)
		ended.wantUser(t, juan)
		copied := cl.value(t, clusterKey(t, ended))
		ended.out(t)
		for range 5 {
			cl.do(t, "SET", clusterKey(t, ended), copied)
			// The node that has ended it never takes it for one again.
			wantRefused(t, ended.known(t, "/"))
			if r := ended.at(nodes[1]).known(t, "/"); r.status == http.StatusOK && clusterTrue(r, juan) != nil {
				t.Errorf("the other node serves %q", r.body)
			}
		}
	})
	for _, n := range nodes {
		n.wantNoPanic(t)
	}
}

// touchRecord stores a record once more as it is: the nodes forget it then, and
// look at all that belongs to it.
func touchRecord(t *testing.T, cl *cluster, c session) {
	t.Helper()
	cl.do(t, "SET", clusterKey(t, c), cl.value(t, clusterKey(t, c)))
}

// clusterUsers are the names of the records of users.
func clusterUsers(t *testing.T, cl *cluster) []string {
	t.Helper()
	var users []string
	for _, name := range cl.names(t) {
		if strings.HasPrefix(name, clusterNames+"u:") {
			users = append(users, name)
		}
	}
	return users
}
