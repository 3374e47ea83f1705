package attack

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// storeHash is what stands for a token in the store.
func storeHash(token []byte) []byte {
	key := sha256.Sum256(token)
	return key[:]
}

// storeEncrypted is a Caddyfile with an encryption key.
func storeEncrypted(t testing.TB, text, key string) string {
	t.Helper()
	return configKeyed(text, configFile(t, "sessions.key", hex.EncodeToString([]byte(key)), 0o600))
}

// storeOfEachKind runs a test on a site without an encryption key, and on one
// with.
func storeOfEachKind(t *testing.T, run func(t *testing.T, s *site, text string, key []byte)) {
	t.Helper()
	for name, key := range map[string][]byte{"plain": nil, "encrypted": []byte(strings.Repeat("k", 32))} {
		t.Run(name, func(t *testing.T) {
			s, text := prepare(t, setup{})
			if key != nil {
				text = storeEncrypted(t, text, string(key))
			}
			s.run(t, text)
			run(t, s, text, key)
		})
	}
}

// storeWantLocked fails unless a second server, with ports and logs of its own,
// does not start on the folder.
func (s *site) storeWantLocked(t testing.TB, text string) {
	t.Helper()
	second := *s
	second.dir = t.TempDir()
	text = strings.ReplaceAll(text, ":"+s.port, ":"+freePort(t))
	text = strings.ReplaceAll(text, filepath.Join(s.dir, "admin.sock"), filepath.Join(s.dir, "second.sock"))
	for _, log := range []string{"caddy.json", "access.json"} {
		text = strings.ReplaceAll(text, filepath.Join(s.dir, log), filepath.Join(second.dir, log))
	}
	second.wantRejected(t, text, "run", "is in use by another process")
}

// storeSpellings are the forms in which a token could be written down.
func storeSpellings(t testing.TB, token string) []string {
	t.Helper()
	raw := tokenBytes(t, token)
	return []string{
		token, string(raw), hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)),
		base64.RawStdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw),
	}
}

// Whoever reads the store, the logs or the operator's answers gets no cookie
// from them; with a key, whoever has the files gets no names either. The cookie
// goes to no neighbour.
func TestP50StoreHasNoTokens(t *testing.T) {
	t.Parallel()
	storeOfEachKind(t, func(t *testing.T, s *site, _ string, key []byte) {
		r := s.trySignIn(t, juan, ldaptest.DemoPassword)
		for _, line := range r.header["Set-Cookie"] {
			if strings.Contains(strings.ToLower(line), "domain") {
				t.Error("a cookie is for the domain")
			}
		}
		live, ended := s.sessionOf(t, r), s.signIn(t, maria)
		wantServed(t, live.get(t, "/"))
		wantServed(t, ended.get(t, "/"))
		ended.signOut(t)
		search := func(when string) {
			t.Helper()
			for _, c := range []session{live, ended} {
				for _, secret := range storeSpellings(t, c.token) {
					if files := s.hasWritten(t, secret); files != nil {
						t.Errorf("%s a token is in %q", when, files)
					}
				}
			}
			for _, name := range []string{"Juan", "Ingenieria", "mgarcia"} {
				files := slices.DeleteFunc(s.hasWritten(t, name), func(file string) bool { return !strings.Contains(file, "/sessions/") })
				if key != nil && len(files) > 0 {
					t.Errorf("%s the name %s is in %q", when, name, files)
				}
			}
		}
		search("while it runs")
		for _, path := range []string{"/ldap_auth/sessions", "/ldap_auth/users", "/ldap_auth/counts", "/metrics", "/config/"} {
			body := s.admin(t, "GET", path, "").body
			for _, secret := range append(storeSpellings(t, live.token), live.csrf, hex.EncodeToString(storeHash(tokenBytes(t, live.token)))) {
				if strings.Contains(body, secret) {
					t.Errorf("the operator's %s has a secret", path)
				}
			}
		}
		if err := s.child.Stop(); err != nil {
			t.Fatalf("ending Caddy: %v", err)
		}
		search("when it has ended")
		s.storeEdit(t, key, func(txn *badger.Txn) error {
			all := txn.NewIterator(badger.DefaultIteratorOptions)
			defer all.Close()
			records := 0
			for all.Rewind(); all.Valid(); all.Next() {
				records++
				value, err := all.Item().ValueCopy(nil)
				if err != nil {
					return err
				}
				for _, secret := range append(storeSpellings(t, live.token), storeSpellings(t, ended.token)...) {
					if strings.Contains(string(all.Item().Key())+"\n"+string(value), secret) {
						t.Errorf("a token is under the key %q", all.Item().Key())
					}
				}
			}
			if records < 3 {
				t.Errorf("%d records were looked at", records)
			}
			return nil
		})
	})
}

// storeFiles are the names and modes of all files of a folder.
func storeFiles(t testing.TB, folder string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files = append(files, path+" "+info.Mode().String())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Validating a configuration opens, locks, creates and asks nothing: it works
// beside the server that has the folder, and where there is no folder yet.
func TestB28ValidateTouchesNothing(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{})
	// Nobody has started yet: there is no folder, and the port is free.
	before := storeFiles(t, s.dir)
	if err := s.tell(t, text, "validate"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "sessions")); !os.IsNotExist(err) {
		t.Errorf("validating has made the folder: %v, before there were %q", err, before)
	}
	if n := s.directory.Connections(); n != 0 {
		t.Errorf("validating has asked the directory %d times", n)
	}

	s.run(t, text)
	juan := s.signIn(t, juan)
	folder := filepath.Join(s.dir, "sessions")
	files, connections := storeFiles(t, folder), s.directory.Connections()
	if err := s.tell(t, text, "validate"); err != nil {
		t.Fatal(err)
	}
	if err := s.tell(t, strings.Replace(text, "require_session", "require_sessions", 1), "validate"); err == nil {
		t.Error("a directive that does not exist is valid")
	}
	if after := storeFiles(t, folder); !slices.Equal(files, after) {
		t.Errorf("validating changed the folder from %q to %q", files, after)
	}
	if n := s.directory.Connections() - connections; n != 0 {
		t.Errorf("validating has asked the directory %d times", n)
	}
	wantServed(t, juan.get(t, "/"))
	s.child.Kill()
	s.restart(t, text)
	wantServed(t, juan.get(t, "/"))
}

// A request that comes while one configuration takes the store over from
// another is served or refused as ever: no session is lost, none is made up.
func TestB27ReloadsNeitherLoseNorInventSessions(t *testing.T) {
	t.Parallel()
	s, text := prepare(t, setup{})
	s.run(t, text)
	juan, over := s.signIn(t, juan), s.signIn(t, maria)
	over.signOut(t)
	stop, done := make(chan struct{}), make(chan [2]int)
	go func() {
		var served [2]int
		defer func() { done <- served }()
		for {
			for i, c := range []session{juan, over} {
				r, err := s.send("GET", "/", "", "Cookie", c.cookie())
				switch {
				case err != nil: // Caddy closes connections that come just then
				case r.status == []int{200, 401}[i], r.status == 503 && r.code() == "store_unavailable":
					served[i]++
				default:
					t.Errorf("request %v: %d %s", served, r.status, r.body)
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for i := range 4 {
		changed := text
		if i%2 == 0 {
			changed = strings.Replace(text, "storage badger", "per_user 50\nstorage badger", 1)
		}
		if err := s.tell(t, changed, "reload"); err != nil {
			t.Error(err)
		}
	}
	// One that cannot be loaded leaves the running one as it is.
	if err := s.tell(t, strings.Replace(text, "storage badger", "per_user 0x\nstorage badger", 1), "reload"); err == nil {
		t.Error("a broken configuration was loaded")
	}
	close(stop)
	if served := <-done; served[0] < 5 || served[1] < 5 {
		t.Errorf("only %v requests were answered", served)
	}
	wantServed(t, juan.get(t, "/"))
	wantRefused(t, over.get(t, "/"))
}
