package badgerstore

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// withoutIndex opens dir as a version without an index does, and closes it when
// use is done.
func withoutIndex(t *testing.T, dir string, options Options, use func(db *badger.DB)) {
	t.Helper()
	o := badgerOptions(dir, options, logger{slog.New(slog.DiscardHandler)})
	o.ExternalMagicVersion = formatOwner<<8 | formatWithoutIndex
	db, err := badger.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	use(db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func set(t *testing.T, db *badger.DB, e *badger.Entry) {
	t.Helper()
	if err := db.Update(func(txn *badger.Txn) error { return txn.SetEntry(e) }); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, db *badger.DB, keys ...[]byte) {
	t.Helper()
	for _, key := range keys {
		if err := db.Update(func(txn *badger.Txn) error { return txn.Delete(key) }); err != nil {
			t.Fatal(err)
		}
	}
}

// oldUsers are those of oldFolder, in the order of the index.
var oldUsers = []string{"0", "1", uuid}

// oldFolder makes a folder without an index, with sessions of either format and
// a record that cannot be read.
func oldFolder(t *testing.T, dir string, options Options) (all []sessionstore.Listed, sessions map[sessionstore.Key]*sessionstore.Session, unreadable sessionstore.Key) {
	t.Helper()
	mkdir(t, dir, 0o700)
	sessions = map[sessionstore.Key]*sessionstore.Session{}
	unreadable = storetest.NewKey()
	withoutIndex(t, dir, options, func(db *badger.DB) {
		users := map[string]sessionstore.UserRecord{}
		for i := range 12 {
			session, key := storetest.NewSession(oldUsers[i/4]), storetest.NewKey()
			if i%3 == 0 {
				session.Limits.Absolute = 0
			}
			expiresAt := expiry(session, session.Created)
			set(t, db, sessionEntry(key, oldSession(byte(1+i%2), key, session), expiresAt, session))
			l := sessionstore.Listed{
				Key: key, ID: session.ID, Directory: session.User.Directory, UserID: session.User.ID,
				Created: session.Created, LastSeen: session.Created, Limits: session.Limits,
			}
			if i%2 == 0 {
				l.LastSeen = session.Created.Add(time.Minute)
				set(t, db, &badger.Entry{Key: seenKey(key), Value: encodeSeen(l.LastSeen, key), ExpiresAt: expiresAt})
			}
			all = append(all, l)
			sessions[key] = session
			users[l.UserID] = users[l.UserID].SignedIn(session)
		}
		for id, r := range users {
			set(t, db, badger.NewEntry(oldUserKey(r.Directory, id), oldUser(&r)))
		}
		set(t, db, badger.NewEntry(sessionKey(unreadable), []byte("nonsense")))
	})
	return all, sessions, unreadable
}

// wantUpgraded checks everything about an upgraded folder.
func wantUpgraded(t *testing.T, s *Store, all []sessionstore.Listed) {
	t.Helper()
	page, next, err := s.List(t.Context(), sessionstore.ListQuery{Limit: 100})
	if err != nil || next != "" || len(page) != len(all) {
		t.Fatalf("%d sessions are listed, then %q, error %v; want %d", len(page), next, err, len(all))
	}
	for i := range all {
		if page[i] != all[i] {
			t.Errorf("session %d is listed as\n%+v\nwant\n%+v", i, page[i], all[i])
		}
		if key, ok, err := s.Find(t.Context(), all[i].ID); key != all[i].Key || !ok || err != nil {
			t.Errorf("Find: %v, %v", ok, err)
		}
		session, _, ok, err := s.Get(t.Context(), all[i].Key)
		if !ok || err != nil {
			t.Fatalf("Get: %v, %v", ok, err)
		}
		if a, b := expires(t, s, sessionKey(all[i].Key)), expires(t, s, indexKey(session)); !a.Equal(b) {
			t.Errorf("session %d is collected at %s, its place at %s", i, a, b)
		}
	}
	for _, id := range oldUsers {
		if r, ok, err := s.User(t.Context(), "empresa.local", id); !ok || err != nil || r.SignIns != 4 {
			t.Errorf("user %q: %+v, %v, %v", id, r, ok, err)
		}
	}
	if users, next, err := s.Users(t.Context(), "", 10); len(users) != len(oldUsers) || next != "" || err != nil {
		t.Errorf("users: %+v, then %q, error %v", users, next, err)
	}
	if counts, err := s.Count(t.Context()); err != nil || counts != (sessionstore.Counts{Sessions: len(all), Users: 3}) {
		t.Errorf("Count: %+v, error %v", counts, err)
	}
	if version, err := readFormat(s.committer.dir); err != nil || version != formatVersion {
		t.Errorf("format %d, error %v", version, err)
	}
}

func TestUpgrade(t *testing.T) {
	for name, options := range map[string]Options{
		"plain":     {},
		"encrypted": {EncryptionKey: bytes.Repeat([]byte{7}, 32)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sessions")
			all, _, unreadable := oldFolder(t, dir, options)
			var log bytes.Buffer
			start := func() *Store {
				t.Helper()
				log.Reset()
				s, err := Open(dir, options, slog.New(slog.NewTextHandler(&log, nil)))
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
			s := start()
			wantUpgraded(t, s, all)
			if text := log.String(); !strings.Contains(text, "sessions=12 unreadable=1") {
				t.Errorf("log: %s", text)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = start()
			wantUpgraded(t, s, all)
			if text := log.String(); strings.Contains(text, "upgraded") {
				t.Errorf("it was upgraded again: %s", text)
			}

			// From here on they are sessions as all others.
			if ok, err := s.Delete(t.Context(), unreadable); !ok || err != nil {
				t.Errorf("the unreadable one: %v, %v", ok, err)
			}
			if ok, err := s.Delete(t.Context(), all[11].Key); !ok || err != nil {
				t.Errorf("Delete: %v, %v", ok, err)
			}
			deleted, err := s.DeleteUser(t.Context(), "empresa.local", "0", &all[1].Key)
			if err != nil || len(deleted) != 3 || deleted[1] != all[2] {
				t.Errorf("DeleteUser: %+v, error %v", deleted, err)
			}
			rest := append([]sessionstore.Listed{all[1]}, all[4:11]...)
			wantUpgraded(t, s, rest)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			wantUpgraded(t, start(), rest)
		})
	}
}

// Between the two steps of an upgrade the folder still has the old format: the
// upgrade is done again, and an older version may have had it meanwhile.
func TestUpgradeAfterACrash(t *testing.T) {
	index := func(t *testing.T, dir string) {
		withoutIndex(t, dir, Options{}, func(db *badger.DB) {
			if _, _, err := rebuild(db, func() error { return nil }); err != nil {
				t.Fatal(err)
			}
		})
	}
	for _, test := range []struct {
		name  string
		crash func(t *testing.T, dir string, all []sessionstore.Listed, sessions map[sessionstore.Key]*sessionstore.Session) []sessionstore.Listed
	}{
		{"in the middle of the index", func(t *testing.T, dir string, all []sessionstore.Listed, sessions map[sessionstore.Key]*sessionstore.Session) []sessionstore.Listed {
			withoutIndex(t, dir, Options{}, func(db *badger.DB) {
				for _, l := range all[:5] {
					session := sessions[l.Key]
					set(t, db, indexEntry(l.Key, expiry(session, session.Created), session))
				}
			})
			return all
		}},
		{"before the format was written", func(t *testing.T, dir string, all []sessionstore.Listed, _ map[sessionstore.Key]*sessionstore.Session) []sessionstore.Listed {
			index(t, dir)
			return all
		}},
		{"and an older version in between", func(t *testing.T, dir string, all []sessionstore.Listed, sessions map[sessionstore.Key]*sessionstore.Session) []sessionstore.Listed {
			now := time.Now()
			user := &sessionstore.UserRecord{Directory: "empresa.local", ID: oldUsers[2], FirstSignIn: now, LastSignIn: now, SignIns: 1}
			signedIn := func(db *badger.DB) {
				set(t, db, badger.NewEntry(oldUserKey(user.Directory, user.ID), oldUser(user)))
			}
			withoutIndex(t, dir, Options{}, signedIn)
			index(t, dir)
			user.SignIns = 4
			withoutIndex(t, dir, Options{}, func(db *badger.DB) {
				signedIn(db)
				remove(t, db, sessionKey(all[0].Key), seenKey(all[0].Key)) // a logout
				kept := sessions[all[3].Key]                               // a touch that keeps it for longer
				set(t, db, sessionEntry(all[3].Key, oldSession(2, all[3].Key, kept), expiry(kept, kept.Created.Add(time.Hour)), kept))
				set(t, db, badger.NewEntry(sessionKey(all[4].Key), []byte("nonsense")))
				set(t, db, badger.NewEntry(indexKey(sessions[all[5].Key]), []byte("nonsense")))
				other := indexEntry(all[7].Key, 0, sessions[all[6].Key]) // of another session
				set(t, db, other)
			})
			rest := append([]sessionstore.Listed{}, all[1:4]...)
			return append(rest, all[5:]...)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sessions")
			all, sessions, _ := oldFolder(t, dir, Options{})
			all = test.crash(t, dir, all, sessions)
			wantUpgraded(t, open(t, dir), all)
		})
	}
}

func TestAFolderInUseIsNotUpgraded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	all, _, _ := oldFolder(t, dir, Options{})
	withoutIndex(t, dir, Options{}, func(*badger.DB) {
		if _, err := Open(dir, Options{}, nil); !errors.Is(err, ErrInUse) {
			t.Errorf("error %v, want in use", err)
		}
	})
	if version, err := readFormat(dir); err != nil || version != formatWithoutIndex {
		t.Errorf("format %d, error %v", version, err)
	}
	wantUpgraded(t, open(t, dir), all)
}
