package caddyauth

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// TestAnEndIsRecordedAfterTheLastConfigurationOfItsStore: an event stream keeps
// the store of the configuration before open, and that alone learns of the end of
// its session.
func TestAnEndIsRecordedAfterTheLastConfigurationOfItsStore(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"user two on nopass ~* &* +@all"}})
	s := start(t, setup{storage: redisLine(server), sessions: "idle_timeout 4s"})
	c := s.signIn("ac12345")
	stream := s.openEvents(c)
	mark := logged.mark()
	s.setup.storage = redisLine(server, "username two", "password x")
	if err := s.load(strings.Replace(s.caddyfile(), "grace_period 3s", "grace_period 1m", 1)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, stream) // until the session has ended
	wantLogSoon(t, mark, `"event":"session_end"`, `"reason":"expired"`, `"user":"ac12345"`)
	console := newRedisConsole(t, server)
	until(t, "the old user has left", func() bool { return !console.users()["default"] })
}

// stuckStore cannot be closed.
type stuckStore struct{ failingStore }

func (s stuckStore) Close() error { return s.err }

func (stuckStore) Touch(context.Context, []sessionstore.Touch) error { return nil }

// TestACloseThatFailsAfterTheLastConfigurationIsLogged: whoever ended that
// configuration has gone on, so that the log is all that can tell of it.
func TestACloseThatFailsAfterTheLastConfigurationIsLogged(t *testing.T) {
	start(t, setup{})
	mark := logged.mark()
	handler := newHandoverHandler()
	logger := slog.New(handler)
	handle := &storeHandle{handler: handler, logger: logger, shared: true}
	handle.closeLater(sessionstore.New(stuckStore{failingStore{err: errors.New("the socket is stuck")}}, sessionstore.Options{}, logger))
	wantLog(t, mark, "closing the session store failed", "the socket is stuck", `"level":"error"`, `"logger":"ldap_auth"`)
}
