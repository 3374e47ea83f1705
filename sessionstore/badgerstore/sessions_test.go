package badgerstore

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// The rules on a real folder, across restarts.
func TestSessionsAcrossRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	var store *Store
	start := func() *sessionstore.Sessions {
		var err error
		store, err = Open(dir, Options{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := sessionstore.New(store, sessionstore.Options{}, nil)
		t.Cleanup(func() { s.Close() })
		return s
	}
	ctx := t.Context()
	limits := sessionstore.Limits{Idle: time.Hour, Absolute: 12 * time.Hour}
	user := sessionstore.User{Directory: "corp.test", ID: "1", Username: "ana", Groups: []sessionstore.Group{{ID: "g"}}}

	s := start()
	var tokens []sessionstore.Token
	for range 3 {
		token, _, err := s.SignIn(ctx, user, "192.0.2.1", limits, nil)
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	if _, err := s.End(ctx, tokens[0]); err != nil {
		t.Fatal(err)
	}
	renewed, _, err := s.SignIn(ctx, user, "192.0.2.1", limits, &tokens[1])
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	touched := time.Now()
	h, _, _ := s.Lookup(ctx, tokens[2], limits, true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = start()
	for name, want := range map[string]struct {
		token sessionstore.Token
		sessionstore.Result
	}{
		"ended":    {tokens[0], sessionstore.Unknown},
		"replaced": {tokens[1], sessionstore.Unknown},
		"renewed":  {renewed, sessionstore.Live},
		"kept":     {tokens[2], sessionstore.Live},
	} {
		if _, got, err := s.Lookup(ctx, want.token, limits, false); got != want.Result || err != nil {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want.Result)
		}
	}
	again, _, _ := s.Lookup(ctx, tokens[2], limits, false)
	if again.ID != h.ID || again.User.Groups[0].ID != "g" || again.CSRF != h.CSRF {
		t.Errorf("another session: %+v", again.Session)
	}
	if idle, _ := again.Left(); idle < limits.Idle-time.Since(touched) {
		t.Errorf("left %s: the touch before Close is lost", idle)
	}
	if r, ok, err := store.User(ctx, "corp.test", "1"); !ok || err != nil || r.SignIns != 4 {
		t.Errorf("user record: %+v, %v, %v", r, ok, err)
	}
	// Today's limits are shorter: it ends, and not only for today.
	if _, got, err := s.Lookup(ctx, renewed, sessionstore.Limits{Idle: time.Nanosecond}, true); got != sessionstore.Expired || err != nil {
		t.Errorf("%v, %v, want expired", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, got, err := start().Lookup(ctx, renewed, limits, true); got != sessionstore.Unknown || err != nil {
		t.Errorf("%v, %v, want unknown", got, err)
	}
}
