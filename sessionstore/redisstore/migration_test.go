package redisstore

import (
	"strconv"
	"testing"
	"time"
)

// Half of the keys are on another node of the cluster already, and scripts that
// want keys of both are told to try again: for as long as that lasts sessions are
// served, also by a node that has ends to tell of.
func TestSessionsAreServedWhileTheirSlotMoves(t *testing.T) {
	addresses, _ := newCluster(t)
	log := &buffer{}
	s := openLogging(t, Options{Addresses: addresses, Cluster: true}, log)
	key, ended := create(t, s), create(t, s)
	if ok, err := s.Delete(t.Context(), ended); !ok || err != nil {
		t.Fatal(ok, err)
	}
	do := func(address string, command ...string) (answer string) {
		t.Helper()
		c := direct(t, address)
		m, err := c.Do(t.Context(), c.B().Arbitrary(command...).Build()).ToMessage()
		if err != nil {
			t.Fatalf("%s: %v", command[0], err)
		}
		if n, err := m.AsInt64(); err == nil {
			return strconv.FormatInt(n, 10)
		}
		answer, _ = m.ToString()
		return answer
	}
	slot := do(addresses[0], "CLUSTER", "KEYSLOT", s.keys.index)
	n, err := strconv.Atoi(slot)
	if err != nil {
		t.Fatal(err)
	}
	from := addresses[n*len(addresses)/16384]
	to := addresses[(n*len(addresses)/16384+1)%len(addresses)]
	first := s.client.connection.Load()
	do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", do(from, "CLUSTER", "MYID"))
	do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", do(to, "CLUSTER", "MYID"))
	host, port := hostPort(t, to)
	move := func(key string) { do(from, "MIGRATE", host, port, "", "0", "5000", "KEYS", key) }
	move(s.keys.index)
	eventually(t, "found by the other node", func() bool {
		c := s.client.connection.Load()
		return c != nil && c != first
	})
	if _, err := s.Delete(t.Context(), key); err == nil {
		t.Error("a session was ended by a script that cannot run")
	}
	for began := time.Now(); time.Since(began) < 2*replayEvery; time.Sleep(10 * time.Millisecond) {
		there(t, s, key, true)
	}
	there(t, s, ended, false)

	for _, name := range []string{s.keys.seen, s.keys.ids, s.keys.people, s.keys.session(key)} {
		move(name)
	}
	c := direct(t, from)
	for {
		left, err := c.Do(t.Context(), c.B().ClusterGetkeysinslot().Slot(int64(n)).Count(100).Build()).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		move(left[0])
	}
	owner := do(to, "CLUSTER", "MYID")
	for _, address := range []string{to, from} {
		do(address, "CLUSTER", "SETSLOT", slot, "NODE", owner)
	}
	atLast(t, "ended on the node that has them now", func() error {
		_, err := s.Delete(t.Context(), key)
		return err
	})
	there(t, s, key, false)
}
