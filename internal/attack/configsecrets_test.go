package attack

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// configFile stores a file for a configuration to name.
func configFile(t testing.TB, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return path
}

// configKey is a key that no other run has.
func configKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return hex.EncodeToString(key)
}

// configKeyed gives a configuration's storage an encryption key.
func configKeyed(text, file string) string {
	i := strings.Index(text, "storage badger ")
	end := i + strings.IndexByte(text[i:], '\n')
	return text[:end] + " {\nencryption_key " + file + "\n}" + text[end:]
}

// A secret that is not there opens nothing: neither the site, nor its sessions
// in the clear.
func TestP67MissingSecretsOpenNothing(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "secret")
	for name, row := range map[string]struct {
		c     setup
		keyed bool
		named string
	}{
		"bind password of a missing file":      {setup{block: "servers DIRECTORY\nbind svc@empresa.local {file." + missing + "}"}, false, "bind"},
		"bind password of an unset variable":   {setup{block: "servers DIRECTORY\nbind svc@empresa.local {env.CADDY_LDAP_UNSET}"}, false, "bind"},
		"encryption key of a file that is not": {setup{}, true, "encryption_key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, text := prepare(t, row.c)
			if row.keyed {
				text = configKeyed(text, missing)
			}
			s.wantRejected(t, text, "validate", row.named)
			s.wantRejected(t, text, "run", row.named)
			if s.echo.Count() != 0 || s.read("sessions/MANIFEST") != "" {
				t.Error("something was opened")
			}
		})
	}
	// A second server of the same sessions, and one with another key, do not
	// start beside or over the first.
	t.Run("sessions of another", func(t *testing.T) {
		t.Parallel()
		s, plain := prepare(t, setup{})
		text := configKeyed(plain, configFile(t, "key", configKey(), 0o600))
		s.run(t, text)
		token := s.signIn(t, juan)
		if err := s.tell(t, text, "validate"); err != nil {
			t.Error(err)
		}
		s.storeWantLocked(t, text)
		wantServed(t, token.get(t, "/"))
		s.child.Stop()
		for name, other := range map[string]string{"no key": plain, "another key": configKeyed(plain, configFile(t, "other", configKey(), 0o600))} {
			t.Run(name, func(t *testing.T) { s.wantRejected(t, other, "run", "encryption_key") })
		}
		s.run(t, text)
		wantServed(t, token.get(t, "/"))
	})
}

// Secrets that the configuration only names, a file's or the environment's, stay
// where they are: not in what the admin endpoint shows, nor in what Caddy
// stores.
func TestS32SecretsThatAreOnlyNamedAreNowhereElse(t *testing.T) {
	t.Parallel()
	secret, key := configFile(t, "bind", directoryServicePassword, 0o600), configFile(t, "key", configKey(), 0o600)
	keyText, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	s, text := prepare(t, setup{
		directory: directoryWithService(ldaptest.Demo()),
		block:     "servers DIRECTORY\nbind svc@empresa.local {file." + secret + "}",
	})
	// Into the folder of the test, as its HOME says.
	text = strings.Replace(configKeyed(text, key), "persist_config off\n", "", 1)
	s.run(t, text)
	asked := directoryWatch(s.directory)
	juan := s.signIn(t, juan)
	if err := s.tell(t, text, "reload"); err != nil {
		t.Fatal(err)
	}
	if searches := asked.all(); len(searches) == 0 {
		t.Error("the service account was not used")
	}
	saved := s.read("caddy/autosave.json")
	if saved == "" || !strings.Contains(saved, "{file.") {
		t.Errorf("the saved configuration is %.200q", saved)
	}
	shown := saved
	for _, path := range []string{"/config/", "/config/apps/ldap_auth", "/ldap_auth/sessions", "/ldap_auth/users", "/ldap_auth/counts", "/metrics", "/reverse_proxy/upstreams"} {
		r := s.admin(t, "GET", path, "")
		if r.status != 200 {
			t.Errorf("%s: got %d %q", path, r.status, r.body)
		}
		shown += r.body
	}
	if err := s.tell(t, text, "adapt"); err != nil {
		t.Error(err)
	}
	adapted, err := s.command(t, "adapt", "--config", s.config(t, text), "--adapter", "caddyfile", "--pretty").Output()
	if err != nil {
		t.Fatal(err)
	}
	shown += string(adapted)
	for name, value := range map[string]string{
		"bind password": directoryServicePassword, "encryption key": string(keyText), "password": ldaptest.DemoPassword, "token": juan.token, "CSRF secret": juan.csrf,
	} {
		if strings.Contains(shown, value) {
			t.Errorf("the %s is shown", name)
		}
		if files := s.hasWritten(t, value); len(files) > 0 {
			t.Errorf("the %s is in %v", name, files)
		}
	}
}
