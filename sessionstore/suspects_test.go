package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// questions is what a store is asked for sessions, as a test has it: it can hold
// and fail these reads, and knows in which order they came.
type questions struct {
	mu        sync.Mutex
	asked     []Key
	now, most int // under way
	fails     func(ctx context.Context, key Key) error
	held      chan struct{} // a read ends for each one sent; nil: reads are not held
}

func (q *questions) read(ctx context.Context, key Key) error {
	q.mu.Lock()
	q.asked = append(q.asked, key)
	q.now++
	q.most = max(q.most, q.now)
	fails, held := q.fails, q.held
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.now--
		q.mu.Unlock()
	}()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fails != nil {
		return fails(ctx, key)
	}
	return nil
}

// hold has reads wait from now on; what it returns lets all of them go on.
func (q *questions) hold() (release func()) {
	held := make(chan struct{})
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = held
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.held = nil
		close(held)
	}
}

func (q *questions) fail(how func(ctx context.Context, key Key) error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fails = how
}

// since returns what was asked about after the first n reads.
func (q *questions) since(n int) []Key {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]Key(nil), q.asked[n:]...)
}

// askedNode is a node of which questions are asked. What they have read is of
// before they are held.
type askedNode struct {
	*node
	questions questions
}

func (n *askedNode) Get(ctx context.Context, key Key) (*Session, time.Time, bool, error) {
	session, seen, ok, err := n.node.Get(ctx, key)
	if asked := n.questions.read(ctx, key); asked != nil {
		return nil, time.Time{}, false, asked
	}
	return session, seen, ok, err
}

// suspectWorld is a node whose sessions have open answers and end elsewhere.
type suspectWorld struct {
	*world
	node    *askedNode
	reports reports
	tokens  []Token
	handles []Handle
	answers []*openAnswer
}

// newSuspectWorld has that many sessions, each with an open answer, of which none
// is a suspect. It lives in a bubble of synctest, by whose clock it goes.
func newSuspectWorld(t *testing.T, sessions int, log io.Writer) *suspectWorld {
	t.Helper()
	store := newFakeStore()
	w := &suspectWorld{node: &askedNode{node: &node{fakeStore: store, cluster: &cluster{replaced: make(map[Key]bool)}}}}
	options := Options{Ended: w.reports.ended}
	w.world = &world{t: t, store: store, Sessions: New(w.node, options, slog.New(slog.NewTextHandler(log, nil)))}
	t.Cleanup(func() { w.Close() })
	for range sessions {
		token, _ := w.signIn(hour)
		w.tokens = append(w.tokens, token)
		h := w.want(Live, token, hour, true)
		w.handles = append(w.handles, h)
		w.answers = append(w.answers, w.open(h, false))
	}
	synctest.Wait()
	w.node.questions.mu.Lock()
	w.node.questions.asked, w.node.questions.most = nil, 0
	w.node.questions.mu.Unlock()
	return w
}

// endElsewhere has the session of a token end without a word to this node.
func (w *suspectWorld) endElsewhere(token Token) {
	w.t.Helper()
	if ok, err := w.store.Delete(w.t.Context(), token.Key()); !ok || err != nil {
		w.t.Fatal(ok, err)
	}
}

// wantOpen checks how many of the answers go on, and that none was told twice.
func (w *suspectWorld) wantOpen(want int, when string) {
	w.t.Helper()
	synctest.Wait()
	open := 0
	for _, a := range w.answers {
		switch a.told.Load() {
		case 0:
			open++
		case 1:
		default:
			w.t.Errorf("%s: an answer is ended twice", when)
		}
	}
	if open != want {
		w.t.Errorf("%s: %d answers are open, want %d", when, open, want)
	}
}

// unasked returns the sessions about which the store was not asked.
func (w *suspectWorld) unasked() (tokens []Token) {
	asked := make(map[Key]bool)
	for _, key := range w.node.questions.since(0) {
		asked[key] = true
	}
	for _, token := range w.tokens {
		if !asked[token.Key()] {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

var errAway = errors.New("the store is away")

// away and hanging have every question fail: at once, or when its time is over.
func away(context.Context, Key) error { return errAway }

func hanging(ctx context.Context, _ Key) error { <-ctx.Done(); return ctx.Err() }

// A node that has lost its connection asks about all its open answers. What is
// changed meanwhile is known by name: it must not wait for thousands of others.
func TestNamedSuspectsComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const atOnce = 32
		w := newSuspectWorld(t, 4*atOnce, io.Discard)
		q := &w.node.questions
		release := q.hold()
		w.node.lost()
		synctest.Wait()
		if n := len(q.since(0)); n != atOnce {
			t.Fatalf("%d questions at once, want %d", n, atOnce)
		}
		waiting := w.unasked()
		named := []Token{waiting[len(waiting)-1], waiting[7], waiting[len(waiting)/2]}
		for _, token := range named {
			w.endElsewhere(token)
			w.node.changed(token.Key())
		}
		w.node.changed(named[0].Key()) // again: it keeps its place
		w.node.lost()                  // nor does this move it
		synctest.Wait()
		for i, token := range named {
			q.held <- struct{}{}
			synctest.Wait()
			if next := q.since(atOnce + i); len(next) != 1 || next[0] != token.Key() {
				t.Fatalf("question %d after the first ones is another one, or %d of them", i, len(next))
			}
		}
		release()
		w.wantOpen(len(w.tokens)-len(named), "after all were asked about")
		asked := make(map[Key]int)
		for _, key := range q.since(0) {
			asked[key]++
		}
		if len(asked) != len(w.tokens) {
			t.Errorf("%d sessions were asked about, want all %d", len(asked), len(w.tokens))
		}
		if q.most != atOnce {
			t.Errorf("%d questions at once, want %d", q.most, atOnce)
		}
	})
}

// With a millisecond to the store and back, the last one of thousands is known to
// have ended within a second, of which a part is for the connection.
func TestThousandsOfSuspects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSuspectWorld(t, 5000, io.Discard)
		w.node.questions.fail(func(context.Context, Key) error { time.Sleep(time.Millisecond); return nil })
		for i := range w.tokens {
			if i%100 == 0 {
				w.endElsewhere(w.tokens[i])
			}
		}
		w.node.lost()
		time.Sleep(300 * time.Millisecond)
		w.wantOpen(len(w.tokens)-50, "300 ms after the loss")
	})
}

// A store that is slow, but answers, is asked about all of them in the end: no
// question's time depends on how many others there are.
func TestASlowStoreIsAskedAboutAllSuspects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSuspectWorld(t, 10*suspectsAtOnce, io.Discard)
		w.node.questions.fail(func(ctx context.Context, _ Key) error {
			select {
			case <-time.After(4 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		w.node.lost()
		synctest.Wait()
		last := w.unasked()
		for _, token := range last[len(last)-5:] {
			w.endElsewhere(token)
		}
		time.Sleep(41 * time.Second)
		w.wantOpen(len(w.tokens)-5, "after ten times as long as a question takes")
	})
}

// Questions about some that the store can never answer must not keep the others
// from being asked about.
func TestASuspectThatTheStoreFailsForHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSuspectWorld(t, 100, io.Discard)
		bad := make(map[Key]bool)
		for _, token := range w.tokens[:40] {
			bad[token.Key()] = true
		}
		w.node.questions.fail(func(_ context.Context, key Key) error {
			if bad[key] {
				return errAway
			}
			return nil
		})
		w.node.changed(w.tokens[0].Key())
		w.endElsewhere(w.tokens[99])
		w.node.lost()
		time.Sleep(5 * time.Second)
		w.wantOpen(99, "after a few rounds")
		time.Sleep(suspectFor)
		w.wantOpen(59, "when the store was silent about forty for a minute")
	})
}

// While the store cannot say whether a session was ended elsewhere, its answers go
// on for a minute and no longer. The session itself is left alone.
func TestAnswersEndWhenTheStoreCannotSayForAMinute(t *testing.T) {
	for name, how := range map[string]func(context.Context, Key) error{"fails": away, "hangs": hanging} {
		t.Run("a store that "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// Two rounds and more, so that with a store that hangs some are
				// never asked about.
				var log lockedBuffer
				w := newSuspectWorld(t, 30*suspectsAtOnce, &log)
				all := len(w.tokens)
				w.node.questions.fail(how)
				first := w.tokens[all-1].Key()
				w.node.changed(first)
				time.Sleep(20 * time.Second)
				w.wantOpen(all, "after 20 s")
				for range 3 { // that they are named again does not prolong it
					w.node.lost()
					w.node.changed(first)
					time.Sleep(13 * time.Second)
				}
				w.wantOpen(all, "after 59 s")
				time.Sleep(2 * time.Second)
				w.wantOpen(all-1, "a minute after the first one was named")
				w.node.lost()
				time.Sleep(18 * time.Second)
				w.wantOpen(all-1, "59 s after the loss")
				time.Sleep(2 * time.Second)
				w.wantOpen(0, "a minute after the loss")

				w.node.questions.fail(nil)
				time.Sleep(suspectFor)
				for _, token := range w.tokens {
					w.open(w.want(Live, token, hour, true), false) // a new one may be opened
				}
				if n := w.reports.count() + w.reports.invalid + len(w.reports.late); n != 0 {
					t.Errorf("%d sessions were reported as ended", n)
				}
				told := 0
				for line := range strings.Lines(log.String()) {
					var n int
					if _, numbers, ok := strings.Cut(line, "open answers were ended"); ok {
						_, numbers, _ = strings.Cut(numbers, "answers=")
						if _, err := fmt.Sscan(numbers, &n); err != nil {
							t.Errorf("the log: %q", line)
						}
					}
					told += n
				}
				if told != all {
					t.Errorf("the log tells of %d answers, want %d:\n%s", told, all, log.String())
				}
			})
		})
	}
}

// Those that wait behind others, about which the store hangs, end in time too.
func TestAnswersEndInTimeThatNobodyIsAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSuspectWorld(t, 4*suspectsAtOnce, io.Discard)
		half := len(w.tokens) / 2
		for _, a := range w.answers[half:] {
			a.watch.Stop()
		}
		w.node.questions.fail(hanging)
		w.node.lost()
		time.Sleep(suspectFor - 6*time.Second)
		for i, token := range w.tokens[half:] {
			w.answers[half+i] = w.open(w.handles[half+i], false)
			w.node.changed(token.Key())
		}
		time.Sleep(5 * time.Second)
		w.wantOpen(len(w.tokens), "before the minute is over")
		time.Sleep(1500 * time.Millisecond)
		w.wantOpen(half, "when it is over for the first half")
	})
}

// A store that is back within the minute ends nothing but what has ended, and the
// next outage has a minute of its own.
func TestAStoreThatIsBackWithinAMinuteEndsNoAnswers(t *testing.T) {
	for name, how := range map[string]func(context.Context, Key) error{"failed": away, "hung": hanging} {
		t.Run("it "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSuspectWorld(t, 3*suspectsAtOnce, io.Discard)
				all := len(w.tokens)
				w.endElsewhere(w.tokens[all/2])
				for outage := range 3 {
					w.node.questions.fail(how)
					w.node.lost()
					time.Sleep(suspectFor - 7*time.Second)
					if outage == 0 {
						w.wantOpen(all, "during the first outage")
					}
					w.node.questions.fail(nil)
					time.Sleep(6 * time.Second) // questions that hang end before
					w.wantOpen(all-1, "after an outage")
				}
				time.Sleep(5 * suspectFor)
				w.wantOpen(all-1, "long after")
			})
		})
	}
}

// What a request has read from the store since is known, however the questions
// fare.
func TestARequestAnswersForASuspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSuspectWorld(t, 3, io.Discard)
		q := &w.node.questions
		q.fail(away)
		w.node.lost()
		ask := func(token Token) {
			q.fail(nil)
			w.want(Live, token, hour, true)
			q.fail(away)
		}
		time.Sleep(suspectFor/2 + suspectEvery/2) // between two attempts
		ask(w.tokens[1])
		time.Sleep(suspectFor/2 - suspectEvery) // before none follows
		ask(w.tokens[2])
		time.Sleep(suspectFor)
		w.wantOpen(2, "after a minute")
		if w.answers[0].told.Load() != 1 {
			t.Error("one was ended of which the store had said that it lives")
		}
		w.node.changed(w.tokens[1].Key())
		w.node.changed(w.tokens[2].Key())
		time.Sleep(suspectFor + time.Second)
		w.wantOpen(0, "a minute after another change")
	})
}

// A question under way may have read what was there before the change.
func TestAChangeDuringAQuestionLeadsToAnother(t *testing.T) {
	for name, tell := range map[string]func(*suspectWorld, Key){
		"a change": func(w *suspectWorld, key Key) { w.node.changed(key) },
		"a loss":   func(w *suspectWorld, _ Key) { w.node.lost() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSuspectWorld(t, 3, io.Discard)
				release := w.node.questions.hold()
				w.node.lost()
				synctest.Wait() // all have been read as they were
				w.endElsewhere(w.tokens[1])
				tell(w, w.tokens[1].Key())
				release()
				w.wantOpen(2, "after both questions")
				if w.answers[1].told.Load() != 1 {
					t.Error("another one was ended")
				}
			})
		})
	}
}

// Downloads outlive the idle limit of their session: that it is gone is no news,
// whether the store says so or cannot. An end that somebody wants ends them.
func TestWhatTheIdleLimitSparedGoesOn(t *testing.T) {
	for name, fails := range map[string]error{"the store says that it is gone": nil, "the store cannot say": errAway} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSuspectWorld(t, 1, io.Discard)
				token := w.tokens[0]
				w.node.questions.fail(func(_ context.Context, key Key) error {
					if !w.store.has(key) {
						return fails
					}
					return nil
				})
				w.away(token)
				w.want(Live, token, hour, true) // in another entry than the answer's
				time.Sleep(time.Hour)
				w.want(Expired, token, hour, true)
				w.node.changed(token.Key())
				time.Sleep(2 * suspectFor)
				w.wantOpen(1, "after the idle limit")
				w.node.questions.fail(nil)
				w.doubt(token.Key(), w.handles[0].Session)
				w.node.changed(token.Key())
				w.wantOpen(0, "after an end whose answer was lost")
			})
		})
	}
}

// Close ends questions under way, and no answers. It waits for those questions: the
// store is closed next.
func TestCloseDuringQuestions(t *testing.T) {
	for _, store := range []struct {
		name  string
		fails func(context.Context, Key) error
		takes time.Duration
	}{
		{"held", nil, 0},
		{"failing", away, 0},
		{"hanging", hanging, 0},
		{"slow to leave", func(context.Context, Key) error { time.Sleep(3 * time.Second); return errAway }, 3*time.Second - suspectEvery/2},
	} {
		t.Run(store.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSuspectWorld(t, 3*suspectsAtOnce, io.Discard)
				q := &w.node.questions
				if store.fails == nil {
					q.hold()
				}
				q.fail(store.fails)
				w.node.lost()
				time.Sleep(suspectEvery / 2)
				began := time.Now()
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != store.takes {
					t.Errorf("Close took %s, want %s", took, store.takes)
				}
				q.mu.Lock()
				asked, now := len(q.asked), q.now
				q.mu.Unlock()
				if now != 0 {
					t.Errorf("%d questions are under way after Close", now)
				}
				time.Sleep(2 * suspectFor)
				w.wantOpen(len(w.tokens), "after Close")
				if n := len(q.since(asked)); n != 0 {
					t.Errorf("%d questions after Close", n)
				}
				for _, a := range w.answers {
					a.watch.Stop()
				}
				time.Sleep(2 * time.Second) // what is done for open answers ends with them
			})
		})
	}
}

// Ends, changes, losses and failures all at once: what has ended is told, once,
// and nothing else.
func TestSuspectsUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSuspectWorld(t, 300, io.Discard)
		var n int
		w.node.questions.fail(func(context.Context, Key) error {
			w.node.questions.mu.Lock()
			defer w.node.questions.mu.Unlock()
			if n++; n%17 == 0 {
				return errAway
			}
			return nil
		})
		var tellers sync.WaitGroup
		for i := range 3 {
			tellers.Go(func() {
				for j, token := range w.tokens {
					if j%3 == i && j%2 == 0 {
						w.endElsewhere(token)
					}
					w.node.changed(token.Key())
					if j%50 == 0 {
						w.node.lost()
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		tellers.Wait()
		time.Sleep(suspectFor / 2)
		w.wantOpen(150, "when all is quiet")
		for i, a := range w.answers {
			if want := int32(1 - i%2); a.told.Load() != want {
				t.Errorf("answer %d was ended %d times, want %d", i, a.told.Load(), want)
			}
		}
	})
}
