package attack

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

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
	certificate, key := issued(t, "127.0.0.1")
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
	if r := s.admin(t, "POST", "/load", text, "Content-Type", "text/caddyfile"); r.status != 200 {
		t.Errorf("the good configuration: %d %s", r.status, r.body)
	}
	wantServed(t, maria.get(t, "/"))
}

// configWantKept fails unless a configuration is refused, with the option's
// name, while the one before guards as it did.
func configWantKept(t *testing.T, s *site, name, text, named string, insider, outsider session) {
	t.Helper()
	r := s.admin(t, "POST", "/load", text, "Content-Type", "text/caddyfile")
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
				s.wantRejected(t, text, "validate", "ca_file", file)
			}
			s.wantRejected(t, text, "run", "ca_file", file)
			if conn, err := net.Dial("tcp", "127.0.0.1:"+s.port); err == nil {
				conn.Close()
				t.Error("something listens")
			}
			good.wantRejected(t, good.caddyfile(unsafe), "reload", "ca_file", file)
			wantServed(t, juan.get(t, "/"))
			wantRefused(t, good.do(t, "GET", "/", ""))
			good.signIn(t, maria)
		})
	}
}
