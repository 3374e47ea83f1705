package sessionstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// wayToEnd ends the session that token and h stand for. keep is another one of
// the same user. It returns what was ended, as far as the call tells.
type wayToEnd struct {
	name string
	end  func(ctx context.Context, w *world, token Token, h, keep Handle) ([]*Session, error)
}

func one(session *Session, err error) ([]*Session, error) {
	if session == nil {
		return nil, err
	}
	return []*Session{session}, err
}

var waysToEnd = []wayToEnd{
	{"End", func(ctx context.Context, w *world, token Token, _, _ Handle) ([]*Session, error) {
		return one(w.End(ctx, token))
	}},
	{"Revoke", func(ctx context.Context, w *world, _ Token, h, _ Handle) ([]*Session, error) {
		ok, err := w.Revoke(ctx, h)
		if !ok {
			return nil, err
		}
		return one(h.Session, err)
	}},
	{"EndID", func(ctx context.Context, w *world, _ Token, h, _ Handle) ([]*Session, error) {
		return one(w.EndID(ctx, h.ID))
	}},
	{"EndOwn", func(ctx context.Context, w *world, _ Token, h, keep Handle) ([]*Session, error) {
		return one(w.EndOwn(ctx, keep, h.ID))
	}},
	{"EndUser", func(ctx context.Context, w *world, _ Token, h, keep Handle) ([]*Session, error) {
		return w.EndUser(ctx, h.User.Directory, h.User.ID, keep)
	}},
}

var keepNewest = wayToEnd{"KeepNewest", func(ctx context.Context, w *world, _ Token, _, keep Handle) ([]*Session, error) {
	return w.KeepNewest(ctx, keep, 1)
}}

// two signs a user in twice: the older session is to end.
func (w *world) two() (token Token, h, keep Handle) {
	w.t.Helper()
	token, h = w.signIn(hour)
	w.clock.pass(time.Second)
	_, keep = w.signIn(hour)
	return token, h, keep
}

func wantEnded(t *testing.T, ended []*Session, h Handle) {
	t.Helper()
	if len(ended) != 1 || ended[0].ID != h.ID || ended[0].User.Username != "ana" {
		t.Errorf("ended %+v, want the whole session %s", ended, h.ID)
	}
}

// The store applies the end, and the client leaves meanwhile. Nobody would end
// the open answers, nor write the audit line, if the call left with it.
func TestAnEndIsSeenThroughWhenItsClientLeaves(t *testing.T) {
	for _, way := range append(waysToEnd, keepNewest) {
		for _, away := range []bool{false, true} {
			t.Run(way.name, func(t *testing.T) {
				w, hooks := newHookedWorld(t, Options{})
				token, h, keep := w.two()
				answer := w.open(h, false)
				if away {
					w.away(token)
				}
				ctx, leave := context.WithCancel(t.Context())
				hooks.reply = func() error { leave(); return nil }
				ended, err := way.end(ctx, w, token, h, keep)
				if err != nil {
					t.Fatal(err)
				}
				wantEnded(t, ended, h)
				if answer.told.Load() != 1 || h.Alive() || !keep.Alive() {
					t.Errorf("told %d times; alive: %v, and the other one %v", answer.told.Load(), h.Alive(), keep.Alive())
				}
				w.want(Unknown, token, hour, true)
			})
		}
	}
}

func TestNoEndBeginsForAClientThatHasLeft(t *testing.T) {
	for _, way := range waysToEnd {
		t.Run(way.name, func(t *testing.T) {
			w := newWorld(t, Options{})
			token, h, keep := w.two()
			ctx, leave := context.WithCancel(t.Context())
			leave()
			if ended, err := way.end(ctx, w, token, h, keep); ended != nil || !errors.Is(err, context.Canceled) {
				t.Errorf("ended %v, error %v", ended, err)
			}
			if w.want(Live, token, hour, true); !h.Alive() {
				t.Error("it ended")
			}
		})
	}
}

// A client could otherwise have as many sessions as it likes: by hanging up.
func TestKeepNewestOfAClientThatHasLeft(t *testing.T) {
	w := newWorld(t, Options{})
	token, h, keep := w.two()
	ctx, leave := context.WithCancel(t.Context())
	leave()
	ended, err := w.KeepNewest(ctx, keep, 1)
	if err != nil {
		t.Fatal(err)
	}
	wantEnded(t, ended, h)
	w.want(Unknown, token, hour, true)
}

func TestASignInThatIsGivenUp(t *testing.T) {
	for _, replaces := range []bool{false, true} {
		w, hooks := newHookedWorld(t, Options{})
		token, h, _ := w.two()
		answer := w.open(h, false)
		var old *Token
		if replaces {
			old = &token
		}
		ctx, leave := context.WithCancel(t.Context())
		var created Key
		hooks.afterCreate = func(key Key) { created = key }
		hooks.reply = func() error { leave(); return nil }
		got, handle, err := w.SignIn(ctx, User{Directory: "d", ID: "1"}, "", hour, old)
		if !errors.Is(err, ErrGivenUp) || !errors.Is(err, context.Canceled) || got != (Token{}) || handle.Session != nil {
			t.Errorf("token %v, handle %v, error %v", got, handle, err)
		}
		if w.store.has(created) || w.memory.get(created) != nil {
			t.Error("a session is left that nobody has the token of")
		}
		if e, err := w.memory.get(created), w.memory.shard(created).flights[created]; e != nil || err != nil {
			t.Error("something of it is left in memory")
		}
		if told := answer.told.Load() == 1; told != replaces || h.Alive() == replaces || w.Replaced(t.Context(), token) != replaces {
			t.Errorf("replaces %v: told %v, alive %v, replaced %v", replaces, told, h.Alive(), w.Replaced(t.Context(), token))
		}
		if counts, err := w.Count(t.Context()); err != nil || (counts.Sessions == 1) != replaces {
			t.Errorf("replaces %v: %d sessions are left, %v", replaces, counts.Sessions, err)
		}
	}
}

var errLost = errors.New("the answer was lost")

// loseAnswers has the store end sessions without saying so.
func (h *hookStore) loseAnswers(lose bool) {
	h.reply = nil
	if lose {
		h.reply = func() error { return errLost }
	}
}

func replaceIt(ctx context.Context, w *world, token Token, h, _ Handle) ([]*Session, error) {
	_, _, err := w.SignIn(ctx, h.User, "", hour, &token)
	return nil, err
}

// What ended without an answer of the store ends here as soon as the store can
// say that it is gone, and is reported.
func TestAnEndWhoseAnswerWasLostComesToLight(t *testing.T) {
	for _, way := range append(waysToEnd, keepNewest, wayToEnd{"a sign-in that replaces it", replaceIt}) {
		for _, away := range []bool{false, true} {
			t.Run(way.name, func(t *testing.T) {
				var told reports
				w, hooks := newHookedWorld(t, Options{Ended: told.ended})
				token, h, keep := w.two()
				answer, other := w.open(h, false), w.open(keep, false)
				if away {
					w.away(token)
				}
				hooks.loseAnswers(true)
				if ended, err := way.end(t.Context(), w, token, h, keep); ended != nil || !errors.Is(err, errLost) {
					t.Fatalf("ended %v, error %v", ended, err)
				}
				w.store.fail("Get", errors.New("disk on fire"))
				w.clock.pass(2 * doubtFor)
				w.look()
				if answer.told.Load() != 0 || told.ofLate(h.ID) != 0 {
					t.Error("a failing store decides")
				}
				w.store.fail("Get", nil)
				for range 3 {
					w.look()
				}
				if answer.told.Load() != 1 || told.ofLate(h.ID) != 1 || h.Alive() {
					t.Errorf("told %d times, reported %d times, alive: %v", answer.told.Load(), told.ofLate(h.ID), h.Alive())
				}
				if other.told.Load() != 0 || told.ofLate(keep.ID) != 0 || !keep.Alive() || told.count() != 0 {
					t.Error("the other session ended, or was reported")
				}
				if n := len(w.doubts.all()); n != 0 {
					t.Errorf("%d sessions are still in doubt", n)
				}
				w.want(Unknown, token, hour, true)
			})
		}
	}
}

// The caller tries again at once, and is told that there is nothing to end: that
// is an acknowledgement, and whoever writes the audit log must learn of it.
func TestTheSecondAttemptAcknowledgesALostEnd(t *testing.T) {
	for _, first := range waysToEnd {
		for _, second := range waysToEnd {
			t.Run(first.name+", "+second.name, func(t *testing.T) {
				var told reports
				w, hooks := newHookedWorld(t, Options{Ended: told.ended})
				token, h, keep := w.two()
				answer := w.open(h, false)
				hooks.loseAnswers(true)
				if _, err := first.end(t.Context(), w, token, h, keep); !errors.Is(err, errLost) {
					t.Fatal(err)
				}
				hooks.loseAnswers(false)
				ended, err := second.end(t.Context(), w, token, h, keep)
				if err != nil {
					t.Fatal(err)
				}
				wantEnded(t, ended, h)
				if answer.told.Load() != 1 {
					t.Errorf("told %d times when the second attempt was acknowledged", answer.told.Load())
				}
				w.look()
				if n := told.ofLate(h.ID); n != 0 || !keep.Alive() {
					t.Errorf("reported %d times more; the other one is alive: %v", n, keep.Alive())
				}
				if ended, err := second.end(t.Context(), w, token, h, keep); len(ended) != 0 || err != nil {
					t.Errorf("a third attempt: %v, %v", ended, err)
				}
			})
		}
	}
}

// TestASignInAfterALostEnd: it replaces nothing, and the end is reported once.
func TestASignInAfterALostEnd(t *testing.T) {
	var told reports
	w, hooks := newHookedWorld(t, Options{Ended: told.ended})
	token, h, keep := w.two()
	hooks.loseAnswers(true)
	if _, err := replaceIt(t.Context(), w, token, h, keep); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	hooks.loseAnswers(false)
	if _, err := replaceIt(t.Context(), w, token, h, keep); err != nil {
		t.Fatal(err)
	}
	w.look()
	if told.ofLate(h.ID) != 1 {
		t.Errorf("reported %d times", told.ofLate(h.ID))
	}
}

// Nothing was done, or not yet: the session is used on and comes into memory
// again, from where nothing would end it any more.
func TestAnEndThatComesAfterItsFailure(t *testing.T) {
	for _, test := range []struct {
		name  string
		after time.Duration
		ends  bool
	}{
		{"soon", 2 * time.Second, true},
		{"within the time of doubt", doubtFor - time.Second, true},
		{"never", 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var told reports
			w := newWorld(t, Options{Ended: told.ended})
			token, h, _ := w.two()
			answer := w.open(h, true)
			w.store.fail("Delete", errors.New("disk on fire"))
			if _, err := w.End(t.Context(), token); err == nil {
				t.Fatal("no error")
			}
			w.store.fail("Delete", nil)
			for passed := time.Duration(0); passed <= doubtFor; passed += time.Second {
				if test.ends && passed == test.after {
					if _, err := w.store.Delete(t.Context(), token.Key()); err != nil {
						t.Fatal(err)
					}
					break
				}
				w.want(Live, token, hour, true)
				w.clock.pass(time.Second)
				w.look()
			}
			w.look()
			if (answer.told.Load() == 1) != test.ends || told.ofLate(h.ID) != int(answer.told.Load()) || h.Alive() == test.ends {
				t.Errorf("told %d times, reported %d times, alive: %v", answer.told.Load(), told.ofLate(h.ID), h.Alive())
			}
			if n := len(w.doubts.all()); n != 0 {
				t.Errorf("%d sessions are still in doubt", n)
			}
		})
	}
}

func TestDoubtsAreBounded(t *testing.T) {
	w := newWorld(t, Options{})
	_, h, keep := w.two()
	answer, other := w.open(h, false), w.open(keep, false)
	w.doubt(NewToken().Key(), nil)
	if n := len(w.doubts.all()); n != 0 {
		t.Fatal("what nobody here has to do with is held")
	}
	for range maxDoubts {
		w.doubt(NewToken().Key(), h.Session)
	}
	w.doubt(h.entry.key, h.Session)
	if n := len(w.doubts.all()); n != maxDoubts || answer.told.Load() != 1 || other.told.Load() != 0 {
		t.Errorf("%d in doubt; told %d times, and the other one %d", n, answer.told.Load(), other.told.Load())
	}
}

// Clients that have left must not wait in front of a store that hangs for ever.
func TestAnEndGivesUpOnAStoreThatHangs(t *testing.T) {
	for _, way := range waysToEnd[:4] {
		synctest.Test(t, func(t *testing.T) {
			store := &hookStore{fakeStore: newFakeStore()}
			s := New(store, Options{}, nil)
			defer s.Close()
			defer store.hangs.Store(false)
			w := &world{Sessions: s, t: t, store: store.fakeStore, clock: &testClock{}}
			token, h, keep := w.two()
			answer := w.open(h, true)
			ctx, leave := context.WithTimeout(t.Context(), time.Second)
			defer leave()
			store.hangs.Store(true)
			start := time.Now()
			_, err := way.end(ctx, w, token, h, keep)
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != settleTimeout {
				t.Errorf("%s: error %v after %v", way.name, err, took)
			}
			// It was done all the same.
			if _, err := store.fakeStore.Delete(t.Context(), token.Key()); err != nil {
				t.Fatal(err)
			}
			store.hangs.Store(false)
			time.Sleep(2*time.Second + touchTimeout)
			synctest.Wait()
			if answer.told.Load() != 1 {
				t.Errorf("%s: told %d times", way.name, answer.told.Load())
			}
		})
	}
}
