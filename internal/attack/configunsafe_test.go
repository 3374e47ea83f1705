package attack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// configAdmin sends a request to the admin endpoint of a running Caddy.
func configAdmin(t testing.TB, s *site, method, path, contentType, body string) reply {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, "admin.sock"))
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	request.Host = "" // as the command sends it over a socket
	response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	r, err := replyOf(response)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// configWantRefused fails unless a command of the program ends with an error
// that has the texts in it. Some errors go to the log file, as configured.
func configWantRefused(t testing.TB, s *site, text, name string, texts ...string) {
	t.Helper()
	before := len(s.read("caddy.json"))
	args := []string{name, "--config", s.config(t, text), "--adapter", "caddyfile"}
	if name == "reload" {
		args = append(args, "--force", "--address", "unix/"+filepath.Join(s.dir, "admin.sock"))
	}
	cmd := s.command(t, args...)
	end := time.AfterFunc(60*time.Second, func() { _ = cmd.Process.Kill() })
	out, err := cmd.CombinedOutput()
	if !end.Stop() {
		t.Errorf("caddy %s goes on with it", name)
		return
	}
	if err == nil {
		t.Errorf("caddy %s takes it", name)
		return
	}
	said := configPlain(string(out) + s.read("caddy.json")[before:])
	for _, text := range texts {
		if !strings.Contains(said, text) {
			t.Errorf("caddy %s does not say %q:\n%s", name, text, said)
		}
	}
}

// configPlain is what a JSON log says, as people read it.
func configPlain(text string) string { return strings.ReplaceAll(text, `\"`, `"`) }

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

const configEmptyPEM = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"

// Security material that is missing, empty or broken is never the feature
// turned off: the configuration is refused with the name of the option, and the
// one before goes on to guard.
func TestR14UnsafeConfigurationsAreRefusedAndTheOldOneGoesOn(t *testing.T) {
	t.Parallel()
	gate := "require_session \"IT Admins\"\nreverse_proxy UPSTREAM"
	s, text := prepare(t, setup{site: gate})
	s.run(t, text)
	maria, outsider := s.signIn(t, maria), s.signIn(t, juan)
	ca, err := realserver.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := ca.Issue(t.TempDir(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	missing, empty := filepath.Join(t.TempDir(), "missing"), configFile(t, "empty", "", 0o600)
	public := configFile(t, "public", configKey(), 0o644)
	block := func(lines string) setup { return setup{site: gate, block: "servers DIRECTORY\n" + lines} }
	auth := func(lines string) setup { return setup{site: gate, auth: lines} }
	sessions := func(lines string) setup { return setup{site: gate, sessions: lines} }
	on := func(lines string) setup { return setup{site: lines + "\nreverse_proxy UPSTREAM"} }
	for name, row := range map[string]struct {
		unsafe setup
		named  string
	}{
		"missing CA file":                  {block("ca_file " + missing), "ca_file"},
		"empty CA file":                    {block("ca_file " + empty), "ca_file"},
		"CA file without a certificate":    {block("ca_file " + configFile(t, "ca.pem", configEmptyPEM, 0o600)), "ca_file"},
		"CA file with a key":               {block("ca_file " + key), "ca_file"},
		"CA file that is a folder":         {block("ca_file " + t.TempDir()), "ca_file"},
		"CA file of an unset variable":     {block("ca_file {env.CADDY_LDAP_UNSET}"), "ca_file"},
		"CA file without a name":           {block("ca_file {$CADDY_LDAP_UNSET}"), "ca_file"},
		"missing client key":               {block("client_cert " + certificate + " " + missing), "client_cert"},
		"empty client key":                 {block("client_cert " + certificate + " " + empty), "client_cert"},
		"client certificate without a key": {block("client_cert " + certificate), "client_cert"},
		"password of an unset variable":    {block("bind svc@empresa.local {env.CADDY_LDAP_UNSET}"), "bind"},
		"password of a missing file":       {block("bind svc@empresa.local {file." + missing + "}"), "bind"},
		"password of an empty file":        {block("bind svc@empresa.local {file." + empty + "}"), "bind"},
		"empty password":                   {block(`bind svc@empresa.local ""`), "bind"},
		"password left out":                {block("bind svc@empresa.local {$CADDY_LDAP_UNSET}"), "bind"},
		"remote server in the clear":       {setup{site: gate, block: "servers ldap://dc1.empresa.local"}, "servers"},
		"remote server of a variable":      {setup{site: gate, block: "servers {env.CADDY_LDAP_UNSET}"}, "servers"},
		"no servers":                       {setup{site: gate, block: "servers"}, "servers"},
		"start_tls off":                    {block("start_tls off"), "start_tls"},
		"filter that ignores the name":     {block("user_filter (uid=ac12345)"), "user_filter"},
		"unknown option of a directory":    {block("ca_files " + certificate), "ca_files"},
		"empty address list":               {auth("trusted_ips"), "trusted_ips"},
		"address list of a variable":       {auth("trusted_ips {$CADDY_LDAP_UNSET}"), "trusted_ips"},
		"blank address":                    {auth(`trusted_ips ""`), "trusted_ips"},
		"bad network":                      {auth("trusted_ips 10.0.0.0/33"), "trusted_ips"},
		"bad network beside a good one":    {on("require_session {\ntrusted_ips 127.0.0.1 10.0.0\n}"), "trusted_ips"},
		"addresses that clients choose":    {setup{site: gate, auth: "trusted_ips 127.0.0.1", server: "trusted_proxies static 127.0.0.1"}, "trusted_ips"},
		"empty origins":                    {auth("trusted_origins"), "trusted_origins"},
		"every origin":                     {auth("trusted_origins *"), "trusted_origins"},
		"null origin":                      {auth("trusted_origins null"), "trusted_origins"},
		"csrf off":                         {auth("csrf off"), "csrf"},
		"throttle off":                     {auth("throttle off"), "throttle"},
		"throttle of nothing":              {auth("throttle account 0 15m"), "throttle"},
		"blank group":                      {on(`require_session ""`), "group"},
		"requirement without a group":      {on("require_session {\nrequire /admin/*\n}"), "require"},
		"requirement with a blank group":   {on("require_session {\nrequire /admin/* \"\"\n}"), "require"},
		"group of a broken SID":            {on("require_session S-1-5-x"), "S-1-5-x"},
		"empty public":                     {on("require_session {\npublic\n}"), "public"},
		"everything public":                {on("require_session {\npublic *\n}"), "public"},
		"public path that is not one":      {on("require_session {\npublic /a/../b\n}"), "public"},
		"empty directories":                {on("require_session {\ndirectories\n}"), "directories"},
		"unknown directory":                {on("require_session {\ndirectories otra.local\n}"), "directories"},
		"gate of some paths":               {on("require_session /admin/*"), "path"},
		"unknown option of the gate":       {on("require_session {\nrequired /admin/* x\n}"), "required"},
		"matcher without a group":          {on("@x session_group\nrespond @x x\nrequire_session"), "session_group"},
		"unknown block":                    {sessions("}\nsession {"), "session"},
		"endless sessions":                 {sessions("idle_timeout off"), "off"},
		"cookie with a prefix of its own":  {sessions("cookie_name __Host-sid"), "cookie_name"},
		"unknown same_site":                {sessions("same_site off"), "same_site"},
	} {
		configWantKept(t, s, name, s.caddyfile(row.unsafe), row.named, maria, outsider)
	}
	for name, file := range map[string]string{
		"missing key": missing, "empty key": empty, "key that is a folder": t.TempDir(), "key that others read": public,
		"short key": configFile(t, "short", configKey()[:20], 0o600), "key of an unset variable": "{env.CADDY_LDAP_UNSET}", "key of a file that is no key": certificate,
	} {
		configWantKept(t, s, name, configKeyed(text, file), "encryption_key", maria, outsider)
	}
	// Without our option the directives guard nothing: they do not load either.
	without := text[:strings.Index(text, "ldap_auth {")] + "}" + text[strings.Index(text, "\nhttp://"):]
	configWantKept(t, s, "the option left out", without, "ldap_auth", maria, outsider)

	// Looking at configurations beside it does nothing to a running server.
	for _, name := range []string{"validate", "adapt"} {
		if err := s.tell(t, text, name); err != nil {
			t.Error(err)
		}
	}
	if r := configAdmin(t, s, "POST", "/load", "text/caddyfile", text); r.status != 200 {
		t.Errorf("the good configuration: %d %s", r.status, r.body)
	}
	wantServed(t, maria.get(t, "/"))
}

// configKeyed gives a configuration's storage an encryption key.
func configKeyed(text, file string) string {
	i := strings.Index(text, "storage badger ")
	end := i + strings.IndexByte(text[i:], '\n')
	return text[:end] + " {\nencryption_key " + file + "\n}" + text[end:]
}

// configWantKept fails unless a configuration is refused, with the option's
// name, while the one before guards as it did.
func configWantKept(t *testing.T, s *site, name, text, named string, insider, outsider session) {
	t.Helper()
	r := configAdmin(t, s, "POST", "/load", "text/caddyfile", text)
	if r.status != http.StatusBadRequest || !strings.Contains(r.body, named) {
		t.Errorf("%s: got %d %q, want a refusal that names %s", name, r.status, r.body, named)
	}
	wantRefused(t, s.do(t, "GET", "/", ""))
	wantServed(t, insider.get(t, "/"))
	wantCode(t, outsider.get(t, "/"), 403, "group_required")
}

// Without the authorities that it was told to trust, nobody is trusted: not the
// system's instead. Neither does a start serve, nor a reload change anything.
func TestP23AuthoritiesThatCannotBeReadAreNotReplacedByTheSystems(t *testing.T) {
	t.Parallel()
	good, text := prepare(t, setup{})
	good.run(t, text)
	juan := good.signIn(t, juan)
	for name, file := range map[string]string{
		"missing": filepath.Join(t.TempDir(), "missing.pem"),
		"empty":   configFile(t, "empty.pem", "", 0o600),
		"garbage": configFile(t, "garbage.pem", "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n", 0o600),
	} {
		t.Run(name, func(t *testing.T) {
			unsafe := setup{block: "servers DIRECTORY\nca_file " + file}
			s, text := prepare(t, unsafe)
			if name == "missing" {
				configWantRefused(t, s, text, "validate", "ca_file", file)
			}
			configWantRefused(t, s, text, "run", "ca_file", file)
			if conn, err := net.Dial("tcp", "127.0.0.1:"+s.port); err == nil {
				conn.Close()
				t.Error("something listens")
			}
			configWantRefused(t, good, good.caddyfile(unsafe), "reload", "ca_file", file)
			wantServed(t, juan.get(t, "/"))
			wantRefused(t, good.do(t, "GET", "/", ""))
			good.signIn(t, maria)
		})
	}
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
			configWantRefused(t, s, text, "validate", row.named)
			configWantRefused(t, s, text, "run", row.named)
			if s.echo.Count() != 0 || s.read("sessions/MANIFEST") != "" {
				t.Error("something was opened")
			}
		})
	}
	// A second server of the same sessions, and one with another key, do not
	// start beside or over the first.
	t.Run("sessions of another", func(t *testing.T) {
		t.Parallel()
		s, text := prepare(t, setup{})
		key := configFile(t, "key", configKey(), 0o600)
		text = configKeyed(text, key)
		s.run(t, text)
		token := s.signIn(t, juan)
		if err := s.tell(t, text, "validate"); err != nil {
			t.Error(err)
		}
		second := strings.ReplaceAll(strings.ReplaceAll(text, ":"+s.port, ":"+freePort(t)), "admin.sock", "admin2.sock")
		configWantRefused(t, s, second, "run", "is in use by another process")
		wantServed(t, token.get(t, "/"))
		s.child.Stop()
		for name, other := range map[string]string{"no key": strings.Replace(text, " {\nencryption_key "+key+"\n}", "", 1), "another key": configKeyed(strings.Replace(text, " {\nencryption_key "+key+"\n}", "", 1), configFile(t, "other", configKey(), 0o600))} {
			t.Run(name, func(t *testing.T) { configWantRefused(t, s, other, "run", "encryption_key") })
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
		r := configAdmin(t, s, "GET", path, "", "")
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
