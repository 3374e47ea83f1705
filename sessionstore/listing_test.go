package sessionstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// listAll reads all pages.
func (w *world) listAll(query ListQuery, limits Limits) (entries []Entry) {
	w.t.Helper()
	for {
		page, next, err := w.List(w.t.Context(), query, limits)
		if err != nil || len(page) > query.Limit {
			w.t.Fatalf("List: %d sessions, error %v", len(page), err)
		}
		entries = append(entries, page...)
		if query.After = next; next == "" {
			return entries
		}
	}
}

func ids[E any](all []E, id func(E) string) []string {
	var list []string
	for _, one := range all {
		list = append(list, id(one))
	}
	return list
}

func idOf(s *Session) string { return s.ID }

func TestList(t *testing.T) {
	w := newWorld(t, Options{})
	var mine []string
	limits := Limits{Idle: time.Hour, Absolute: 5 * time.Hour}
	for i := range 7 {
		token, h := w.signIn(limits)
		mine = append(mine, h.ID)
		if i%2 == 0 {
			w.away(token)
		}
		w.signInAs("2", limits)
		w.clock.pass(time.Second)
	}
	own := ListQuery{Directory: "d", UserID: "1", Limit: 3}
	entryID := func(e Entry) string { return e.ID }
	if got := ids(w.listAll(own, Limits{}), entryID); !slices.Equal(got, mine) {
		t.Errorf("a user's: %v, want %v", got, mine)
	}
	if n := len(w.listAll(ListQuery{Limit: 4}, Limits{})); n != 14 {
		t.Errorf("all: %d, want 14", n)
	}
	first := w.listAll(own, Limits{Idle: 30 * time.Minute})[0]
	if first.IdleLeft != 30*time.Minute-7*time.Second || first.AbsoluteLeft != 5*time.Hour-7*time.Second ||
		!first.Seen.Equal(w.clock.now().Add(-7*time.Second)) || first.Seen.Location() != time.UTC || first.User.Username != "ana" {
		t.Errorf("entry %+v of %+v", first, first.Session)
	}

	// It touches nothing, and the time of a request counts at once.
	h, ok, err := w.Show(t.Context(), mine[0], Limits{})
	if err != nil || !ok || h.IdleLeft != time.Hour-7*time.Second || h.ID != mine[0] {
		t.Errorf("Show: %+v, %v, %v", h, ok, err)
	}
	for _, id := range []string{"", "unknown"} {
		if _, ok, err := w.Show(t.Context(), id, Limits{}); ok || err != nil {
			t.Errorf("Show(%q): %v, %v", id, ok, err)
		}
	}
}

func TestListLeavesOutWhatDoesNotLive(t *testing.T) {
	var told reports
	w := newWorld(t, Options{Ended: told.ended})
	expired, expiredHandle := w.signIn(hour)
	expiredAway, _ := w.signIn(hour)
	w.away(expiredAway)
	invalid, invalidHandle := w.signIn(Limits{Idle: 9 * time.Hour})
	w.away(invalid)
	w.store.mu.Lock()
	w.store.invalid[invalid.Key()] = true
	w.store.mu.Unlock()
	ended, _ := w.signIn(Limits{Idle: 9 * time.Hour})
	_, live := w.signIn(Limits{Idle: 9 * time.Hour})
	used, usedHandle := w.signIn(hour)
	justUsed, justUsedHandle := w.signIn(hour)
	if _, err := w.End(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	w.store.fail("Touch", errors.New("disk on fire"))
	w.clock.pass(30 * time.Second)
	w.want(Live, justUsed, Limits{}, true) // which only the memory knows
	w.clock.pass(59*time.Minute - 30*time.Second)
	w.want(Live, used, Limits{}, true)
	w.away(used) // what is known of its use waits for the store
	w.clock.pass(time.Minute)
	got := ids(w.listAll(ListQuery{Limit: 10}, Limits{}), func(e Entry) string { return e.ID })
	want := []string{live.ID, usedHandle.ID, justUsedHandle.ID}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	for name, h := range map[string]Handle{"expired": expiredHandle, "invalid": invalidHandle} {
		if _, ok, err := w.Show(t.Context(), h.ID, Limits{}); ok || err != nil {
			t.Errorf("Show of an %s one: %v, %v", name, ok, err)
		}
	}
	if _, ok, _ := w.Show(t.Context(), live.ID, Limits{Idle: time.Minute}); ok {
		t.Error("shown past today's limits")
	}
	// Looking at them decided nothing.
	w.want(Expired, expired, Limits{}, true)
	w.want(Invalid, invalid, Limits{}, true)
	if told.count() != 0 {
		t.Error("a listing reports")
	}
}

func TestListLeavesTheMemoryAlone(t *testing.T) {
	w := newWorld(t, Options{MaxEntries: 8})
	for range 100 {
		w.clock.pass(time.Second)
		w.signIn(hour)
	}
	before := map[Key]int64{}
	w.memory.all(func(e *entry) { before[e.key] = e.seen.Load() })
	w.listAll(ListQuery{Limit: 10}, Limits{})
	after := map[Key]int64{}
	w.memory.all(func(e *entry) { after[e.key] = e.seen.Load() })
	if len(before) != len(after) || w.InMemory() != len(before) {
		t.Errorf("%d sessions in memory, %d before", len(after), len(before))
	}
	for key, seen := range before {
		if after[key] != seen {
			t.Error("a session was pushed out or touched")
		}
	}
}

func TestEndIDAndEndOwn(t *testing.T) {
	w := newWorld(t, Options{})
	_, me := w.signIn(hour)
	token, mine := w.signIn(hour)
	away, mineAway := w.signIn(hour)
	w.away(away)
	others, theirs := w.signInAs("2", hour)
	_, sameID, err := w.SignIn(t.Context(), User{Directory: "other", ID: "1"}, "", hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, id := range []string{theirs.ID, sameID.ID, "", "unknown"} {
		if ended, err := w.EndOwn(ctx, me, id); ended != nil || err != nil {
			t.Errorf("EndOwn(%q): %v, %v", id, ended, err)
		}
	}
	if ended, err := w.EndOwn(ctx, Handle{}, theirs.ID); ended != nil || err != nil {
		t.Errorf("EndOwn of nobody: %v, %v", ended, err)
	}
	w.want(Live, others, Limits{}, true)
	if !theirs.Alive() || !sameID.Alive() {
		t.Fatal("somebody else's session was ended")
	}
	if ended, err := w.EndOwn(ctx, me, mine.ID); err != nil || ended == nil || ended.ID != mine.ID {
		t.Errorf("EndOwn: %v, %v", ended, err)
	}
	if ended, err := w.EndOwn(ctx, me, mineAway.ID); err != nil || ended == nil || ended.User.Username != "ana" {
		t.Errorf("EndOwn of one that is not in memory: %v, %v", ended, err)
	}
	w.want(Unknown, token, Limits{}, true)
	w.want(Unknown, away, Limits{}, true)
	if ended, err := w.EndID(ctx, theirs.ID); err != nil || ended == nil || ended.ID != theirs.ID {
		t.Errorf("EndID: %v, %v", ended, err)
	}
	w.want(Unknown, others, Limits{}, true)
	if ended, err := w.EndID(ctx, theirs.ID); ended != nil || err != nil {
		t.Errorf("second EndID: %v, %v", ended, err)
	}
	if ended, err := w.EndOwn(ctx, me, me.ID); err != nil || ended == nil || me.Alive() {
		t.Errorf("EndOwn of the very session: %v, %v", ended, err)
	}

	// One whose record cannot be read ends all the same.
	broken, h := w.signInAs("3", hour)
	w.away(broken)
	w.store.mu.Lock()
	w.store.invalid[broken.Key()] = true
	w.store.mu.Unlock()
	if ended, err := w.EndID(ctx, h.ID); err != nil || ended == nil || ended.ID != h.ID || w.store.has(broken.Key()) {
		t.Errorf("EndID of an unreadable one: %v, %v", ended, err)
	}
}

func TestEndUser(t *testing.T) {
	w := newWorld(t, Options{})
	ctx := t.Context()
	keptToken, kept := w.signIn(hour)
	var tokens []Token
	var want []string
	for i := range listPage + 10 {
		token, h := w.signIn(hour)
		tokens, want = append(tokens, token), append(want, h.ID)
		if i%2 == 0 {
			w.away(token)
		}
	}
	_, theirs := w.signInAs("2", hour)
	_, sameID, err := w.SignIn(ctx, User{Directory: "other", ID: "1"}, "", hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := w.EndUser(ctx, "d", "1", kept)
	if err != nil {
		t.Fatal(err)
	}
	got := ids(ended, idOf)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || ended[0].User.Username != "ana" {
		t.Errorf("%d sessions ended, want %d, with their users", len(got), len(want))
	}
	for _, token := range tokens {
		w.want(Unknown, token, Limits{}, true)
	}
	w.want(Live, keptToken, Limits{}, true)
	if !theirs.Alive() || !sameID.Alive() || !kept.Alive() {
		t.Error("one too many was ended")
	}
	if ended, err = w.EndUser(ctx, "d", "1", Handle{}); err != nil || len(ended) != 1 || kept.Alive() {
		t.Errorf("without keep: %v, %v", ended, err)
	}
	if ended, err = w.EndUser(ctx, "d", "1", Handle{}); err != nil || len(ended) != 0 {
		t.Errorf("with nothing left: %v, %v", ended, err)
	}
}

// A missing name must never be taken for everybody's.
func TestNobodysSessions(t *testing.T) {
	w := newWorld(t, Options{})
	_, h := w.signIn(hour)
	for _, user := range [][2]string{{"", ""}, {"d", ""}, {"", "1"}} {
		if ended, err := w.EndUser(t.Context(), user[0], user[1], Handle{}); err == nil || ended != nil {
			t.Errorf("EndUser(%q): %v, %v", user, ended, err)
		}
	}
	if ended, err := w.KeepNewest(t.Context(), Handle{}, 1); ended != nil || err != nil {
		t.Errorf("KeepNewest of nobody: %v, %v", ended, err)
	}
	for _, most := range []int{0, -1} {
		if ended, err := w.KeepNewest(t.Context(), h, most); ended != nil || err != nil {
			t.Errorf("KeepNewest(%d): %v, %v", most, ended, err)
		}
	}
	if !h.Alive() {
		t.Error("a session ended")
	}
}

// Deleted, but the answer was lost: memory must not go on with any of them, of
// a sign-in that came after the listing neither.
func TestEndUserThatFailed(t *testing.T) {
	down := errors.New("disk on fire")
	w, hooks := newHookedWorld(t, Options{})
	token, _ := w.signIn(hour)
	other, _ := w.signInAs("2", hour)
	var late Token
	hooks.afterList = func([]Listed) {
		if late == (Token{}) {
			late, _ = w.signIn(hour)
		}
	}
	w.store.fail("DeleteUser", down)
	if ended, err := w.EndUser(t.Context(), "d", "1", Handle{}); ended != nil || !errors.Is(err, down) {
		t.Errorf("EndUser: %v, %v", ended, err)
	}
	for _, forgotten := range []Token{token, late} {
		if w.memory.get(forgotten.Key()) != nil {
			t.Error("memory vouches for what may be gone")
		}
		w.want(Live, forgotten, Limits{}, true)
	}
	if w.memory.get(other.Key()) == nil {
		t.Error("another user's session was forgotten")
	}
	w.store.fail("DeleteUser", nil)
	w.store.fail("List", down)
	if ended, err := w.EndUser(t.Context(), "d", "1", Handle{}); ended != nil || !errors.Is(err, down) {
		t.Errorf("EndUser: %v, %v", ended, err)
	}
}

// An operator or another sign-in finds the session as soon as it is stored,
// which is before its own sign-in is over. Memory must not bring it back.
func TestAnEndDuringTheSignIn(t *testing.T) {
	for name, end := range map[string]func(*world, Key) error{
		"EndUser": func(w *world, _ Key) error {
			_, err := w.EndUser(w.t.Context(), "d", "1", Handle{})
			return err
		},
		"EndID": func(w *world, key Key) error {
			_, err := w.EndID(w.t.Context(), w.store.records[key].session.ID)
			return err
		},
		"KeepNewest": func(w *world, _ Key) error {
			w.clock.pass(time.Second)
			_, newest := w.signIn(hour)
			_, err := w.KeepNewest(w.t.Context(), newest, 1)
			return err
		},
		"an end that failed, and was applied": func(w *world, key Key) error {
			w.store.fail("Delete", errors.New("disk on fire"))
			if _, err := w.end(w.t.Context(), key, nil); err == nil {
				w.t.Error("no error")
			}
			w.store.fail("Delete", nil)
			_, err := w.store.Delete(w.t.Context(), key)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, hooks := newHookedWorld(t, Options{})
			hooks.afterCreate = func(key Key) {
				hooks.afterCreate = nil
				if err := end(w, key); err != nil {
					t.Error(err)
				}
			}
			token, h := w.signIn(hour)
			if w.store.has(token.Key()) {
				t.Fatal("not ended")
			}
			w.want(Unknown, token, Limits{}, true)
			if name == "an end that failed, and was applied" {
				return // nobody acknowledged it
			}
			if h.Alive() || h.Watch(&Watch{}, &openAnswer{}) {
				t.Error("the handle of an ended session is alive")
			}
		})
	}
}

func TestSignInsWhileAUserIsEnded(t *testing.T) {
	w := newWorld(t, Options{})
	type signedIn struct {
		token Token
		h     Handle
	}
	var mu sync.Mutex
	var all []signedIn
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				token, h, err := w.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, nil)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				all = append(all, signedIn{token, h})
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			mu.Lock()
			before := slices.Clone(all)
			mu.Unlock()
			if _, err := w.EndUser(t.Context(), "d", "1", Handle{}); err != nil {
				t.Error(err)
			}
			for _, s := range before {
				if s.h.Alive() {
					t.Error("a sign-in of before lives")
				}
			}
		}
	})
	wg.Wait()
	for _, s := range all {
		want := Unknown
		if w.store.has(s.token.Key()) {
			want = Live
		}
		if s.h.Alive() != (want == Live) {
			t.Errorf("alive %v, stored %v", s.h.Alive(), want == Live)
		}
		w.want(want, s.token, Limits{}, true)
	}
}

func TestKeepNewest(t *testing.T) {
	var told reports
	w := newWorld(t, Options{Ended: told.ended})
	ctx := t.Context()
	_, expired := w.signIn(Limits{Idle: time.Minute})
	oldToken, old := w.signIn(hour)
	_, theirs := w.signInAs("2", hour)
	w.away(oldToken)
	w.clock.pass(30 * time.Minute)
	_, middle := w.signIn(hour)
	w.clock.pass(time.Minute)
	_, newest := w.signIn(hour)

	if ended, err := w.KeepNewest(ctx, newest, 4); len(ended) != 0 || err != nil || told.count() != 0 {
		t.Errorf("with room for all: %v, %v", ended, err)
	}
	if ended, err := w.KeepNewest(ctx, newest, 3); len(ended) != 0 || err != nil {
		t.Errorf("with an expired one: %v, %v", ids(ended, idOf), err)
	}
	if told.of(expired.ID) != 1 || !old.Alive() {
		t.Error("the expired one does not go first")
	}
	if ended, err := w.KeepNewest(ctx, newest, 2); err != nil || len(ended) != 1 || ended[0].ID != old.ID || old.Alive() {
		t.Errorf("the oldest: %v, %v", ids(ended, idOf), err)
	}
	w.want(Unknown, oldToken, Limits{}, true)
	if ended, err := w.KeepNewest(ctx, newest, 1); err != nil || len(ended) != 1 || ended[0].ID != middle.ID {
		t.Errorf("all but the newest: %v, %v", ids(ended, idOf), err)
	}
	if !newest.Alive() || !theirs.Alive() {
		t.Error("the wrong ones ended")
	}
}

// The shorter limits of today count for what has expired.
func TestKeepNewestUnderTodaysLimits(t *testing.T) {
	w := newWorld(t, Options{})
	old, h := w.signIn(Limits{Idle: 9 * time.Hour})
	w.clock.pass(time.Hour)
	_, newest := w.signIn(hour)
	if ended, err := w.KeepNewest(t.Context(), newest, 1); len(ended) != 0 || err != nil {
		t.Errorf("%v, %v", ended, err)
	}
	if h.Alive() || w.store.has(old.Key()) || !newest.Alive() {
		t.Error("the wrong one ended")
	}
}

func TestKeepNewestThatFailed(t *testing.T) {
	down := errors.New("disk on fire")
	for _, call := range []string{"List", "Delete", "Drop"} {
		w := newWorld(t, Options{})
		w.signIn(Limits{Idle: time.Minute})
		w.clock.pass(time.Minute)
		for range 3 {
			w.signIn(hour)
			w.clock.pass(time.Second)
		}
		token, newest := w.signIn(hour)
		w.store.fail(call, down)
		if _, err := w.KeepNewest(t.Context(), newest, 1); !errors.Is(err, down) {
			t.Errorf("%s: %v", call, err)
		}
		w.want(Live, token, Limits{}, true)
		w.store.fail(call, nil)
		if _, err := w.KeepNewest(t.Context(), newest, 1); err != nil {
			t.Errorf("%s: the next one: %v", call, err)
		}
		w.want(Live, token, Limits{}, true)
		if counts, err := w.Count(t.Context()); counts.Sessions != 1 || err != nil {
			t.Errorf("%s: %d sessions left, %v", call, counts.Sessions, err)
		}
	}
}

func TestKeepNewestOfParallelSignIns(t *testing.T) {
	for _, most := range []int{1, 3} {
		for range 20 {
			w := newWorld(t, Options{})
			const signIns = 16
			handles := make([]Handle, signIns)
			tokens := make([]Token, signIns)
			var wg sync.WaitGroup
			for i := range signIns {
				wg.Go(func() {
					w.clock.pass(1)
					var err error
					tokens[i], handles[i], err = w.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "", hour, nil)
					if err == nil {
						_, err = w.KeepNewest(t.Context(), handles[i], most)
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			alive, live := 0, 0
			for i, h := range handles {
				if h.Alive() {
					alive++
				}
				if _, got, err := w.Lookup(t.Context(), tokens[i], Limits{}, true); err != nil {
					t.Error(err)
				} else if got == Live {
					live++
				}
			}
			counts, err := w.Count(t.Context())
			if alive != most || live != most || counts.Sessions != most || err != nil {
				t.Fatalf("%d alive, %d found, %d stored, want %d", alive, live, counts.Sessions, most)
			}
			w.Close()
		}
	}
}

// A crash with a clock that was a little ahead leaves sessions that were signed
// in after now: the sign-in of now must not be taken for the oldest.
func TestKeepNewestBesideSessionsOfTheFuture(t *testing.T) {
	for _, ahead := range []time.Duration{time.Minute, clockTolerance, clockTolerance + 1, 365 * 24 * time.Hour} {
		t.Run(fmt.Sprint(ahead), func(t *testing.T) {
			w := newWorld(t, Options{})
			w.clock.pass(ahead)
			future, _ := w.signIn(Limits{Idle: 10 * 365 * 24 * time.Hour})
			w.store.Close()
			w.store = w.store.reopened()
			w.clock.pass(-ahead)
			w = w.restart()
			_, h := w.signIn(hour)
			if _, err := w.KeepNewest(t.Context(), h, 1); err != nil {
				t.Fatal(err)
			}
			if !h.Alive() || w.store.has(future.Key()) {
				t.Errorf("the new one lives: %v, the other one: %v", h.Alive(), w.store.has(future.Key()))
			}
		})
	}
}

func TestUsersAndCounts(t *testing.T) {
	w := newWorld(t, Options{})
	for i := range 7 {
		w.signInAs(fmt.Sprint(i), hour)
		w.signInAs(fmt.Sprint(i), hour)
	}
	counts, err := w.Count(t.Context())
	if err != nil || counts != (Counts{Sessions: 14, Users: 7}) || w.InMemory() != 14 {
		t.Errorf("counts %+v, %v, %d in memory", counts, err, w.InMemory())
	}
	var got []string
	for after := ""; ; {
		page, next, err := w.Users(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range page {
			got = append(got, record.ID)
		}
		if after = next; next == "" {
			break
		}
	}
	if len(got) != 7 {
		t.Errorf("users %v", got)
	}
	if record, ok, err := w.User(t.Context(), "d", "3"); !ok || err != nil || record.SignIns != 2 {
		t.Errorf("%+v, %v, %v", record, ok, err)
	}
	if _, ok, err := w.User(t.Context(), "d", "none"); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestOwnersCallsOfAStoreThatFailsOrIsClosed(t *testing.T) {
	w := newWorld(t, Options{})
	_, h := w.signIn(hour)
	ctx := t.Context()
	calls := map[string]func() error{
		"List":       func() error { _, _, err := w.List(ctx, ListQuery{Limit: 1}, Limits{}); return err },
		"Show":       func() error { _, _, err := w.Show(ctx, h.ID, Limits{}); return err },
		"EndID":      func() error { _, err := w.EndID(ctx, h.ID); return err },
		"EndOwn":     func() error { _, err := w.EndOwn(ctx, h, h.ID); return err },
		"EndUser":    func() error { _, err := w.EndUser(ctx, "d", "1", Handle{}); return err },
		"KeepNewest": func() error { _, err := w.KeepNewest(ctx, h, 1); return err },
		"Count":      func() error { _, err := w.Count(ctx); return err },
		"User":       func() error { _, _, err := w.User(ctx, "d", "1"); return err },
		"Users":      func() error { _, _, err := w.Users(ctx, "", 1); return err },
	}
	check := func(want error) {
		t.Helper()
		for name, call := range calls {
			if err := call(); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	}
	down := errors.New("disk on fire")
	w.store.fail("", down)
	check(down)
	if !h.Alive() {
		t.Error("a failing store ended a session")
	}
	w.store.fail("", nil)
	// The record of a session that is not in memory.
	w.memory.forget(h.entry.key)
	w.store.fail("Get", down)
	for _, name := range []string{"List", "Show"} {
		if err := calls[name](); !errors.Is(err, down) {
			t.Errorf("%s without its record: %v", name, err)
		}
	}
	w.store.fail("Get", nil)
	w.Close()
	check(ErrClosed)
}
