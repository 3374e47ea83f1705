package badgerstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// A record that cannot be read does not say where its session is listed.
func TestUnreadableSessionsLeaveTheListingWhenTheyEnd(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(s *Store, key sessionstore.Key) error
	}{
		{"a delete", func(s *Store, key sessionstore.Key) error {
			ok, err := s.Delete(t.Context(), key)
			if !ok {
				err = errors.Join(err, errors.New("it was not found"))
			}
			return err
		}},
		{"a drop", func(s *Store, key sessionstore.Key) error {
			return s.Drop(t.Context(), []sessionstore.Key{storetest.NewKey(), key})
		}},
		{"a sign-in in its place", func(s *Store, key sessionstore.Key) error {
			next := storetest.NewKey()
			err := s.Create(t.Context(), next, storetest.NewSession("2"), &key)
			return errors.Join(err, s.Drop(t.Context(), []sessionstore.Key{next}))
		}},
		{"the end of its user's sessions", func(s *Store, key sessionstore.Key) error {
			deleted, err := s.DeleteUser(t.Context(), "empresa.local", "2", nil)
			if len(deleted) != 1 || deleted[0].Key != key {
				err = errors.Join(err, fmt.Errorf("deleted: %+v", deleted))
			}
			return err
		}},
		{"the journal", func(s *Store, key sessionstore.Key) error {
			return s.commit(t.Context(), "erasing", &operation{apply: func(txn *badger.Txn) error { return s.erase(txn, key) }})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "sessions"))
			other, _ := signedIn(t, s, "1")
			key, session := signedIn(t, s, "2")
			put(t, s, sessionKey(key), []byte("nonsense"))
			wantListed(t, s, key, other)
			if err := test.end(s, key); err != nil {
				t.Error(err)
			}
			wantListed(t, s, other)
			if _, ok, err := s.Find(t.Context(), session.ID); ok || err != nil {
				t.Errorf("Find: %v, %v, want none", ok, err)
			}
			if counts, err := s.Count(t.Context()); err != nil || counts.Sessions != 1 {
				t.Errorf("Count: %+v, %v, want 1", counts, err)
			}
		})
	}
}

// A session must not survive the end of its user's because its place was lost.
func TestDeleteUserWithDamagedPlaces(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, s *Store, place *badger.Entry)
	}{
		{"not readable", func(t *testing.T, s *Store, place *badger.Entry) { put(t, s, place.Key, []byte("nonsense")) }},
		{"of another key", func(t *testing.T, s *Store, place *badger.Entry) {
			place.Value[3] ^= 1
			put(t, s, place.Key, place.Value)
		}},
	} {
		for _, keeps := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, keeps one: %v", test.name, keeps), func(t *testing.T) {
				s, log := logged(t)
				other, _ := signedIn(t, s, "2")
				first, a := signedIn(t, s, "1")
				second, b := signedIn(t, s, "1")
				kept, c := signedIn(t, s, "1")
				touched := b.Created.Add(time.Minute)
				if err := s.Touch(t.Context(), []sessionstore.Touch{{Key: second, Seen: touched}}); err != nil {
					t.Fatal(err)
				}
				test.damage(t, s, indexEntry(second, 0, b))
				test.damage(t, s, indexEntry(kept, 0, c))
				want := map[sessionstore.Key]bool{first: true, second: true}
				var keep *sessionstore.Key
				if keeps {
					keep = &kept
				} else {
					want[kept] = true
				}
				deleted, err := s.DeleteUser(t.Context(), "empresa.local", "1", keep)
				if err != nil || len(deleted) != len(want) {
					t.Errorf("%d sessions, error %v, want %d", len(deleted), err, len(want))
				}
				for _, l := range deleted {
					if !want[l.Key] || l.Key == second && (l.ID != b.ID || !l.LastSeen.Equal(touched)) {
						t.Errorf("deleted: %+v", l)
					}
				}
				for key, gone := range map[sessionstore.Key]bool{first: true, second: true, kept: !keeps, other: false} {
					if _, _, ok, err := s.Get(t.Context(), key); ok == gone || err != nil {
						t.Errorf("Get: %v, %v, want %v", ok, err, !gone)
					}
				}
				if strings.Count(log.String(), "damaged") != 1 || strings.Contains(log.String(), a.ID) {
					t.Errorf("log: %s", log)
				}
				// The next time everything of the user ends, whatever was kept.
				if deleted, err := s.DeleteUser(t.Context(), "empresa.local", "1", nil); err != nil || (len(deleted) == 1) != keeps {
					t.Errorf("the next time: %+v, error %v", deleted, err)
				}
				if _, _, ok, err := s.Get(t.Context(), kept); ok || err != nil {
					t.Errorf("Get: %v, %v, want none", ok, err)
				}
				wantListed(t, s, other)
				log.Reset()
				if _, err := s.DeleteUser(t.Context(), "empresa.local", "1", nil); err != nil || log.Len() > 0 {
					t.Errorf("the damage is still there: error %v, log %s", err, log)
				}
			})
		}
	}
}

// Badger takes 1.2 MB in one transaction.
func TestDeleteUserOfTheLongestName(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"))
	directory, id := strings.Repeat("d", 8<<10), strings.Repeat("u", 8<<10)
	const n = 100
	for range n {
		session := storetest.NewSession(id)
		session.User.Directory = directory
		if err := s.Create(t.Context(), storetest.NewKey(), session, nil); err != nil {
			t.Fatal(err)
		}
	}
	if deleted, err := s.DeleteUser(t.Context(), directory, id, nil); err != nil || len(deleted) != n {
		t.Errorf("%d sessions, error %v, want %d", len(deleted), err, n)
	}
	wantListed(t, s)
}

// newest returns the version under which key was last written, and whether that
// was its deletion.
func newest(t *testing.T, s *Store, key []byte) (version uint64, deleted bool) {
	t.Helper()
	err := s.db.View(func(txn *badger.Txn) error {
		it := txn.NewKeyIterator(key, badger.DefaultIteratorOptions)
		defer it.Close()
		if it.Seek(key); it.Valid() {
			version, deleted = it.Item().Version(), it.Item().IsDeletedOrExpired()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return version, deleted
}

// Once a write has failed, what memory does not list any more may be listed
// again after a restart.
func TestMissingPlacesAreDeletedForCertainOnceAWriteHasFailed(t *testing.T) {
	for name, end := range map[string]func(s *Store, key sessionstore.Key) error{
		"Delete": func(s *Store, key sessionstore.Key) error {
			ok, err := s.Delete(t.Context(), key)
			if ok {
				err = errors.Join(err, errors.New("it was found"))
			}
			return err
		},
		"DeleteUser": func(s *Store, key sessionstore.Key) error {
			deleted, err := s.DeleteUser(t.Context(), "empresa.local", "1", nil)
			if len(deleted) > 0 {
				err = errors.Join(err, errors.New("some were found"))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "sessions"))
			key, session := signedIn(t, s, "1")
			other, _ := signedIn(t, s, "2")
			if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
				t.Fatal(ok, err)
			}
			keys := [][]byte{sessionKey(key), seenKey(key), indexKey(session)}
			before := version(s)
			if err := end(s, key); err != nil || version(s) != before {
				t.Errorf("error %v; it must cost no write", err)
			}
			s.committer.doubt = true
			before = version(s)
			if err := end(s, key); err != nil {
				t.Error(err)
			}
			for _, k := range keys {
				if at, deleted := newest(t, s, k); at <= before || !deleted {
					t.Errorf("key %q was not deleted again", k[:1])
				}
			}
			wantListed(t, s, other)
		})
	}
}
