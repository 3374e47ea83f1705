package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// cluster is one store that several nodes share.
type cluster struct {
	mu            sync.Mutex
	nodes         []*node
	replaced      map[Key]bool
	replacedFails error
}

// node is the store as one of them has it: whatever one changes, all are told.
type node struct {
	*fakeStore
	cluster *cluster
	changed func(Key)
	lost    func()
	heard   func(time.Time)
	quiet   bool // nobody is told of what this one updates

	afterCreate error // of a session that was stored
}

func (n *node) Notify(changed func(Key), lost func(), heard func(time.Time)) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	n.changed, n.lost, n.heard = changed, lost, heard
	n.cluster.nodes = append(n.cluster.nodes, n)
}

func (n *node) tell(keys ...Key) {
	n.cluster.mu.Lock()
	nodes := append([]*node(nil), n.cluster.nodes...)
	n.cluster.mu.Unlock()
	for _, other := range nodes {
		for _, key := range keys {
			other.changed(key)
		}
	}
}

func (n *node) Create(ctx context.Context, key Key, s *Session, replaces *Key) error {
	err := n.fakeStore.Create(ctx, key, s, replaces)
	n.tell(key)
	if replaces != nil {
		n.cluster.mu.Lock()
		n.cluster.replaced[*replaces] = true
		n.cluster.mu.Unlock()
		n.tell(*replaces)
	}
	if err == nil {
		err = n.afterCreate
	}
	return err
}

func (n *node) Replaced(_ context.Context, key Key) (bool, error) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.cluster.replaced[key], n.cluster.replacedFails
}

func (n *node) Update(ctx context.Context, key Key, s *Session) (bool, error) {
	ok, err := n.fakeStore.Update(ctx, key, s)
	if !n.quiet {
		n.tell(key)
	}
	return ok, err
}

func (n *node) Delete(ctx context.Context, key Key) (bool, error) {
	ok, err := n.fakeStore.Delete(ctx, key)
	n.tell(key)
	return ok, err
}

func (n *node) Drop(ctx context.Context, keys []Key) error {
	err := n.fakeStore.Drop(ctx, keys)
	n.tell(keys...)
	return err
}

func (n *node) DeleteUser(ctx context.Context, directory, id string, keep *Key) ([]Listed, error) {
	deleted, err := n.fakeStore.DeleteUser(ctx, directory, id, keep)
	for i := range deleted {
		n.tell(deleted[i].Key)
	}
	return deleted, err
}

// newNodes returns two nodes of one store, and the first one's.
func newNodes(t *testing.T) (here, there *world, store *node) {
	t.Helper()
	clock := &testClock{}
	clock.at.Store(time.Date(2025, 11, 21, 12, 0, 0, 0, time.UTC).UnixNano())
	return newNodesWith(t, [2]Options{{Now: clock.now}, {Now: clock.now}}, [2]*testClock{clock, clock}, nil)
}

// newNodesApart is newNodes with a clock for each: there is ahead.
func newNodesApart(t *testing.T, ahead time.Duration, log io.Writer) (here, there *world, store *node) {
	t.Helper()
	var options [2]Options
	var clocks [2]*testClock
	for i, by := range []time.Duration{0, ahead} {
		clocks[i] = &testClock{}
		clocks[i].at.Store(time.Date(2025, 11, 21, 12, 0, 0, 0, time.UTC).Add(by).UnixNano())
		options[i] = Options{Now: clocks[i].now}
	}
	return newNodesWith(t, options, clocks, slog.New(slog.NewTextHandler(log, nil)))
}

func newNodesWith(t *testing.T, options [2]Options, clocks [2]*testClock, logger *slog.Logger) (here, there *world, store *node) {
	t.Helper()
	shared, all := newFakeStore(), &cluster{replaced: make(map[Key]bool)}
	var worlds []*world
	for i := range options {
		n := &node{fakeStore: shared, cluster: all}
		w := &world{t: t, store: shared, clock: clocks[i], Sessions: New(n, options[i], logger)}
		t.Cleanup(func() { w.Sessions.Close() })
		worlds = append(worlds, w)
	}
	return worlds[0], worlds[1], all.nodes[0]
}

// wantGroups looks token up and checks its only group.
func (w *world) wantGroup(token Token, want string) {
	w.t.Helper()
	if h := w.want(Live, token, hour, true); len(h.User.Groups) != 1 || h.User.Groups[0].ID != want {
		w.t.Errorf("groups %v, want %q", h.User.Groups, want)
	}
}

// wantTold waits until an open answer has been ended.
func (a *openAnswer) wantTold(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); a.told.Load() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the open answer goes on")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestWhatEndsOnAnotherNodeIsRefusedHere(t *testing.T) {
	for name, end := range map[string]func(there *world, token Token) error{
		"End": func(w *world, token Token) error {
			_, err := w.End(w.t.Context(), token)
			return err
		},
		"Revoke": func(w *world, token Token) error {
			_, err := w.Revoke(w.t.Context(), w.want(Live, token, hour, false))
			return err
		},
		"EndUser": func(w *world, _ Token) error {
			_, err := w.EndUser(w.t.Context(), "d", "1", Handle{})
			return err
		},
		"a sign-in that replaces it": func(w *world, token Token) error {
			_, _, err := w.SignIn(w.t.Context(), User{Directory: "d", ID: "1"}, "", hour, &token)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			here, there, _ := newNodes(t)
			token, _ := here.signIn(hour)
			h := here.want(Live, token, hour, true)
			there.want(Live, token, hour, true)
			answer := here.open(h, false)
			if err := end(there, token); err != nil {
				t.Fatal(err)
			}
			here.want(Unknown, token, hour, true)
			answer.wantTold(t)
			// The answer may have been told by the Lookup.
			for deadline := time.Now().Add(20 * time.Second); h.Alive(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("a request that was under way does not notice")
				}
			}
		})
	}
}

func TestOtherGroupsOfAnotherNodeHoldHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there, _ := newNodes(t)
		token, h := here.signIn(hour)
		answer := here.open(h, true)
		for _, group := range []string{"a", "b"} {
			if _, ok, err := there.Regroup(t.Context(), there.want(Live, token, hour, true), []Group{{ID: group}}, ""); !ok || err != nil {
				t.Fatal(ok, err)
			}
			here.wantGroup(token, group)
		}
		here.changedElsewhere(token.Key())
		if synctest.Wait(); answer.told.Load() != 0 {
			t.Error("an answer of a session that lives was ended")
		}
	})
}

// A read that crosses a change elsewhere begins again, or its result would stay
// in memory for good.
func TestAReadThatCrossesAChangeElsewhere(t *testing.T) {
	for name, lose := range map[string]bool{"a change": false, "a loss": true} {
		t.Run(name, func(t *testing.T) {
			here, _, store := newNodes(t)
			token, _ := here.signIn(hour)
			here.away(token)
			var once sync.Once
			here.store.mu.Lock()
			here.store.afterGet = func(_ context.Context, key Key) {
				once.Do(func() {
					// It has been read; now it ends, elsewhere.
					here.store.mu.Lock()
					delete(here.store.records, key)
					here.store.mu.Unlock()
					if lose {
						store.lost()
					} else {
						store.changed(key)
					}
				})
			}
			here.store.mu.Unlock()
			here.want(Unknown, token, hour, true)
			here.want(Unknown, token, hour, true)
		})
	}
}

// Two nodes store other groups; the one that was first must not have its own in
// memory for good because it comes to that later.
func TestGroupsThatCrossThoseOfAnotherNode(t *testing.T) {
	here, there, store := newNodes(t)
	token, h := here.signIn(hour)
	store.quiet = true // here its own change is told before Update returns
	var crossed atomic.Bool
	here.store.mu.Lock()
	here.store.afterUpdate = func(key Key) error {
		if crossed.CompareAndSwap(false, true) {
			store.changed(key)
			if _, ok, err := there.Regroup(t.Context(), there.want(Live, token, hour, true), []Group{{ID: "later"}}, ""); !ok || err != nil {
				t.Error(ok, err)
			}
			here.wantGroup(token, "later")
		}
		return nil
	}
	here.store.mu.Unlock()
	if _, ok, err := here.Regroup(t.Context(), h, []Group{{ID: "earlier"}}, ""); !ok || err != nil {
		t.Fatal(ok, err)
	}
	here.wantGroup(token, "later")
}

func TestALossDropsTheMemoryAndNoLastSeenTime(t *testing.T) {
	here, _, store := newNodes(t)
	token, _ := here.signIn(hour)
	gone, _ := here.signIn(hour)
	here.want(Live, token, hour, true)
	here.want(Live, gone, hour, true)
	stays, ends := here.open(here.want(Live, token, hour, true), false), here.open(here.want(Live, gone, hour, true), false)
	here.clock.pass(30 * time.Minute)
	seen := here.want(Live, token, hour, true).Seen()
	here.want(Live, gone, hour, true)
	here.store.mu.Lock()
	delete(here.store.records, gone.Key())
	here.store.mu.Unlock()
	store.lost()
	if n := here.inMemory(); n != 0 {
		t.Errorf("%d sessions are left in memory", n)
	}
	ends.wantTold(t) // without anybody's Lookup
	here.want(Unknown, gone, hour, true)
	if got := here.want(Live, token, hour, false).Seen(); !got.Equal(seen) {
		t.Errorf("last seen %s, want %s", got, seen)
	}
	if stays.told.Load() != 0 {
		t.Error("the answer of a session that lives was ended")
	}
}

func TestASessionPastItsLimitsStaysSoAfterALoss(t *testing.T) {
	here, _, store := newNodes(t)
	limits := Limits{Idle: 2 * time.Hour, Absolute: time.Hour}
	token, _ := here.signIn(limits)
	here.want(Live, token, limits, true)
	here.store.fail("Drop", errors.New("disk on fire"))
	here.clock.pass(time.Hour)
	here.want(Expired, token, limits, true)
	store.lost()
	store.changed(token.Key())
	here.want(Unknown, token, limits, true)
}

// The store fails when it is asked about an open answer: it is asked again.
func TestAnOpenAnswerOfASessionThatEndedWhileTheStoreFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there, _ := newNodes(t)
		token, _ := there.signIn(hour)
		answer := here.open(here.want(Live, token, hour, true), false)
		here.store.fail("Get", errors.New("gone fishing"))
		if ok, err := there.store.Delete(t.Context(), token.Key()); !ok || err != nil {
			t.Fatal(ok, err)
		}
		here.changedElsewhere(token.Key())
		time.Sleep(3 * suspectEvery)
		if synctest.Wait(); answer.told.Load() != 0 {
			t.Error("a store that cannot say has ended an answer")
		}
		here.store.fail("Get", nil)
		time.Sleep(suspectEvery)
		if synctest.Wait(); answer.told.Load() != 1 {
			t.Error("the open answer goes on")
		}
	})
}

// An answer that begins to be watched after its session has ended elsewhere, by
// a request from before that.
func TestWatchAfterAnEndElsewhere(t *testing.T) {
	here, there, _ := newNodes(t)
	token, _ := there.signIn(hour)
	h := here.want(Live, token, hour, true)
	if _, err := there.End(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	var answer openAnswer
	if h.Watch(&answer.watch, &answer) {
		answer.wantTold(t)
	}
	answer.watch.Stop()
}

// A session that ends elsewhere while requests hammer it is refused at once, and
// never comes back.
func TestAnEndElsewhereUnderLoad(t *testing.T) {
	here, there, store := newNodes(t)
	for range 30 {
		token, _ := there.signIn(hour)
		var wg sync.WaitGroup
		ended := make(chan struct{})
		for range 4 {
			wg.Go(func() {
				for n := 0; n < 20; {
					over := false
					select {
					case <-ended:
						over = true
						n++
					default:
					}
					_, result, err := here.Lookup(t.Context(), token, hour, true)
					if err != nil || over && result == Live {
						t.Errorf("Lookup: %v, %v; acknowledged before it began: %v", result, err, over)
						return
					}
				}
			})
		}
		wg.Go(func() {
			for range 5 {
				store.changed(token.Key())
				store.lost()
			}
			if _, err := there.End(t.Context(), token); err != nil {
				t.Error(err)
			}
			close(ended)
		})
		wg.Wait()
	}
}

// An answer that crosses a sign-in on another node must not delete the cookie
// that this one has set. While the store cannot say, it deletes none.
func TestReplacedElsewhere(t *testing.T) {
	here, there, store := newNodes(t)
	first, _ := here.signIn(hour)
	second, _, err := there.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "192.0.2.1", hour, &first)
	if err != nil {
		t.Fatal(err)
	}
	third, _ := there.signIn(hour)
	if _, err := there.End(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*world{here, there} {
		if !w.Replaced(t.Context(), first) {
			t.Error("it is not known that a sign-in has replaced it")
		}
		if w.Replaced(t.Context(), second) || w.Replaced(t.Context(), third) {
			t.Error("what nobody has replaced was replaced")
		}
	}
	store.cluster.mu.Lock()
	store.cluster.replacedFails = ErrUnavailable
	store.cluster.mu.Unlock()
	if !here.Replaced(t.Context(), third) {
		t.Error("a store that cannot say has said no")
	}
}

// A clock that is ahead takes from sessions what it is ahead by, and no more: it
// must not end those of its own node on others, nor theirs on its own.
func TestNodesWhoseClocksDiffer(t *testing.T) {
	for _, ahead := range []time.Duration{10 * time.Second, 3 * time.Minute, 30 * time.Minute} {
		for name, meet := range map[string]func(*world) error{
			"by a look-up": func(*world) error { return nil },
			"by a sweep":   func(w *world) error { return w.sweep(w.t.Context(), 0) },
			"by a listing": func(w *world) error {
				_, _, err := w.List(w.t.Context(), ListQuery{Limit: 10}, Limits{})
				return err
			},
		} {
			t.Run(fmt.Sprint(ahead, " ", name), func(t *testing.T) {
				here, there, _ := newNodesApart(t, ahead, io.Discard)
				mine, _ := here.signIn(hour)
				theirs, _ := there.signIn(hour)
				if err := meet(here); err != nil {
					t.Fatal(err)
				}
				for _, w := range []*world{here, there} {
					w.want(Live, mine, hour, true)
					w.want(Live, theirs, hour, true)
				}
				// Each minute the clocks become the later one, by which the hour is over.
				here.clock.pass(time.Hour)
				there.clock.pass(time.Hour)
				for _, w := range []*world{there, here} {
					if err := w.saveMark(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				here.want(Expired, theirs, hour, true)
				there.want(Unknown, theirs, hour, true)
			})
		}
	}
}

func TestAClockFarAheadIsToldOf(t *testing.T) {
	log := new(lockedBuffer)
	here, there, _ := newNodesApart(t, 24*time.Hour, log)
	mine, _ := here.signIn(hour)
	there.signIn(hour)
	if err := here.saveMark(t.Context()); err != nil {
		t.Fatal(err)
	}
	here.want(Expired, mine, hour, true)
	if text := log.String(); strings.Count(text, "another node's clock is ahead") != 1 || !strings.Contains(text, "by=24h") {
		t.Errorf("the log: %s", text)
	}
}

// Our own drop of an invalid record is told to us like anybody's, and must not
// hide that it was invalid.
func TestAnInvalidRecordIsReportedOnASharedStore(t *testing.T) {
	here, _, store := newNodes(t)
	for range 20 {
		token, _ := here.signIn(hour)
		here.memory.forget(token.Key())
		store.mu.Lock()
		store.invalid[token.Key()] = true
		store.mu.Unlock()
		here.want(Invalid, token, hour, true)
		here.want(Unknown, token, hour, true)
	}
}

// A sign-in that was stored and fails all the same leaves no session that nobody
// has the token of.
func TestASignInThatFailsLeavesNothing(t *testing.T) {
	here, _, store := newNodes(t)
	store.afterCreate = ErrUnavailable
	if _, _, err := here.SignIn(t.Context(), User{Directory: "d", ID: "1"}, "192.0.2.1", hour, nil); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("SignIn: %v", err)
	}
	if counts, err := here.Count(t.Context()); err != nil || counts.Sessions != 0 {
		t.Errorf("%d sessions are left, error %v", counts.Sessions, err)
	}
}
