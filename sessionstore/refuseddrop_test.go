package sessionstore

import (
	"errors"
	"testing"
	"time"
)

// A store that takes no changes lacks the last-seen times of other nodes: what
// looks idle here may be in use there, and nobody is signed out by a guess.
func TestASessionThatCannotBeEndedIsNotCalledIdle(t *testing.T) {
	here, there, _ := newNodes(t)
	token, _ := here.signIn(hour)
	there.want(Live, token, hour, true)
	down := errors.New("NOREPLICAS")
	here.store.fail("Touch", down)
	here.store.fail("Drop", down)
	for range 3 {
		here.clock.pass(time.Hour / 2)
		here.want(Live, token, hour, true)
	}
	for range 2 {
		if _, _, err := there.Lookup(t.Context(), token, hour, true); !errors.Is(err, down) {
			t.Fatalf("Lookup: %v, want the error", err)
		}
	}
	here.want(Live, token, hour, true)
	here.store.fail("Touch", nil)
	here.store.fail("Drop", nil)
	if err := here.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	there.want(Live, token, hour, true)

	// One that nobody uses ends when the store takes that.
	here.clock.pass(2 * time.Hour)
	there.want(Expired, token, hour, true)
	here.want(Unknown, token, hour, true)
}

// What is closed cannot say whether a session lives, and a handle says so.
func TestHandlesOfClosedSessions(t *testing.T) {
	w := newWorld(t, Options{})
	token, h := w.signIn(hour)
	if err := h.Err(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("Err: %v, want that they are closed", err)
	}
	if w.Replaced(t.Context(), token) {
		t.Error("a session was replaced on a store that nobody shares")
	}
	if err := (Handle{}).Err(); err != nil {
		t.Errorf("no session: %v", err)
	}
}

func TestReplacedAfterClose(t *testing.T) {
	here, _, _ := newNodes(t)
	if here.Replaced(t.Context(), NewToken()) {
		t.Fatal("replaced by nobody")
	}
	if err := here.Close(); err != nil {
		t.Fatal(err)
	}
	if !here.Replaced(t.Context(), NewToken()) {
		t.Error("nobody can say whether it was replaced, and the answer is no")
	}
}
