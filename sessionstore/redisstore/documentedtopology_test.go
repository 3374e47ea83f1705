package redisstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// A primary, two replicas and three sentinels with all that the page writes for
// them, TLS included: the sentinels put a replica in the primary's place, and the
// old one comes back as a replica.
func TestTheDocumentedSentinels(t *testing.T) {
	rules := []string{aclRules(t, "shop"), documented(t, "user replica"), adminRule(t), "repl-diskless-sync-delay 0"}
	all := newEncrypted(t, 3, 3)
	servers, watching := all.servers[:3], all.servers[3:]
	primary := servers[0]
	host, port := hostPort(t, primary.Addr)
	for i, server := range servers {
		lines := append([]string{documentedConfig(t, true)}, rules...)
		if i > 0 {
			lines = append(lines, "replicaof "+host+" "+port)
		}
		all.restart(t, server, lines...)
	}
	for _, replica := range servers[1:] {
		c := administers(t, replica.Addr, all.config)
		eventually(t, "a replica", func() bool { return strings.Contains(infoOf(t, c, "replication"), "master_link_status:up") })
	}
	network := strings.Join(ofTheNetwork.FindAllString(documentedConfig(t, true)+"\n", -1), "")
	var sentinels []string
	for _, sentinel := range watching {
		all.restart(t, sentinel, network,
			"sentinel monitor mymaster "+host+" "+port+" 2", documented(t, "sentinel auth-user"),
			"sentinel down-after-milliseconds mymaster 500", "sentinel failover-timeout mymaster 3000")
		sentinels = append(sentinels, sentinel.Addr)
	}
	for _, address := range sentinels {
		c := raw(t, Options{Addresses: []string{address}, TLS: all.config})
		atLast(t, "the sentinel knows all", func() error {
			state, err := c.Do(t.Context(), c.B().Arbitrary("SENTINEL", "MASTER", "mymaster").Build()).AsStrMap()
			if err != nil {
				return err
			}
			if state["num-other-sentinels"] != "2" || state["num-slaves"] != "2" || state["flags"] != "master" {
				return fmt.Errorf("it knows %v", state)
			}
			all, err := c.Do(t.Context(), c.B().SentinelReplicas().Master("mymaster").Build()).ToArray()
			if err != nil {
				return err
			}
			for _, one := range all {
				replica, err := one.AsStrMap()
				if err != nil || replica["master-link-status"] != "ok" {
					return fmt.Errorf("a replica: %v, %v", replica, err)
				}
			}
			return nil
		})
	}
	options := Options{Addresses: sentinels, Sentinel: "mymaster", Username: aclUser, Password: aclPassword, TLS: all.config, Prefix: "shop"}
	s, other := open(t, options), open(t, options)
	eventually(t, "the replicas are known", replicasKnown(s))
	stays, ends := create(t, s), create(t, s)
	p := administers(t, primary.Addr, all.config)
	eventually(t, "both replicas have all", func() bool {
		n, err := p.Do(t.Context(), p.B().Wait().Numreplicas(2).Timeout(100).Build()).AsInt64()
		return n == 2 && err == nil
	})
	there(t, other, ends, true)
	eventually(t, "ended", func() bool { _, err := s.Delete(t.Context(), ends); return err == nil })

	ear := listen(s)
	since := time.Now()
	primary.Kill()
	eventually(t, "told of the loss", ear.lostSince(since))
	for _, store := range []*Store{s, other, open(t, options)} {
		atLast(t, "a primary again", func() error { _, _, _, err := store.Get(t.Context(), stays); return err })
		knownThere(t, store, stays, true)
		knownThere(t, store, ends, false)
	}
	// The replica that is left has to follow the new primary first.
	var next sessionstore.Key
	atLast(t, "sign-ins again", func() error {
		var err error
		next, err = tryCreate(t, s)
		return err
	})
	knownThere(t, other, next, true)

	// Before the last sentinel is done with it, one that comes back may stay the primary.
	for _, address := range sentinels {
		c := raw(t, Options{Addresses: []string{address}, TLS: all.config})
		atLast(t, "the sentinel has the new primary", func() error {
			state, err := c.Do(t.Context(), c.B().Arbitrary("SENTINEL", "MASTER", "mymaster").Build()).AsStrMap()
			if err == nil && (state["port"] == port || state["flags"] != "master") {
				err = fmt.Errorf("it knows %v", state)
			}
			return err
		})
	}
	primary.Restart(t)
	c := administers(t, primary.Addr, all.config)
	atLast(t, "the old primary is a replica", func() error {
		if info := infoOf(t, c, "replication"); !strings.Contains(info, "role:slave") || !strings.Contains(info, "master_link_status:up") {
			return fmt.Errorf("it is not: %s", info)
		}
		return nil
	})
	atLast(t, "ends again", func() error { _, err := s.Delete(t.Context(), next); return err })
	knownThere(t, other, stays, true)

	// Nobody wanted more than the page gives.
	for _, server := range servers {
		c := administers(t, server.Addr, all.config)
		entries, err := c.Do(t.Context(), c.B().Arbitrary("ACL", "LOG").Build()).ToArray()
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			refused, err := entry.AsMap()
			user, object := refused["username"], refused["object"]
			t.Errorf("%q is refused: %s %v", user.String(), object.String(), err)
		}
	}
}

// atLast waits for what needs a new primary.
func atLast(t *testing.T, what string, attempt func() error) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := attempt()
		if err == nil {
			t.Logf("%s: after %v", what, time.Since(begun).Round(time.Millisecond))
			return
		}
		if time.Since(begun) > 4*grace {
			t.Fatalf("%s: not within %v: %v", what, 4*grace, err)
		}
	}
}

// tryCreate is create on a server that may refuse.
func tryCreate(t *testing.T, s *Store) (sessionstore.Key, error) {
	t.Helper()
	key := storetest.NewKey()
	return key, s.Create(t.Context(), key, storetest.NewSession("ana"), nil)
}

// Each node of a cluster leads to all of it, with the documented rights, while its
// slots move too.
func TestTheDocumentedRightsInACluster(t *testing.T) {
	addresses, _ := newCluster(t)
	rules := append(strings.Split(aclRules(t, "shop"), "\n"), adminRule(t))
	for _, address := range addresses {
		c := direct(t, address)
		for _, rule := range rules {
			words := strings.Fields(rule)
			command := append([]string{"ACL", "SETUSER"}, words[1:]...)
			if err := c.Do(t.Context(), c.B().Arbitrary(command...).Build()).Error(); err != nil {
				t.Fatalf("%s: %v", words[1], err)
			}
		}
	}
	options := Options{Cluster: true, Username: aclUser, Password: aclPassword, Prefix: "shop"}
	for _, address := range addresses {
		options.Addresses = []string{address}
		s := open(t, options)
		works(t, s)
		stays, ends := create(t, s), create(t, s)
		if ok, err := s.Delete(t.Context(), ends); !ok || err != nil {
			t.Errorf("Delete: %v, %v", ok, err)
		}
		knownThere(t, s, stays, true)
		knownThere(t, s, ends, false)
	}

	// The slot of another prefix is on its way from one node to the next: what
	// is not on the old one any more is asked for on the new one.
	options.Prefix = "moving"
	s := open(t, options)
	unavailable(t, s) // it is not of this user
	index := newKeys(options.Prefix).index
	var nodes []rueidis.Client
	var ids []string
	for _, address := range addresses {
		c := administers(t, address, nil)
		rule := strings.Fields(aclRules(t, options.Prefix))
		at := len(rule) - 1
		for rule[at] != "user" {
			at--
		}
		command := append([]string{"ACL", "SETUSER"}, rule[at+1:]...)
		if err := c.Do(t.Context(), c.B().Arbitrary(command...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		id, err := c.Do(t.Context(), c.B().ClusterMyid().Build()).ToString()
		if err != nil {
			t.Fatal(err)
		}
		nodes, ids = append(nodes, c), append(ids, id)
	}
	slot, err := nodes[0].Do(t.Context(), nodes[0].B().ClusterKeyslot().Key(index).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	from := int(slot) * len(nodes) / 16384
	to := (from + 1) % len(nodes)
	for node, command := range map[int][]string{
		to:   {"CLUSTER", "SETSLOT", fmt.Sprint(slot), "IMPORTING", ids[from]},
		from: {"CLUSTER", "SETSLOT", fmt.Sprint(slot), "MIGRATING", ids[to]},
	} {
		if err := nodes[node].Do(t.Context(), nodes[node].B().Arbitrary(command...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	works(t, s)
	if _, err := tryCreate(t, s); !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("Create: %v, want that it is refused while the slot moves", err)
	}
	if _, err := s.Delete(t.Context(), storetest.NewKey()); !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Errorf("Delete: %v, want that it is refused while the slot moves", err)
	}
	for _, node := range []int{to, from, 3 - to - from} {
		if err := nodes[node].Do(t.Context(), nodes[node].B().Arbitrary("CLUSTER", "SETSLOT", fmt.Sprint(slot), "NODE", ids[to]).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	var key sessionstore.Key
	atLast(t, "moved", func() error {
		var err error
		key, err = tryCreate(t, s)
		return err
	})
	knownThere(t, s, key, true)
}

// knownThere is there once the store can say: while servers change places it may
// not, for a moment and again.
func knownThere(t *testing.T, s *Store, key sessionstore.Key, want bool) {
	t.Helper()
	atLast(t, "an answer", func() error {
		_, _, ok, err := s.Get(t.Context(), key)
		if err == nil && ok != want {
			t.Errorf("Get: %v, want %v", ok, want)
		}
		if errors.Is(err, sessionstore.ErrUnavailable) || err == nil {
			return err
		}
		t.Errorf("Get: %v", err)
		return nil
	})
}
