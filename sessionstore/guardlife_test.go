package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// faultLife is a life of sessions that makes every call a store has, from
// requests and from the goroutines of the sessions.
type faultLife struct {
	t     *testing.T
	store *riggedStore
	*Sessions

	// state is what is known of a token: live, ended (that was acknowledged), or
	// in doubt.
	state map[Token]string
}

func (l *faultLife) signIn(id string, replaces *Token) (Token, Handle) {
	token, h, err := l.SignIn(l.t.Context(), User{Directory: "d", ID: id}, "", hour, replaces)
	switch {
	case err != nil:
		if replaces != nil {
			l.state[*replaces] = "doubt"
		}
		return Token{}, Handle{}
	case replaces != nil:
		l.state[*replaces] = "ended"
	}
	l.state[token] = "live"
	return token, h
}

// look asks for every token and compares it with what may be.
func (l *faultLife) look(faults bool) {
	l.t.Helper()
	for token, state := range l.state {
		_, result, err := l.Lookup(l.t.Context(), token, hour, true)
		switch {
		case err != nil && faults:
		case err != nil:
			l.t.Errorf("a session that is %s: error %v without a fault", state, err)
		case state == "ended" && result == Live:
			l.t.Error("a session lives whose end was acknowledged")
		case state == "live" && result != Live:
			l.t.Errorf("a live session is %v", result)
		}
	}
}

func (l *faultLife) end(token Token) {
	state := "ended"
	if _, err := l.End(l.t.Context(), token); err != nil {
		state = "doubt"
	}
	if _, there := l.state[token]; there {
		l.state[token] = state
	}
}

func (l *faultLife) run() {
	ctx := l.t.Context()
	first, _ := l.signIn("1", nil)
	second, _ := l.signIn("1", &first)
	third, open := l.signIn("2", nil)
	fourth, h := l.signIn("2", nil)
	fifth, _ := l.signIn("3", nil)
	var watch Watch
	watched := open.Watch(&watch, watcherFunc(func() {}))
	_, _, _ = l.Regroup(ctx, h, []Group{{ID: "g"}}, "")
	l.look(true)
	time.Sleep(2 * time.Minute) // touches, the mark
	l.look(true)
	time.Sleep(time.Second)
	l.forgetAll()
	l.look(true)
	_, _, _ = l.List(ctx, ListQuery{Limit: 10}, hour)
	_, _, _ = l.Show(ctx, open.id(), hour)
	_, _ = l.Count(ctx)
	_, _, _ = l.User(ctx, "d", "1")
	_, _, _ = l.Users(ctx, "", 10)
	_ = l.SaveCounters(ctx, []Counter{{Key: [16]byte{1}, Value: []byte("x"), Expires: time.Now().Add(time.Hour)}})
	_ = l.Counters(ctx, func(Counter) error { return nil })
	_, _ = l.Secret(ctx, "n", []byte("0123456789abcdef"))
	_, _ = l.KeepNewest(ctx, h, 1)
	delete(l.state, third) // that it ends is what is asked for
	if _, err := l.EndID(ctx, h.id()); err == nil {
		l.state[fourth] = "ended"
	} else {
		l.state[fourth] = "doubt"
	}
	l.end(second)
	if _, err := l.EndUser(ctx, "d", "3", Handle{}); err == nil {
		l.state[fifth] = "ended"
	} else {
		l.state[fifth] = "doubt"
	}
	delete(l.state, Token{})
	l.look(true)
	if watched {
		watch.Stop()
	}
	_, _ = l.signIn("4", nil)
	expiring, _, _ := l.SignIn(ctx, User{Directory: "d", ID: "5"}, "", Limits{Idle: time.Minute}, nil)
	time.Sleep(5 * time.Second) // doubts are asked about
	l.look(true)
	time.Sleep(16 * time.Minute) // the sweep
	if _, result, err := l.Lookup(ctx, expiring, hour, true); err == nil && result == Live {
		l.t.Error("an expired session lives")
	}
	l.look(true)
}

type watcherFunc func()

func (f watcherFunc) SessionEnded() { f() }

func (h Handle) id() string {
	if h.Session == nil {
		return "none"
	}
	return h.ID
}

// forgetAll leaves nothing in memory but what waits for the store.
func (s *Sessions) forgetAll() {
	var keys []Key
	s.memory.all(func(e *entry) { keys = append(keys, e.key) })
	for _, key := range keys {
		s.memory.forget(key)
	}
}

// TestEveryCallToTheStoreFailsInTurn: with an error, with a panic, before and
// after it was done, and by hanging. Whatever fails, an acknowledged end stays,
// nothing that expired comes back, the process lives, nobody waits for ever, and
// afterwards all is as before.
func TestEveryCallToTheStoreFailsInTurn(t *testing.T) {
	broken := errors.New("broken")
	kinds := map[string]func(ctx context.Context) error{
		"error": func(context.Context) error { return broken },
		"panic": func(context.Context) error { panic("index out of range") },
		"delay": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	}
	life := func(t *testing.T, fault func(ctx context.Context, method string, n int) error, late bool) map[string]int {
		store := rig(newFakeStore())
		l := &faultLife{t: t, store: store, Sessions: New(store, Options{}, nil), state: map[Token]string{}}
		store.fault, store.late = fault, late
		l.run()
		calls := map[string]int{}
		store.mu.Lock()
		for method, n := range store.calls {
			calls[method] = n
		}
		store.mu.Unlock()
		store.heal()
		time.Sleep(time.Minute + 10*time.Second) // retries and doubts are over
		l.look(false)
		token, h := l.signIn("9", nil)
		if h.Session == nil {
			t.Error("nobody can sign in afterwards")
		}
		l.end(token)
		if l.state[token] != "ended" {
			t.Error("nobody can sign out afterwards")
		}
		l.look(false)
		if err := l.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		return calls
	}
	var calls map[string]int
	synctest.Test(t, func(t *testing.T) { calls = life(t, nil, false) })
	for _, method := range []string{"Create", "Get", "Update", "Touch", "Delete", "Drop", "DeleteUser", "List", "Find", "Count", "User", "Users", "Mark", "SaveCounters", "Counters", "Secret"} {
		if calls[method] == 0 {
			t.Errorf("a life without %s shows nothing of it", method)
		}
		for kind, fault := range kinds {
			for _, late := range []bool{false, true} {
				for nth := range calls[method] + 1 { // 0: every one
					if nth > 12 && nth%7 != 0 {
						continue // of the many reads of the loops
					}
					t.Run(fmt.Sprintf("%s %d %s late %v", method, nth, kind, late), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							life(t, func(ctx context.Context, called string, n int) error {
								if called != method || nth > 0 && n != nth {
									return nil
								}
								return fault(ctx)
							}, late)
						})
					})
				}
			}
		}
	}
}
