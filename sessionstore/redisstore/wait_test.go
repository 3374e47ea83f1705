//go:build unix

package redisstore

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// Whoever is not told that a replica knows of a sign-out tries again. There is
// nothing to end by then, and it must still be a replica that confirms it.
func TestASecondDeleteIsConfirmedToo(t *testing.T) {
	primary, replica := replicated(t)
	log := &buffer{}
	s := openLogging(t, Options{Addresses: []string{primary.Addr}}, log)
	eventually(t, "the replica is known", replicasKnown(s))
	key, missing := create(t, s), storetest.NewKey()
	ends := map[string]func() error{
		"Delete":               func() error { _, err := s.Delete(t.Context(), key); return err },
		"Delete of a stranger": func() error { _, err := s.Delete(t.Context(), missing); return err },
		"DeleteUser":           func() error { _, err := s.DeleteUser(t.Context(), "empresa.local", "ana", nil); return err },
		"DeleteUser of nobody": func() error { _, err := s.DeleteUser(t.Context(), "empresa.local", "nobody", nil); return err },
		"a sign-in that ends one": func() error {
			return s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("bea"), &missing)
		},
	}
	// From 7.2 on a server waits only for what the socket itself has written: so
	// each of them writes something, although there is nothing to end.
	c := raw(t, Options{Addresses: []string{primary.Addr}})
	for name, end := range ends {
		eventually(t, name+", confirmed", func() bool { return end() == nil })
		if name == "a sign-in that ends one" {
			continue // it writes the new session
		}
		eventually(t, name+", confirmed once more", func() bool {
			if err := c.Do(t.Context(), c.B().Del().Key(s.keys.fence).Build()).Error(); err != nil {
				t.Fatal(err)
			}
			return end() == nil
		})
		if n, err := c.Do(t.Context(), c.B().Exists().Key(s.keys.fence).Build()).AsInt64(); n != 1 || err != nil {
			t.Errorf("%s: nothing was written that a replica could confirm: %d, %v", name, n, err)
		}
	}
	if err := replica.Suspend(); err != nil {
		t.Fatal(err)
	}
	for name, end := range ends {
		for range 2 {
			if err := end(); !errors.Is(err, errNotReplicated) || !errors.Is(err, sessionstore.ErrUnavailable) {
				t.Errorf("%s while the replica hangs: %v, want that it has not confirmed", name, err)
			}
		}
	}
	there(t, s, create(t, s), true)
	if err := replica.Resume(); err != nil {
		t.Fatal(err)
	}
	for name, end := range ends {
		eventually(t, name+", confirmed again", func() bool { return end() == nil })
	}
	text := log.String()
	if warned, told := strings.Count(text, "confirms in time"), strings.Count(text, "confirms again"); warned < 1 || warned > 3 || told != warned {
		t.Errorf("%d warnings and %d ends of them, want one each:\n%s", warned, told, text)
	}
}

// A server whose memory is full takes the mark that a replica confirms all the
// same: it removes something first.
func TestAServerWithoutMemoryConfirmsDeletions(t *testing.T) {
	primary, _ := replicated(t)
	s := open(t, Options{Addresses: []string{primary.Addr}})
	eventually(t, "the replica is known", replicasKnown(s))
	key := create(t, s)
	c := raw(t, Options{Addresses: []string{primary.Addr}})
	if err := c.Do(t.Context(), c.B().ConfigSet().ParameterValue().ParameterValue("maxmemory", "1").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("ana"), nil); !errors.Is(err, sessionstore.ErrNoSpace) {
		t.Errorf("Create: %v, want no space", err)
	}
	for name, end := range map[string]func() error{
		"of one that is there": func() error { _, err := s.Delete(t.Context(), key); return err },
		"of one that is not":   func() error { _, err := s.Delete(t.Context(), storetest.NewKey()); return err },
		"of nobody":            func() error { _, err := s.DeleteUser(t.Context(), "empresa.local", "nobody", nil); return err },
	} {
		eventually(t, name, func() bool {
			err := end()
			if errors.Is(err, sessionstore.ErrNoSpace) {
				t.Fatalf("%s: %v", name, err)
			}
			return err == nil
		})
	}
}

// The process that ends a session again has no replica to confirm it, and serves
// all the same.
func TestAReplayNeedsNoReplica(t *testing.T) {
	primary, replica := replicated(t)
	log := &buffer{}
	s := openLogging(t, Options{Addresses: []string{primary.Addr}}, log)
	eventually(t, "the replica is known", replicasKnown(s))
	key := create(t, s)
	eventually(t, "deleted", func() bool { _, err := s.Delete(t.Context(), key); return err == nil })
	if err := replica.Suspend(); err != nil {
		t.Fatal(err)
	}
	before := s.client.connection.Load()
	s.journal.late.Store(true)
	eventually(t, "replayed", func() bool { return !s.journal.late.Load() })
	eventually(t, "unconfirmed", func() bool { return strings.Contains(log.String(), "confirms in time") })
	there(t, s, create(t, s), true)
	there(t, s, key, false)
	if s.client.connection.Load() != before || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the connection was left:\n%s", log)
	}
	if err := replica.Resume(); err != nil {
		t.Fatal(err)
	}
}
