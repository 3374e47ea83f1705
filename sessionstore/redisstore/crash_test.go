package redisstore

import (
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// create stores a session of ana.
func create(t *testing.T, s *Store) sessionstore.Key {
	t.Helper()
	key := storetest.NewKey()
	if err := s.Create(t.Context(), key, storetest.NewSession("ana"), nil); err != nil {
		t.Fatal(err)
	}
	return key
}

// there wants the store to have a session, or not to have it.
func there(t *testing.T, s *Store, key sessionstore.Key, want bool) {
	t.Helper()
	if _, _, ok, err := s.Get(t.Context(), key); ok != want || err != nil {
		t.Errorf("Get: %v, %v, want %v", ok, err, want)
	}
}

// With an append-only file what was acknowledged is there after kill -9.
func TestSessionsSurviveAKilledServer(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	options := Options{Addresses: []string{server.Addr}}
	s := open(t, options)
	stays, ends := create(t, s), create(t, s)
	if ok, err := s.Delete(t.Context(), ends); !ok || err != nil {
		t.Fatal(ok, err)
	}
	server.Kill()
	server.Restart(t)
	works(t, s)
	for _, store := range []*Store{s, open(t, options)} {
		there(t, store, stays, true)
		there(t, store, ends, false)
	}
}

// A power cut takes the last second of the append-only file, and sign-outs that
// were acknowledged with it. They are made again before anybody reads.
func TestASignOutThatTheServerHasLostIsMadeAgain(t *testing.T) {
	for name, end := range map[string]func(s *Store, key sessionstore.Key) error{
		"Delete": func(s *Store, key sessionstore.Key) error { _, err := s.Delete(t.Context(), key); return err },
		"DeleteUser": func(s *Store, _ sessionstore.Key) error {
			_, err := s.DeleteUser(t.Context(), "empresa.local", "ana", nil)
			return err
		},
		"a sign-in that replaces it": func(s *Store, key sessionstore.Key) error {
			return s.Create(t.Context(), storetest.NewKey(), storetest.NewSession("ana"), &key)
		},
		"a second Delete": func(s *Store, key sessionstore.Key) error {
			if _, err := s.Delete(t.Context(), key); err != nil {
				return err
			}
			s.journal.created(key) // as if the first one's answer had been lost
			_, err := s.Delete(t.Context(), key)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{"appendfsync always"}})
			options := Options{Addresses: []string{server.Addr}}
			s, other := open(t, options), open(t, options)
			key := create(t, s)
			there(t, other, key, true)
			before := server.CopyFiles(t)
			if err := end(s, key); err != nil {
				t.Fatal(err)
			}
			server.Kill()
			there(t, s, key, false) // it needs nobody to know that
			server.RestoreFiles(t, before)
			server.Restart(t)
			there(t, s, key, false)
			works(t, s)
			there(t, s, key, false)
			works(t, other)
			c := raw(t, options)
			eventually(t, "ended again", func() bool {
				_, _, ok, err := other.Get(t.Context(), key)
				return !ok && err == nil
			})
			if n, err := c.Do(t.Context(), c.B().Exists().Key(s.keys.session(key)).Build()).AsInt64(); n != 0 || err != nil {
				t.Errorf("the server still has it: %d, %v", n, err)
			}
			if ok, err := s.Update(t.Context(), key, storetest.NewSession("ana")); ok || err != nil {
				t.Errorf("Update: %v, %v", ok, err)
			}
			if page, _, err := other.List(t.Context(), sessionstore.ListQuery{Limit: 10, Directory: "empresa.local", UserID: "ana"}); err != nil {
				t.Errorf("List: %v", err)
			} else {
				for _, l := range page {
					if l.Key == key {
						t.Error("it is still listed")
					}
				}
			}
		})
	}
}

// What is read before the sign-outs are made again must not stay: the other node
// drops what it has read when they are.
func TestASignOutThatIsMadeAgainIsToldOf(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	options := Options{Addresses: []string{server.Addr}}
	s, other := open(t, options), open(t, options)
	key := create(t, s)
	c := raw(t, options)
	value, err := c.Do(t.Context(), c.B().Get().Key(s.keys.session(key)).Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	works(t, other)
	ear := listen(other)
	if err := c.Do(t.Context(), c.B().Set().Key(s.keys.session(key)).Value(value).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	there(t, s, key, false)
	there(t, other, key, true)
	since := time.Now()
	s.journal.late.Store(true) // as when a connection that was left had told of its end
	eventually(t, "told of it", ear.changedSince(key, since))
	there(t, other, key, false)
}
