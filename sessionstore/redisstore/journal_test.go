package redisstore

import (
	"slices"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

func keysOf(n int) []sessionstore.Key {
	keys := make([]sessionstore.Key, n)
	for i := range keys {
		keys[i] = storetest.NewKey()
	}
	return keys
}

func TestJournal(t *testing.T) {
	j := newJournal()
	keys := keysOf(3)
	j.end(j.begin(), keys[:1], keys[1:2])
	if !j.has(keys[0]) || !j.has(keys[1]) || j.has(keys[2]) {
		t.Error("it does not have what has ended and what was missing, and nothing else")
	}
	if all := j.all(); len(all) != 2 || !slices.Contains(all, keys[0]) || !slices.Contains(all, keys[1]) {
		t.Errorf("all: %d keys", len(all))
	}
	j.created(keys[0])
	if j.has(keys[0]) {
		t.Error("a session that was created again counts as ended")
	}
	// Which of two calls the server did last is not known.
	e := j.begin()
	j.created(keys[2])
	j.end(e, keys[2:], nil)
	if j.has(keys[2]) {
		t.Error("a session that was created while it ended counts as ended")
	}
}

// Strangers who sign out sessions that there never were cannot have the journal
// forget those that there were; and it has a bound.
func TestTheJournalHasBounds(t *testing.T) {
	j := newJournal()
	first := storetest.NewKey()
	j.end(j.begin(), []sessionstore.Key{first}, nil)
	for range 3 {
		j.end(j.begin(), nil, keysOf(maxMissing))
		j.end(j.begin(), nil, []sessionstore.Key{first})
	}
	if !j.has(first) || len(j.all()) != maxMissing+1 {
		t.Errorf("the session that had ended: %v; %d keys", j.has(first), len(j.all()))
	}
	j.end(j.begin(), keysOf(maxEnded), nil)
	if j.has(first) || len(j.all()) != maxMissing+maxEnded {
		t.Errorf("the oldest: %v; %d keys", j.has(first), len(j.all()))
	}
}

func TestTheJournalForgets(t *testing.T) {
	r := newRecent(10)
	keys, now := keysOf(2), time.Now()
	r.add(keys[0], now)
	later := now.Add(journalFor)
	if !r.has(keys[0], later.Add(-1)) || r.has(keys[0], later) {
		t.Error("it is not there for as long as it should be")
	}
	r.add(keys[0], now.Add(time.Minute)) // again
	r.add(keys[1], later)
	if got := r.append(nil, later); len(got) != 2 {
		t.Errorf("%d keys, want the one that was added again, and the new one", len(got))
	}
	r.add(keys[1], later.Add(time.Hour))
	if got := r.append(nil, later.Add(time.Hour)); len(got) != 1 || len(r.keys) != 1 || r.order.Len() != 1 {
		t.Errorf("%d keys, want the new one", len(got))
	}
}
