package badgerstore

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// logged opens a store whose log the test reads.
func logged(t *testing.T) (*Store, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s, err := Open(filepath.Join(t.TempDir(), "sessions"), Options{}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, &log
}

func names(t *testing.T, s *Store) (names []string) {
	t.Helper()
	err := s.Counters(t.Context(), func(c sessionstore.Counter) error {
		names = append(names, string(c.Value))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return names
}

// The TTL collects; what has expired is decided by the counter alone.
func TestCountersAreCollectedAfterTheyExpire(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	now := time.Now()
	for _, life := range []time.Duration{-time.Minute, time.Nanosecond, 15 * time.Minute, 24 * time.Hour} {
		c := storetest.NewCounter(life.String())
		c.Expires = now.Add(life)
		if err := s.SaveCounters(t.Context(), []sessionstore.Counter{c}); err != nil {
			t.Fatal(err)
		}
		got := expires(t, s, counterKey(c.Key))
		if got.Before(c.Expires.Add(counterSlack)) || got.After(c.Expires.Add(counterSlack+2*time.Second)) {
			t.Errorf("it expires at %s and is collected at %s", c.Expires, got)
		}
	}
	if got := strings.Join(names(t, s), " "); got != "15m0s 24h0m0s" && got != "24h0m0s 15m0s" {
		t.Errorf("counters %q", got)
	}
}

func TestDamagedCountersArePassedOver(t *testing.T) {
	s, log := logged(t)
	good, moved := storetest.NewCounter("good"), storetest.NewCounter("moved")
	if err := s.SaveCounters(t.Context(), []sessionstore.Counter{good}); err != nil {
		t.Fatal(err)
	}
	record, err := sessionstore.AppendCounter(nil, &moved)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, counterKey([16]byte{1}), record)
	put(t, s, counterKey([16]byte{2}), nil)
	put(t, s, counterKey([16]byte{3}), []byte("nonsense"))
	put(t, s, append(counterKey(moved.Key), 0), record)
	put(t, s, []byte{prefixCounter}, record)
	if got := names(t, s); len(got) != 1 || got[0] != "good" {
		t.Errorf("counters %q, want the good one", got)
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "number=5") {
		t.Errorf("log:\n%s", text)
	}
	if err := s.SaveCounters(t.Context(), []sessionstore.Counter{{Key: [16]byte{3}}}); err != nil {
		t.Errorf("deleting a damaged one: %v", err)
	}
}

// version rises with every write.
func version(s *Store) uint64 {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	return txn.ReadTs()
}

// Whoever sends wrong passwords must not make a sync for each counter that is
// not there.
func TestAMissingCounterCostsNoWrite(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	remove := []sessionstore.Counter{{Key: [16]byte{1}}}
	before := version(s)
	if err := s.SaveCounters(t.Context(), remove); err != nil || version(s) != before {
		t.Errorf("error %v; it must cost no write", err)
	}
	s.committer.doubt = true
	if err := s.SaveCounters(t.Context(), remove); err != nil || version(s) == before {
		t.Errorf("after a failed write: error %v; it must be written", err)
	}
}

func TestADamagedSecretIsReplaced(t *testing.T) {
	s, log := logged(t)
	ctx := context.Background()
	record, err := sessionstore.AppendSecret(nil, "other", []byte("hidden value"))
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range [][]byte{record, nil, []byte("nonsense")} {
		put(t, s, secretKey("device"), damaged)
		for _, fresh := range []string{"first", "second"} {
			if got, err := s.Secret(ctx, "device", []byte(fresh)); err != nil || string(got) != "first" {
				t.Errorf("secret %q, error %v, want the first", got, err)
			}
		}
	}
	if text := log.String(); strings.Count(text, "secret cannot be read and is replaced") != 3 ||
		strings.Contains(text, "first") || strings.Contains(text, "hidden") {
		t.Errorf("log:\n%s", text)
	}
}

func TestASecretIsWrittenAgainOnceAWriteHasFailed(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	ask := func() {
		t.Helper()
		if got, err := s.Secret(t.Context(), "device", []byte("fresh "+time.Now().String())); err != nil || !strings.HasPrefix(string(got), "fresh ") {
			t.Errorf("secret %q, error %v", got, err)
		}
	}
	ask()
	before := version(s)
	if ask(); version(s) != before {
		t.Error("asking for a secret costs a write")
	}
	s.committer.doubt = true
	if ask(); version(s) == before {
		t.Error("nobody knows whether it is on the disk, and it is not written")
	}
}

// A folder of before counters, secrets and the time of the password.
func TestFolderOfAnOlderVersion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	s := open(t, dir)
	session := storetest.NewSession("id-1")
	session.User.PasswordSet = ""
	key := storetest.NewKey()
	put(t, s, sessionKey(key), oldSession(1, key, session))
	put(t, s, seenKey(key), encodeSeen(session.Created.Add(time.Minute), key))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir)
	got, seen, ok, err := s.Get(t.Context(), key)
	if err != nil || !ok || got.ID != session.ID || got.User.PasswordSet != "" || len(got.User.Groups) != 3 {
		t.Fatalf("ok %v, error %v, session %+v", ok, err, got)
	}
	if !seen.Equal(session.Created.Add(time.Minute)) || len(names(t, s)) != 0 {
		t.Errorf("seen %s, counters %v", seen, names(t, s))
	}
	session.User.PasswordSet = "now"
	if ok, err := s.Update(t.Context(), key, session); !ok || err != nil {
		t.Errorf("Update: ok %v, error %v", ok, err)
	}
	if got, _, _, err := s.Get(t.Context(), key); err != nil || got.User.PasswordSet != "now" {
		t.Errorf("after the update: %+v, %v", got, err)
	}
}
