package caddyauth

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/throttle"
)

// forgetfulStore is one elsewhere whose secret is another one once a throttle is
// open. Who opens the next has its answer when the test says so.
type forgetfulStore struct {
	failingSharedStore
	calls         atomic.Int32
	asked, answer chan struct{}
}

func (f *forgetfulStore) Secret(context.Context, string, []byte) ([]byte, error) {
	switch f.calls.Add(1) {
	case 1:
		return []byte("the secret of the beginning"), nil
	case 3:
		close(f.asked)
		<-f.answer
	}
	return []byte("the secret of another node"), nil
}

// TestASignInThatCrossesTheCloseLeavesNoThrottle: a reload with another storage
// waits for no sign-in. One that had begun to change the throttle for the secret
// of the other nodes would leave it counting for as long as the process lives.
func TestASignInThatCrossesTheCloseLeavesNoThrottle(t *testing.T) {
	store := &forgetfulStore{asked: make(chan struct{}), answer: make(chan struct{})}
	logger := slog.New(slog.DiscardHandler)
	sessions := sessionstore.New(store, sessionstore.Options{}, logger)
	handle := &storeHandle{shared: true, logger: logger}
	if err := handle.throttle.open(sessions, logger); err != nil {
		t.Fatal(err)
	}
	handle.sessions.Store(sessions)

	refused := make(chan error)
	go func() {
		_, err := handle.agreedThrottle(t.Context())
		refused <- err
	}()
	<-store.asked
	if err := handle.Destruct(); err != nil {
		t.Error(err)
	}
	close(store.answer)
	if err := <-refused; !errors.Is(err, throttle.ErrClosed) {
		t.Errorf("the sign-in has the error %v, want ErrClosed", err)
	}
	if _, err := handle.throttle.opened.Load().Begin(t.Context(), throttle.Request{Name: "juan"}, sharedLimits); !errors.Is(err, throttle.ErrClosed) {
		t.Errorf("the throttle that is left has the error %v, want ErrClosed", err)
	}
}
