package redisstore

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

const (
	refusedLine = "refuses what keeping sessions needs"
	againLine   = "does again what it has refused"
)

// What a server goes on doing while it refuses the rest does not say that it is in
// order again. The first thing that it had refused does.
func TestTheEndOfRefusalsIsWrittenDown(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"maxmemory-policy noeviction"}})
	log := &buffer{}
	s := openLogging(t, Options{Addresses: []string{server.Addr}}, log)
	key := create(t, s)
	set(t, server, "maxmemory", "1")
	lines := func(when string, refused, again int) {
		t.Helper()
		text := log.String()
		if r, a := strings.Count(text, refusedLine), strings.Count(text, againLine); r != refused || a != again {
			t.Errorf("%s: %d and %d lines, want %d and %d:\n%s", when, r, a, refused, again, text)
		}
	}
	signIn := func() error {
		return s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("ana"), nil)
	}
	for range 3 {
		if err := signIn(); !errors.Is(err, sessionstore.ErrNoSpace) {
			t.Fatalf("Create: %v, want no space", err)
		}
	}
	there(t, s, key, true)
	if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
		t.Fatalf("Delete: %v, %v", ok, err)
	}
	lines("while it refuses", 1, 0)
	set(t, server, "maxmemory", "0")
	for range 3 {
		if err := signIn(); err != nil {
			t.Fatal(err)
		}
	}
	lines("when it is over", 1, 1)
	// Memory that is full now and then is told of once a minute, start and end.
	set(t, server, "maxmemory", "1")
	if err := signIn(); !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Fatalf("Create: %v, want no space", err)
	}
	set(t, server, "maxmemory", "0")
	if err := signIn(); err != nil {
		t.Fatal(err)
	}
	lines("within the minute", 1, 1)
	s.refusals.mu.Lock()
	s.refusals.told = s.refusals.told.Add(-reasonEvery)
	s.refusals.mu.Unlock()
	set(t, server, "maxmemory", "1")
	if err := signIn(); !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Fatalf("Create: %v, want no space", err)
	}
	set(t, server, "maxmemory", "0")
	if err := signIn(); err != nil {
		t.Fatal(err)
	}
	lines("after the minute", 2, 2)
}

// Errors of other kinds begin and end nothing.
func TestRefusalsAreNoFailures(t *testing.T) {
	log := &buffer{}
	r, to := &refusals{}, slog.New(slog.NewTextHandler(log, nil))
	for range 3 {
		r.note(to, nil, "a", errSilent)
		r.over(to, nil, "a")
		r.over(to, nil, "b")
	}
	if log.String() != "" {
		t.Errorf("written down:\n%s", log)
	}
}

// Calls look at one flag as long as the server refuses nothing.
func BenchmarkNoRefusal(b *testing.B) {
	r, to := &refusals{told: time.Now()}, slog.New(slog.DiscardHandler)
	b.ReportAllocs()
	for b.Loop() {
		r.over(to, nil, "a")
	}
}
