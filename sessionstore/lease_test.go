package sessionstore

import (
	"testing"
	"time"
)

// A process that was stopped does not know what it missed; its store has not
// noticed either when the first requests come. What was in memory is read anew.
func TestMemoryIsTrueForASecondAfterTheStoreWasHeard(t *testing.T) {
	here, _, store := newNodes(t)
	token, _ := here.signIn(hour)
	other, _ := here.signIn(hour)
	here.want(Live, token, hour, true)
	here.want(Live, other, hour, true)
	// Nobody is told of this.
	if ok, err := here.store.Delete(t.Context(), token.Key()); !ok || err != nil {
		t.Fatalf("Delete: %v, %v", ok, err)
	}
	here.clock.pass(time.Hour / 2)
	here.want(Live, token, hour, true) // a store that does not say when it was heard

	store.heard(time.Now())
	here.clock.pass(leaseFor / 2)
	here.want(Live, token, hour, true)
	store.heard(time.Now())
	here.clock.pass(leaseFor / 2)
	here.want(Live, token, hour, true)
	store.heard(time.Now().Add(-time.Hour)) // one that comes late changes nothing
	here.want(Live, token, hour, true)
	here.clock.pass(leaseFor)
	here.want(Unknown, token, hour, true)
	here.want(Live, other, hour, true)

	// Until the store is heard again, what was read is true for as long.
	if ok, err := here.store.Delete(t.Context(), other.Key()); !ok || err != nil {
		t.Fatalf("Delete: %v, %v", ok, err)
	}
	here.want(Live, other, hour, true)
	here.clock.pass(leaseFor)
	here.want(Unknown, other, hour, true)
}

// Nor does an open answer go on that belongs to a session that has ended meanwhile.
func TestOpenAnswersAreAskedForWhenTheLeaseIsOver(t *testing.T) {
	here, _, store := newNodes(t)
	token, h := here.signIn(hour)
	other, _ := here.signIn(hour)
	store.heard(time.Now())
	answer := &openAnswer{}
	var watch Watch
	if !h.Watch(&watch, answer) {
		t.Fatal("not watched")
	}
	defer watch.Stop()
	if ok, err := here.store.Delete(t.Context(), token.Key()); !ok || err != nil {
		t.Fatalf("Delete: %v, %v", ok, err)
	}
	here.clock.pass(leaseFor)
	here.want(Live, other, hour, true)
	answer.wantTold(t)
}
