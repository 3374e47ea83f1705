package sessionstore

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// inUse returns the IDs of the sessions that InUse finds.
func (w *world) inUse(directory string, since time.Time) map[string]bool {
	w.t.Helper()
	found := map[string]bool{}
	w.InUse(directory, since, func(h Handle) bool {
		if found[h.ID] {
			w.t.Errorf("session %s comes twice", h.ID)
		}
		if h.User.Directory != directory || h.Seen().Before(since) || !h.Alive() {
			w.t.Errorf("session of %q, seen %s, alive %v", h.User.Directory, h.Seen(), h.Alive())
		}
		found[h.ID] = true
		return true
	})
	return found
}

func TestInUse(t *testing.T) {
	w := newWorld(t, Options{})
	start := w.clock.now()
	other, _, err := w.SignIn(t.Context(), User{Directory: "other", ID: "1"}, "", hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	idle, _ := w.signIn(Limits{Idle: time.Minute})
	ended, _ := w.signIn(hour)
	early, earlyHandle := w.signIn(hour)
	w.clock.pass(time.Minute)
	_, late := w.signIn(hour)
	if _, err := w.End(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	now := w.clock.now()
	for _, test := range []struct {
		name      string
		directory string
		since     time.Time
		want      int
	}{
		{"all that live", "d", time.Time{}, 2},
		{"exactly since then", "d", start, 2},
		{"a moment later", "d", start.Add(1), 1},
		{"exactly now", "d", now, 1},
		{"after now", "d", now.Add(1), 0},
		{"another directory", "other", start, 1},
		{"an unknown directory", "D", start, 0},
		{"no directory", "", start, 0},
	} {
		if got := w.inUse(test.directory, test.since); len(got) != test.want {
			t.Errorf("%s: %d sessions, want %d", test.name, len(got), test.want)
		}
	}
	if got := w.inUse("d", now); !got[late.ID] {
		t.Errorf("got %v, want %s", got, late.ID)
	}

	// It touches nothing; a request does.
	if !earlyHandle.Seen().Equal(start) || earlyHandle.Seen().Location() != time.UTC {
		t.Errorf("seen %s, want %s", earlyHandle.Seen(), start)
	}
	w.want(Live, early, hour, true)
	w.want(Live, other, hour, false)
	w.want(Expired, idle, Limits{}, false)
	if got := w.inUse("d", now); !got[earlyHandle.ID] || len(got) != 2 || len(w.inUse("other", now)) != 0 {
		t.Errorf("got %v after the use of %s", got, earlyHandle.ID)
	}
	if !(Handle{}).Seen().IsZero() {
		t.Error("the zero handle was seen")
	}

	calls := 0
	w.InUse("d", start, func(Handle) bool { calls++; return false })
	if calls != 1 {
		t.Errorf("%d calls after false, want 1", calls)
	}
	w.Close()
	if got := w.inUse("d", start); len(got) != 0 {
		t.Errorf("%d sessions after Close", len(got))
	}
}

// What comes is looked at right before its turn, however long ago it was listed.
func TestInUseWhileItChanges(t *testing.T) {
	// One shard, so that all are listed before the first comes.
	w := newWorld(t, Options{MaxEntries: 100})
	var tokens []Token
	for range 40 {
		token, _ := w.signIn(hour)
		tokens = append(tokens, token)
	}
	ended := map[Key]bool{}
	calls := 0
	w.InUse("d", time.Time{}, func(h Handle) bool {
		for _, token := range tokens[:10] {
			if calls == 0 && token.Key() != h.entry.key {
				w.End(t.Context(), token)
				ended[token.Key()] = true
			}
		}
		if calls++; ended[h.entry.key] {
			t.Error("a session comes that has ended")
		}
		return true
	})
	if calls != 40-len(ended) {
		t.Errorf("%d sessions, want %d", calls, 40-len(ended))
	}

	// Each leaves the memory, is loaded again and gets other groups.
	calls = 0
	regrouped := map[Key]bool{}
	w.InUse("d", time.Time{}, func(h Handle) bool {
		if calls++; calls == 1 {
			for _, token := range tokens[10:] {
				w.memory.forget(token.Key())
				w.regroup(w.want(Live, token, hour, false), "a")
				regrouped[token.Key()] = true
			}
			return true
		}
		if regrouped[h.entry.key] {
			wantGroups(t, h, "a")
		}
		if ok, err := w.Revoke(t.Context(), h); !ok || err != nil || h.Alive() {
			t.Errorf("Revoke: %v, %v, alive %v", ok, err, h.Alive())
		}
		return true
	})
	if calls != 40-len(ended) || w.inMemory() != 1 {
		t.Errorf("%d sessions came, %d are left; want %d and the first", calls, w.inMemory(), 40-len(ended))
	}

	// What has left the memory does not come.
	tokens = tokens[:0]
	for range 10 {
		token, _ := w.signIn(hour)
		tokens = append(tokens, token)
	}
	calls = 0
	w.InUse("d", time.Time{}, func(h Handle) bool {
		calls++
		for _, token := range tokens {
			w.memory.forget(token.Key())
		}
		return true
	})
	if calls > 2 { // one of them, and the one that was left
		t.Errorf("%d sessions came, and all but two had left", calls)
	}
}

func TestInUseOfManyDoesNotStopTheTraffic(t *testing.T) {
	const n = 100_000
	w := newWorld(t, Options{MaxEntries: 2 * n, MaxBytes: 1 << 40})
	session := exampleSession()
	session.User.Directory = "d"
	session.Created = w.clock.now()
	for range n {
		w.memory.insert(newEntry(NewToken().Key(), session, w.clock.now().UnixNano()))
	}
	token, _ := w.signIn(hour)
	found := 0
	var once sync.Once
	w.InUse("d", time.Time{}, func(h Handle) bool {
		found++
		once.Do(func() {
			for i := range w.memory.shards {
				if !w.memory.shards[i].mu.TryLock() {
					t.Fatal("a lock is held while the caller works")
				}
				w.memory.shards[i].mu.Unlock()
			}
			w.want(Live, token, hour, true)
			w.signIn(hour)
		})
		return true
	})
	if found < n+1 || found > n+2 {
		t.Errorf("%d sessions, want %d", found, n+1)
	}
}

func TestRevoke(t *testing.T) {
	for _, from := range []string{"memory", "the store"} {
		w := newWorld(t, Options{MaxEntries: 1})
		token, h := w.signIn(hour)
		if from == "the store" {
			w.signIn(hour) // evicts it
		}
		if ok, err := w.Revoke(t.Context(), h); !ok || err != nil {
			t.Errorf("%s: ok %v, error %v", from, ok, err)
		}
		if h.Alive() || h.Renew() || w.store.has(token.Key()) {
			t.Errorf("%s: the session is still there", from)
		}
		w.want(Unknown, token, hour, true)
		if ok, err := w.Revoke(t.Context(), h); ok || err != nil {
			t.Errorf("%s, again: ok %v, error %v", from, ok, err)
		}
		if s, err := w.End(t.Context(), token); s != nil || err != nil {
			t.Errorf("%s: End afterwards: %v, %v", from, s, err)
		}
	}
}

func TestRevokeThatFailed(t *testing.T) {
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	down := fmt.Errorf("disk on fire")
	w.store.fail("Delete", down)
	if ok, err := w.Revoke(t.Context(), h); ok || err == nil {
		t.Errorf("ok %v, error %v, want the error", ok, err)
	}
	// Nobody knows: the next request asks the store.
	w.store.fail("Delete", nil)
	w.store.Delete(t.Context(), token.Key())
	w.want(Unknown, token, hour, true)
}
