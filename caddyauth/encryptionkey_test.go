package caddyauth

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

func keyFile(t *testing.T, content string, mode os.FileMode) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "key")
	if err := errors.Join(os.WriteFile(name, []byte(content), 0o600), os.Chmod(name, mode)); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestEncryptionKeyFiles(t *testing.T) {
	raw := make([]byte, 32)
	rand.Read(raw)
	text := hex.EncodeToString(raw)
	for _, row := range []struct {
		name, content string
		want          []byte
	}{
		{"32 bytes in hex", text, raw},
		{"24 bytes in hex", text[:48], raw[:24]},
		{"16 bytes in hex, which are 32 letters", text[:32], raw[:16]},
		{"as openssl rand -hex writes it", text + "\n", raw},
		{"capitals and white space around", " \t" + strings.ToUpper(text) + "\r\n\n", raw},
		{"32 bytes in base64", base64.StdEncoding.EncodeToString(raw) + "\n", raw},
		{"32 bytes in base64 without padding", base64.RawStdEncoding.EncodeToString(raw), raw},
		{"24 bytes in base64", base64.StdEncoding.EncodeToString(raw[:24]) + "\n", raw[:24]},
		{"16 bytes in base64", base64.StdEncoding.EncodeToString(raw[:16]), raw[:16]},
		{"32 bytes as they are", string(raw), raw},
		{"nothing", "", nil},
		{"white space", "\n", nil},
		{"a passphrase", "correct horse battery staple", nil},
		{"31 bytes in hex", text[:62], nil},
		{"33 bytes in hex", text + "00", nil},
		{"half a byte", text[:63], nil},
		{"two lines", text[:32] + "\n" + text[32:], nil},
		{"two lines of base64", base64.StdEncoding.EncodeToString(raw)[:20] + "\n" + base64.StdEncoding.EncodeToString(raw)[20:], nil},
		{"two keys", text + "\n" + text + "\n", nil},
		{"31 bytes as they are", string(raw[:30]) + "\xff", nil},
		{"16 bytes as they are", "\xff" + string(raw[:15]), nil},
		{"32 bytes and a line end", "\xff" + string(raw[:31]) + "\n", nil},
		{"a large file", strings.Repeat(text, 1000), nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := readEncryptionKey(keyFile(t, row.content, 0o600))
			if !bytes.Equal(got, row.want) || (err == nil) != (row.want != nil) {
				t.Fatalf("got %d bytes, error %v", len(got), err)
			}
			if err != nil && len(row.content) > 10 && strings.Contains(err.Error(), row.content[:10]) {
				t.Errorf("the error shows the content: %v", err)
			}
		})
	}
}

func TestEncryptionKeyFileThatOthersRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such mode there")
	}
	key := strings.Repeat("0f", 32)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o644} {
		name := keyFile(t, key, mode)
		err := (&Badger{Folder: t.TempDir(), EncryptionKey: name}).Provision(caddy.Context{})
		if err == nil || !strings.Contains(err.Error(), "encryption_key") || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "open to other users") || strings.Contains(err.Error(), key) {
			t.Errorf("mode %04o: error %v", mode, err)
		}
	}
	name := keyFile(t, key, 0o400)
	link := filepath.Join(t.TempDir(), "link") // as Kubernetes shows secrets
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_KEY_FILE", link)
	if err := (&Badger{Folder: t.TempDir(), EncryptionKey: "{env.TEST_KEY_FILE}"}).Provision(caddy.Context{}); err != nil {
		t.Error(err)
	}
}

// Root reads the key of the service's user, as "sudo caddy validate" does.
func TestEncryptionKeyFileOfTheService(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another user")
	}
	name := keyFile(t, strings.Repeat("0f", 32), 0o600)
	if err := os.Chown(name, 12345, -1); err != nil {
		t.Skip("no file can be given to another user here: ", err)
	}
	if err := (&Badger{Folder: t.TempDir(), EncryptionKey: name}).Provision(caddy.Context{}); err != nil {
		t.Error(err)
	}
}

func TestEncryptionKeyThatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		dir: "not a regular file", link: "not a regular file", os.DevNull: "not a regular file", filepath.Join(dir, "missing"): "no such file",
	} {
		if _, err := readEncryptionKey(name); err == nil || runtime.GOOS != "windows" && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
}

func TestMinFreeFromJSON(t *testing.T) {
	for free, want := range map[int64]bool{0: true, 1: false, -1: false, leastMinFree - 1: false, leastMinFree: true} {
		err := (&Badger{Folder: t.TempDir(), MinFree: free}).Provision(caddy.Context{})
		if (err == nil) != want {
			t.Errorf("%d: error %v", free, err)
		}
	}
}

// openBadger opens the module's store and stores a session, or tells the error.
func openBadger(t *testing.T, folder, key string) error {
	t.Helper()
	b := &Badger{Folder: folder}
	if key != "" {
		b.EncryptionKey = keyFile(t, key, 0o600)
	}
	if err := b.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	store, err := b.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	session := storetest.NewSession("id-of-the-user")
	session.User.DN = "CN=Plain Name,DC=corp,DC=test"
	if err := errors.Join(store.Create(t.Context(), storetest.NewKey(), session, nil), store.Close()); err != nil {
		t.Fatal(err)
	}
	return nil
}

func TestEncryptedStorage(t *testing.T) {
	key, other := strings.Repeat("0f", 32), strings.Repeat("1f", 32)
	folder, plain := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "s")
	for range 2 {
		if err := errors.Join(openBadger(t, folder, key), openBadger(t, plain, "")); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil || bytes.Contains(b, []byte("Plain Name")) {
			t.Errorf("%s: a name in plain text, or %v", file.Name(), err)
		}
	}
	for _, row := range []struct{ name, folder, key, want string }{
		{"another key", folder, other, "encrypted with another encryption_key"},
		{"no key", folder, "", "needs its encryption_key"},
		{"a key for a plain folder", plain, key, "remove encryption_key"},
	} {
		err := openBadger(t, row.folder, row.key)
		if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "storage badger") || !strings.Contains(err.Error(), row.folder) {
			t.Errorf("%s: error %v, want one with %q", row.name, err, row.want)
		}
	}
	if err := errors.Join(openBadger(t, folder, key), openBadger(t, plain, "")); err != nil {
		t.Error(err)
	}
}

// An open folder goes on with its options, and one line a reload says so.
func TestChangedStorageOptions(t *testing.T) {
	folder, key := filepath.Join(t.TempDir(), "s"), keyFile(t, strings.Repeat("0f", 32), 0o600)
	var resource string
	var handle *storeHandle
	defer func() {
		if _, err := stores.Delete(resource); err != nil {
			t.Error(err)
		}
	}()
	for owner, row := range []struct {
		storage Badger
		warned  bool
	}{
		{Badger{EncryptionKey: key}, false},
		{Badger{EncryptionKey: key}, false},
		{Badger{EncryptionKey: keyFile(t, strings.Repeat("0F", 32), 0o600)}, false}, // the same key
		{Badger{EncryptionKey: keyFile(t, strings.Repeat("1f", 32), 0o600)}, true},
		{Badger{}, true},
		{Badger{EncryptionKey: key, MinFree: 1 << 30}, true},
		{Badger{EncryptionKey: key}, false},
	} {
		row.storage.Folder = folder
		if err := row.storage.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		if handle == nil {
			resource = row.storage.Resource()
			var err error
			if handle, err = acquireStore(resource); err != nil {
				t.Fatal(err)
			}
		}
		var log bytes.Buffer
		if err := handle.open(owner, &row.storage, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(log.String(), "restart to apply"); got > 1 || (got == 1) != row.warned {
			t.Errorf("configuration %d: warned %d times, want %v: %s", owner, got, row.warned, log.String())
		}
		if strings.Contains(log.String(), "0f0f") {
			t.Errorf("the log shows the key: %s", log.String())
		}
	}
}
