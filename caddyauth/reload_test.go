package caddyauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/badgerstore"
)

// reloaded is a server with somebody signed in, whose store says what is done
// to it.
type reloaded struct {
	*server
	folder   string
	faults   *storeFaults
	kept     signedIn
	old      signedIn // signed out
	resource string
}

func startReloaded(t *testing.T, setup setup) *reloaded {
	t.Helper()
	storage, faults := faultyStorage(t)
	setup.storage = storage
	s := &reloaded{server: start(t, setup), faults: faults, folder: strings.TrimPrefix(storage, "storage test ")}
	s.resource = (&testStorage{Folder: s.folder}).Resource()
	s.kept, s.old = s.signIn("ac12345"), s.signIn("mgarcia")
	want(t, s.do("GET", "/api/logout/", s.old.cookies), 200, bodySignedOut)
	s.serves(t)
	return s
}

// serves checks that sessions go on, sign-in and sign-out work, what was ended
// is, and the store is open, once, for one configuration.
func (s *reloaded) serves(t *testing.T) {
	t.Helper()
	want(t, s.do("GET", "/x", s.kept.cookies), 200, "upstream")
	want(t, s.do("GET", "/x", s.old.cookies), 401, bodyAuthenticationRequired)
	c := s.signIn("mgarcia")
	want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	want(t, s.do("GET", "/api/logout/", c.cookies), 200, bodySignedOut)
	want(t, s.do("GET", "/x", c.cookies), 401, bodyAuthenticationRequired)
	s.isOpen(t, 1, 0)
}

// isOpen checks how often the store was opened and closed, and that one
// configuration holds it.
func (s *reloaded) isOpen(t *testing.T, opened, closed int64) {
	t.Helper()
	if s.faults.opened.Load() != opened || s.faults.closed.Load() != closed || s.references(s.resource) != 1 {
		t.Errorf("the store was opened %d times and closed %d times, and has %d references", s.faults.opened.Load(), s.faults.closed.Load(), s.references(s.resource))
	}
	if err := opens(s.folder); err == nil {
		t.Error("somebody else can open the folder")
	}
}

// isClosed checks that nobody holds the store, and that another can open it.
func (s *reloaded) isClosed(t *testing.T) {
	t.Helper()
	if n := s.references(s.resource); n != 0 {
		t.Errorf("the store has %d references", n)
	}
	if err := opens(s.folder); err != nil {
		t.Errorf("nobody else can open the folder: %v", err)
	}
}

// references is how many configurations hold a store.
func (s *server) references(resource string) int {
	n, _ := stores.References(resource)
	return n
}

// opens tells whether a folder of sessions can be opened, beside what is open
// already.
func opens(folder string) error {
	store, err := badgerstore.Open(folder, badgerstore.Options{}, nil)
	if err != nil {
		return err
	}
	return store.Close()
}

// lastSeen is when a folder that nobody has open says that a session was used.
func lastSeen(t *testing.T, folder, value string) time.Time {
	t.Helper()
	store, err := badgerstore.Open(folder, badgerstore.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	token, _ := sessionstore.ParseToken(value)
	_, seen, ok, err := store.Get(t.Context(), token.Key())
	if err != nil || !ok {
		t.Fatalf("reading the session: ok %v, %v", ok, err)
	}
	return seen
}

// secondsLeft is how long the session route says that a session lives.
func secondsLeft(t *testing.T, answer reply) int {
	t.Helper()
	var info struct {
		SecondsLeft int `json:"seconds_left"`
	}
	if err := json.Unmarshal([]byte(answer.body), &info); err != nil || answer.StatusCode != 200 {
		t.Fatalf("%d %s: %v", answer.StatusCode, answer.body, err)
	}
	return info.SecondsLeft
}

// unplugged is the configuration without the plugin.
func (s *server) unplugged() string {
	plain := *s
	plain.setup.site = "reverse_proxy UPSTREAM"
	text := plain.caddyfile()
	from, to := strings.Index(text, "ldap_auth {"), strings.Index(text, "http://:")
	return text[:from] + "}\n" + text[to:]
}

func TestReloadOfTheSameConfigurationKeepsSessions(t *testing.T) {
	s := startReloaded(t, setup{})
	for range 3 {
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		s.serves(t)
	}
}

func TestReloadWithOtherOptionsKeepsTheStoreOpen(t *testing.T) {
	s := startReloaded(t, setup{})
	reload := func(t *testing.T) {
		t.Helper()
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		s.serves(t)
	}
	t.Run("of sessions", func(t *testing.T) {
		s.setup.sessions = "same_site strict\nidle_timeout 30m"
		reload(t)
		if got := s.do("GET", "/api/session/", s.kept.cookies); secondsLeft(t, got) > 30*60 {
			t.Errorf("the shorter idle_timeout does not hold: %s", got.body)
		}
	})
	t.Run("of the policy", func(t *testing.T) {
		s.setup.auth = "trusted_origins https://app.trusted.test"
		reload(t)
		got := s.do("GET", "/x", s.kept.cookies, header("Origin", "https://app.trusted.test"))
		if got.StatusCode != 200 || got.Header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("%d %v", got.StatusCode, got.Header)
		}
	})
	t.Run("of the directory", func(t *testing.T) {
		s.setup.servers = "servers " + s.directory.URL() + "\n\t\t\ttimeout 9s\n\t\t\tlogin_hints all"
		reload(t)
	})
	t.Run("another server of the directory", func(t *testing.T) {
		other, err := ldaptest.Start("127.0.0.1:0", ldaptest.Demo())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = other.Close() })
		s.setup.servers = "servers " + other.URL()
		asked, binds := s.server.directory.Binds(), other.Binds()
		reload(t)
		if other.Binds() == binds || s.server.directory.Binds() != asked {
			t.Error("sign-ins do not go to the new server alone")
		}
		s.setup.servers = ""
		reload(t)
	})
	t.Run("of the storage", func(t *testing.T) {
		if err := s.loadJSON(s.edited(func(config map[string]any) {
			at(t, config, "apps", "ldap_auth", "sessions", "storage")["option"] = "another"
		})); err != nil {
			t.Fatal(err)
		}
		s.serves(t)
	})
}

// TestReloadThatFails: the configuration that serves goes on as if nothing had
// been tried, and nothing of the other one is left.
func TestReloadThatFails(t *testing.T) {
	s := startReloaded(t, setup{})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	noFolder := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(noFolder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refusing, broken := faultyStorage(t)
	broken.refuse.Store(true)
	refusing = strings.TrimPrefix(refusing, "storage test ")
	elsewhere, beside := faultyStorage(t)
	elsewhere = strings.TrimPrefix(elsewhere, "storage test ")

	app := func(config map[string]any) map[string]any { return at(t, config, "apps", "ldap_auth") }
	gate := func(config map[string]any) map[string]any {
		return at(t, config, "apps", "http", "servers", "srv0", "routes", 0, "handle", 0)
	}
	keepIn := func(config map[string]any, module, folder string) {
		at(t, config, "apps", "ldap_auth", "sessions")["storage"] = map[string]any{"module": module, "folder": folder}
	}
	listen := func(config map[string]any, addresses ...any) {
		at(t, config, "apps", "http", "servers", "srv0")["listen"] = addresses
	}
	ours := fmt.Sprintf("127.0.0.1:%d", s.port)
	for _, test := range []struct {
		what string
		edit func(config map[string]any)
	}{
		{"in Provision of the app, at its sessions", func(c map[string]any) { at(t, c, "apps", "ldap_auth", "sessions")["same_site"] = "x" }},
		{"in Provision of the app, at its policy", func(c map[string]any) { app(c)["trusted_ips"] = []any{} }},
		{"in Provision of the app, at its second directory", func(c map[string]any) {
			app(c)["directories"] = append(app(c)["directories"].([]any), map[string]any{"label": "otra.local", "ca_file": noFolder})
		}},
		{"in Provision of the storage", func(c map[string]any) { keepIn(c, "badger", "{env.TEST_FOLDER_THAT_IS_NOT_SET}") }},
		{"in Provision of a handler, after the app's", func(c map[string]any) { gate(c)["public"] = []any{"no-slash"} }},
		{"in Provision of a handler, at its groups", func(c map[string]any) { gate(c)["groups"] = []any{""} }},
		{"in Provision of a handler without the app", func(c map[string]any) { delete(at(t, c, "apps"), "ldap_auth") }},
		{"in Provision of another app", func(c map[string]any) { at(t, c, "apps")["pki"] = map[string]any{"no_such_option": 1} }},
		{"in Start of another app", func(c map[string]any) { listen(c, taken.Addr().String()) }},
		{"in Start of another app that has begun to serve", func(c map[string]any) { listen(c, ours, taken.Addr().String()) }},
		{"in Start of another app, beside a new store", func(c map[string]any) {
			keepIn(c, "test", elsewhere)
			listen(c, taken.Addr().String())
		}},
		{"in Start of the app, a store that does not open", func(c map[string]any) { keepIn(c, "test", refusing) }},
		{"in Start of the app, a folder that is none", func(c map[string]any) { keepIn(c, "badger", noFolder) }},
		{"in Start of the app, the folder that is open, as another resource", func(c map[string]any) { keepIn(c, "badger", s.folder) }},
	} {
		t.Run(test.what, func(t *testing.T) {
			for range 3 { // Caddy provisions and starts apps in any order
				mark := logged.mark()
				if err := s.loadJSON(s.edited(test.edit)); err == nil {
					t.Fatal("it loads")
				}
				s.serves(t)
				wantAudit(t, mark, auditLine{"event": "sign_out", "user": "mgarcia"}) // the old logger lives
				if n := len(openHandles(t)); n != 1 {
					t.Errorf("%d stores are held", n)
				}
			}
		})
	}
	if beside.opened.Load() != beside.closed.Load() {
		t.Errorf("the store of a failed configuration was opened %d and closed %d times", beside.opened.Load(), beside.closed.Load())
	}
	if broken.opened.Load() != 3 {
		t.Errorf("a store that does not open was tried %d times", broken.opened.Load())
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	s.isClosed(t)
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", s.kept.cookies), 200, "upstream")
	s.isOpen(t, 2, 1)
}

// TestFirstConfigurationThatFails leaves nothing: there was nothing before.
func TestFirstConfigurationThatFails(t *testing.T) {
	s := newServer(t, setup{})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for range 4 {
		if err := s.loadJSON(s.edited(func(config map[string]any) {
			at(t, config, "apps", "http", "servers", "srv0")["listen"] = []any{taken.Addr().String()}
		})); err == nil {
			t.Fatal("it loads")
		}
		if n := len(openHandles(t)); n != 0 {
			t.Fatalf("%d stores are held", n)
		}
	}
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.signIn("ac12345")
}

func TestPluginTakenOutAndPutInAgain(t *testing.T) {
	s := startReloaded(t, setup{})
	for round := range int64(3) {
		if err := s.load(s.unplugged()); err != nil {
			t.Fatal(err)
		}
		want(t, s.do("GET", "/x"), 200, "upstream")
		s.isClosed(t)
		if err := s.load(s.caddyfile()); err != nil {
			t.Fatal(err)
		}
		want(t, s.do("GET", "/x", s.kept.cookies), 200, "upstream")
		want(t, s.do("GET", "/x", s.old.cookies), 401, bodyAuthenticationRequired)
		want(t, s.do("GET", "/x", s.signIn("mgarcia").cookies), 200, "upstream")
		s.isOpen(t, round+2, round+1)
	}
}

// TestStorageMovedAndMovedBack: a configuration with another folder has none of
// the sessions, and the one before has them all.
func TestStorageMovedAndMovedBack(t *testing.T) {
	s := startReloaded(t, setup{})
	here := s.setup.storage
	there, _ := faultyStorage(t)
	s.setup.storage = there
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", s.kept.cookies), 401, bodyAuthenticationRequired)
	s.isClosed(t)
	s.setup.storage = here
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", s.kept.cookies), 200, "upstream")
	want(t, s.do("GET", "/x", s.old.cookies), 401, bodyAuthenticationRequired)
	s.isOpen(t, 2, 1)
}

func TestValidationBesideTheServerTouchesNothing(t *testing.T) {
	s := startReloaded(t, setup{})
	here := s.setup.storage
	there, beside := faultyStorage(t)
	plain := filepath.Join(t.TempDir(), "s")
	for _, storage := range []string{here, there, "storage badger " + plain, "storage badger " + s.folder} {
		s.setup.storage = storage
		text, err := adapt(s.caddyfile())
		if err != nil {
			t.Fatal(err)
		}
		config := new(caddy.Config)
		if err := caddy.StrictUnmarshalJSON(text, config); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(config); err != nil {
			t.Errorf("%s: %v", storage, err)
		}
	}
	s.setup.storage = here
	if n := beside.opened.Load(); n != 0 {
		t.Errorf("it opened a store %d times", n)
	}
	for _, folder := range []string{plain, strings.TrimPrefix(there, "storage test ")} {
		if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder %s: %v", folder, err)
		}
	}
	if n := len(openHandles(t)); n != 1 {
		t.Errorf("%d stores are held", n)
	}
	s.serves(t)
}

// TestStopSavesWhenSessionsWereUsed: nothing of it was on disk before.
func TestStopSavesWhenSessionsWereUsed(t *testing.T) {
	s := startReloaded(t, setup{sessions: "idle_timeout 1h"}) // so that times are stored once a minute
	time.Sleep(1100 * time.Millisecond)
	before := time.Now()
	want(t, s.do("GET", "/x", s.kept.cookies), 200, "upstream")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if seen := lastSeen(t, s.folder, s.kept.token); seen.Before(before) {
		t.Errorf("the session was used at %v; the store says %v", before, seen)
	}
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	want(t, s.do("GET", "/x", s.kept.cookies), 200, "upstream")
	want(t, s.do("GET", "/x", s.old.cookies), 401, bodyAuthenticationRequired)
}
