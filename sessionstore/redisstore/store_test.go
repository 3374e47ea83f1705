package redisstore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

func open(t testing.TB, options Options) *Store {
	t.Helper()
	return openLogging(t, options, io.Discard)
}

func openLogging(t testing.TB, options Options, log io.Writer) *Store {
	t.Helper()
	s, err := Open(options, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, sessionstore.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

// unavailable wants the store to say that it cannot be reached, and returns why.
func unavailable(t testing.TB, s *Store) error {
	t.Helper()
	_, _, ok, err := s.Get(t.Context(), storetest.NewKey())
	if ok || !errors.Is(err, sessionstore.ErrUnavailable) {
		t.Fatalf("Get: %v, %v, want that the store cannot be reached", ok, err)
	}
	return err
}

// Each test of the suite has a prefix of its own on one server: they must not
// see each other.
func TestConformance(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	storetest.Run(t, func(t *testing.T, dir string) sessionstore.Store {
		sum := sha256.Sum256([]byte(dir))
		return open(t, Options{Addresses: []string{server.Addr}, Prefix: hex.EncodeToString(sum[:8])})
	})
}
