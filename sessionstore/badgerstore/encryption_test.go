package badgerstore

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

func TestEncryptedFolderHoldsNoPlainText(t *testing.T) {
	for _, size := range []int{16, 24, 32} {
		options := Options{EncryptionKey: bytes.Repeat([]byte{byte(size)}, size)}
		dir := filepath.Join(t.TempDir(), "sessions")
		session := storetest.NewSession("id-of-the-user")
		session.User.Username, session.User.DN = "plainusername", "CN=Plain Name,OU=Plain Unit,DC=corp,DC=test"
		key := storetest.NewKey()
		for round := range 3 {
			s, err := Open(dir, options, nil)
			if err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				if err := s.Create(t.Context(), key, session, nil); err != nil {
					t.Fatal(err)
				}
			}
			got, _, ok, err := s.Get(t.Context(), key)
			if !ok || err != nil || got.User.DN != session.User.DN {
				t.Fatalf("%d bytes, round %d: %v, %v", size, round, ok, err)
			}
			noPlainText(t, take(t, dir), key, session)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			noPlainText(t, take(t, dir), key, session)
		}
	}
}

func noPlainText(t *testing.T, i image, key sessionstore.Key, session *sessionstore.Session) {
	t.Helper()
	for name, f := range i {
		for _, secret := range []string{string(key[:]), session.User.Username, session.User.DN, "Plain Unit", session.User.ID, session.CSRF} {
			if secret != "" && bytes.Contains(f.content, []byte(secret)) {
				t.Errorf("%s holds %q", name, secret)
			}
		}
	}
}

func TestWrongEncryptionKey(t *testing.T) {
	other := Options{EncryptionKey: bytes.Repeat([]byte("x"), 32)}
	plainFolder, plainWant := sample(t, Options{})
	encryptedFolder, encryptedWant := sample(t, encrypted)
	for _, test := range []struct {
		name    string
		folder  image
		want    acknowledged
		options Options
		text    string
	}{
		{"another key", encryptedFolder, encryptedWant, other, "is encrypted with another encryption_key"},
		{"a key of another size", encryptedFolder, encryptedWant, Options{EncryptionKey: bytes.Repeat([]byte("k"), 16)}, "is encrypted with another encryption_key"},
		{"no key", encryptedFolder, encryptedWant, Options{}, "is encrypted, or"},
		{"a key for a plain folder", plainFolder, plainWant, other, "is not encrypted: remove encryption_key"},
		{"a key of no size that AES has", plainFolder, plainWant, Options{EncryptionKey: make([]byte, 31)}, "the encryption key has 31 bytes"},
	} {
		err := tryOpen(t, test.name, "", test.folder, test.options, test.want)
		if err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.text)
		}
	}
}
