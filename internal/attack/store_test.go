package attack

import (
	"encoding/binary"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// storeEdit opens the folder of a Caddy that has ended and changes what is
// stored, as somebody could who can write to the disk.
func (s *site) storeEdit(t testing.TB, key []byte, edit func(txn *badger.Txn) error) {
	t.Helper()
	folder := filepath.Join(s.dir, "sessions")
	manifest, err := os.ReadFile(filepath.Join(folder, "MANIFEST"))
	if err != nil || len(manifest) < 6 {
		t.Fatalf("reading the folder's format: %d bytes, %v", len(manifest), err)
	}
	opts := badger.DefaultOptions(folder).WithExternalMagic(binary.BigEndian.Uint16(manifest[4:])).WithLogger(nil).WithCompression(options.None).
		WithMemTableSize(8 << 20).WithValueLogFileSize(8 << 20).WithBlockCacheSize(0)
	if key != nil {
		opts = opts.WithEncryptionKey(key).WithIndexCacheSize(8 << 20).WithBlockCacheSize(8 << 20)
	}
	db, err := badger.Open(opts)
	if err != nil {
		t.Fatalf("opening the folder: %v", err)
	}
	if err := db.Update(edit); err != nil {
		t.Errorf("changing the folder: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatalf("closing the folder: %v", err)
	}
}

// storeKey is where the record of a token is.
func storeKey(t testing.TB, token string) []byte {
	t.Helper()
	return append([]byte{'s'}, storeHash(tokenBytes(t, token))...)
}

// storeMove puts what with makes of a value in its place.
func storeMove(txn *badger.Txn, key []byte, with func(value []byte) []byte) error {
	item, err := txn.Get(key)
	if err != nil {
		return err
	}
	value, err := item.ValueCopy(nil)
	if err != nil {
		return err
	}
	return txn.SetEntry(badger.NewEntry(key, with(value)).WithMeta(item.UserMeta()))
}

// A record is believed only if it is there, whole and under its own key: one
// that was taken away, cut, damaged, emptied or copied opens nothing, deletes
// the cookie and stands in the audit log.
func TestR05OnlyAnIntactRecordIsASession(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{})
	s.run(t, text)
	intact, other := s.signIn(t, juan), s.signIn(t, maria)
	damages := []struct {
		name   string
		damage func(txn *badger.Txn, key []byte) error
	}{
		{"taken away", func(txn *badger.Txn, key []byte) error { return txn.Delete(key) }},
		{"emptied", func(txn *badger.Txn, key []byte) error {
			return storeMove(txn, key, func([]byte) []byte { return nil })
		}},
		{"cut", func(txn *badger.Txn, key []byte) error {
			return storeMove(txn, key, func(v []byte) []byte { return v[:len(v)-1] })
		}},
		{"with one bit changed", func(txn *badger.Txn, key []byte) error {
			return storeMove(txn, key, func(v []byte) []byte { v[len(v)/2] ^= 1; return v })
		}},
		{"of another format", func(txn *badger.Txn, key []byte) error {
			return storeMove(txn, key, func(v []byte) []byte { v[0] ^= 0x40; return v })
		}},
		{"of somebody else", func(txn *badger.Txn, key []byte) error {
			item, err := txn.Get(storeKey(t, other.token))
			if err != nil {
				return err
			}
			value, err := item.ValueCopy(nil)
			if err != nil {
				return err
			}
			return storeMove(txn, key, func([]byte) []byte { return value })
		}},
	}
	victims := make([]session, len(damages))
	for i := range victims {
		victims[i] = s.signIn(t, juan)
	}
	if err := s.child.Stop(); err != nil {
		t.Fatalf("ending Caddy: %v", err)
	}
	s.storeEdit(t, nil, func(txn *badger.Txn) error {
		for i, damage := range damages {
			if err := damage.damage(txn, storeKey(t, victims[i].token)); err != nil {
				return err
			}
		}
		return nil
	})
	s.restart(t, text)
	for i, damage := range damages {
		t.Run(damage.name, func(t *testing.T) {
			r := victims[i].get(t, "/")
			wantRefused(t, r)
			if cookie := r.cookies["sessionid"]; cookie == nil || cookie.MaxAge >= 0 {
				t.Errorf("the cookie is not deleted: %v", r.header["Set-Cookie"])
			}
			sessionIsOver(t, victims[i])
		})
	}
	if invalid, want := s.auditedEnds(t, "invalid_record"), len(damages)-1; invalid != want { // that which is not there is no record
		t.Errorf("%d invalid records were audited, want %d", invalid, want)
	}
	wantServed(t, intact.get(t, "/"))
	wantServed(t, other.get(t, "/"))
}

// Two records that change places, as answers of a store that are out of order
// do, are two invalid ones: nobody becomes somebody else.
func TestP86SwappedRecordsAreNobodys(t *testing.T) {
	t.Parallel()
	storeOfEachKind(t, func(t *testing.T, s *site, text string, key []byte) {
		first, second := s.signIn(t, juan), s.signIn(t, maria)
		if err := s.child.Stop(); err != nil {
			t.Fatalf("ending Caddy: %v", err)
		}
		s.storeEdit(t, key, func(txn *badger.Txn) error {
			var records [2][]byte
			for i, c := range []session{first, second} {
				if err := storeMove(txn, storeKey(t, c.token), func(v []byte) []byte { records[i] = v; return v }); err != nil {
					return err
				}
			}
			for i, c := range []session{second, first} {
				if err := storeMove(txn, storeKey(t, c.token), func([]byte) []byte { return records[i] }); err != nil {
					return err
				}
			}
			return nil
		})
		s.restart(t, text)
		s.echo.Forget()
		for _, c := range []session{first, second} {
			wantRefused(t, c.get(t, "/"))
			wantCode(t, c.get(t, "/api/session/"), http.StatusUnauthorized, "authentication_required")
		}
		s.wantNothingUpstream(t)
	})
}

// A store that cannot be asked is no reason to say that nobody is signed in,
// much less that somebody is: 503, the cookie left as it is, no redirect to
// where a password would be typed. What needs no session goes on.
func TestR05StoreThatCannotBeAskedIs503(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{site: "require_session {\n\t\tpublic /open\n\t}\n\treverse_proxy UPSTREAM"})
	s.run(t, text)
	juan := s.signIn(t, juan)
	if err := s.child.Stop(); err != nil {
		t.Fatalf("ending Caddy: %v", err)
	}
	// No disk has that much space: the folder is not opened.
	s.restart(t, strings.Replace(text, "storage badger "+s.dir+"/sessions", "storage badger "+s.dir+"/sessions {\n\t\t\t\tmin_free 1EiB\n\t\t\t}", 1))
	s.echo.Forget()
	for _, r := range []reply{
		juan.get(t, "/"), juan.get(t, "/", sessionNavigation()...), juan.get(t, "/api/session/"), juan.get(t, "/accounts/login/", sessionNavigation()...),
		juan.post(t, "/", ""), juan.get(t, "/accounts/sessions/"),
	} {
		if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || r.header.Get("Location") != "" || r.cookies["sessionid"] != nil {
			t.Errorf("%d %s with %v", r.status, r.body, r.header)
		}
	}
	s.wantNothingUpstream(t)
	wantRefused(t, s.do(t, "GET", "/", ""))
	wantRefused(t, s.do(t, "GET", "/", "", "Cookie", "sessionid=x"))
	wantServed(t, s.do(t, "GET", "/open", ""))
	wantServed(t, juan.get(t, "/open"))
	wantCode(t, s.trySignIn(t, maria, ldaptest.DemoPassword), http.StatusServiceUnavailable, "store_unavailable")
	if err := s.child.Stop(); err != nil {
		t.Fatalf("ending Caddy: %v", err)
	}
	s.restart(t, text)
	wantServed(t, juan.get(t, "/"))
}

// Sessions of a folder that is encrypted with another key, or damaged, or taken
// from under its lock, are not begun anew: Caddy does not start.
func TestR05StoreThatCannotBeReadStartsNothing(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{})
	encrypted := storeEncrypted(t, text, strings.Repeat("k", 32))
	s.run(t, encrypted)
	juan := s.signIn(t, juan)
	s.storeWantLocked(t, encrypted)
	wantServed(t, juan.get(t, "/"))
	if err := s.child.Stop(); err != nil {
		t.Fatalf("ending Caddy: %v", err)
	}
	s.wantRejected(t, text, "run", "is encrypted")
	s.wantRejected(t, storeEncrypted(t, text, strings.Repeat("x", 32)), "run", "is encrypted")
	s.restart(t, storeEncrypted(t, text, strings.Repeat("k", 32)))
	wantServed(t, juan.get(t, "/"))
}
