package caddyauth

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// validate does what `caddy validate` does.
func validate(t *testing.T, config []byte) error {
	t.Helper()
	parsed := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON(config, parsed); err != nil {
		t.Fatalf("reading the configuration: %v", err)
	}
	if parsed.Logging == nil {
		parsed.Logging = new(caddy.Logging)
	}
	if parsed.Logging.Logs == nil {
		parsed.Logging.Logs = make(map[string]*caddy.CustomLog)
	}
	if parsed.Logging.Logs["default"] == nil {
		parsed.Logging.Logs["default"] = new(caddy.CustomLog)
	}
	parsed.Logging.Logs["default"].WriterRaw = json.RawMessage(`{"output":"test_capture"}`)
	return caddy.Validate(parsed)
}

// syntaxBlocks returns the syntax in the doc comments of caddyfile.go, by the
// first word.
func syntaxBlocks(t *testing.T) map[string]string {
	t.Helper()
	source, err := os.ReadFile("caddyfile.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := make(map[string]string)
	for _, match := range regexp.MustCompile(`Syntax:\n//\n((?://\t.*\n)+)`).FindAllStringSubmatch(string(source), -1) {
		block := strings.ReplaceAll(match[1], "//\t", "")
		blocks[strings.Fields(block)[0]] = block
	}
	if len(blocks) != 6 {
		t.Fatalf("found %d syntax blocks in caddyfile.go, want 6", len(blocks))
	}
	return blocks
}

func TestSyntaxInCommentsIsTheOneInREADME(t *testing.T) {
	blocks := syntaxBlocks(t)
	shown := fencedBlocks(t, "README.md", "text")
	if len(shown) != len(blocks) {
		t.Errorf("README.md shows %d syntax blocks, caddyfile.go has %d", len(shown), len(blocks))
	}
	for _, block := range shown {
		name := strings.Fields(block)[0]
		if block != blocks[name] {
			t.Errorf("README.md shows of %s:\n%s\ncaddyfile.go says:\n%s", name, block, blocks[name])
		}
	}
}

// TestEverySyntaxAdapts fills in the syntax blocks, in every alternative that
// they offer, and loads the result.
func TestEverySyntaxAdapts(t *testing.T) {
	const auth = "ldap_auth {\ndirectory corp.example.com {\nservers ldaps://dc1.corp.example.com\n}\n%s}"
	blocks := syntaxBlocks(t)
	for name, around := range map[string]string{
		"ldap_auth":       "{\n%s}\n:8080 {\nrequire_session\n}",
		"ldap_login":      "{\n" + fmt.Sprintf(auth, "") + "\n}\n:8080 {\n@inside client_ip 10.0.0.0/8\n%s}",
		"require_session": "{\n" + fmt.Sprintf(auth, "") + "\n}\n:8080 {\n@inside client_ip 10.0.0.0/8\n%s}",
		"session_group":   "{\n" + fmt.Sprintf(auth, "") + "\n}\n:8080 {\n@a {\n%s}\nrespond @a ok\n}",
		"badger":          "{\n" + fmt.Sprintf(auth, "sessions {\nstorage %s}\n") + "\n}\n:8080 {\nrequire_session\n}",
		"redis":           "{\n" + fmt.Sprintf(auth, "sessions {\nstorage %s}\n") + "\n}\n:8080 {\nrequire_session\n}",
	} {
		for _, filled := range compatible(fillIn(t, blocks[name])) {
			t.Run(name, func(t *testing.T) {
				text := fmt.Sprintf(around, filled)
				config, err := adapt(text)
				if err != nil {
					t.Fatalf("adapting:\n%s\n%v", text, err)
				}
				if err := validate(t, config); err != nil {
					t.Fatalf("loading:\n%s\n%v", text, err)
				}
			})
		}
	}
}

// fillIn returns a syntax block with values: first with the first alternative
// of every line, then one block for each further alternative of a line.
func fillIn(t *testing.T, block string) []string {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(block, "\n"), "\n")
	alternatives := make([][]string, len(lines))
	first := make([]string, len(lines))
	for i, line := range lines {
		alternatives[i] = fillLine(t, strings.TrimSpace(line))
		first[i] = alternatives[i][0]
	}
	blocks := []string{strings.Join(first, "\n") + "\n"}
	for i, of := range alternatives {
		for _, other := range of[1:] {
			changed := slices.Clone(first)
			changed[i] = other
			blocks = append(blocks, strings.Join(changed, "\n")+"\n")
		}
	}
	return blocks
}

// compatible returns each block twice: with the one half of the options that do
// not go together, and with the other.
func compatible(blocks []string) []string {
	var all []string
	for _, block := range blocks {
		ad := strings.Contains(block, "directory corp.example.com ad ")
		for _, without := range [][]string{
			{"throttle insecure_off", "email_attribute", "cluster"}, {"throttle account", "throttle source", "email ", "sentinel"},
		} {
			kept := slices.DeleteFunc(strings.Split(block, "\n"), func(line string) bool {
				return ad && strings.HasPrefix(line, "group_filter") ||
					slices.ContainsFunc(without, func(option string) bool { return strings.HasPrefix(line, option) })
			})
			all = append(all, strings.Join(kept, "\n"))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// fillLine returns what a line of the notation stands for.
func fillLine(t *testing.T, line string) []string {
	t.Helper()
	line, brace := strings.CutSuffix(line, " {")
	option, arguments, _ := strings.Cut(line, " ")
	var filled []string
	for _, alternative := range splitOutside(strings.TrimSpace(arguments)) {
		realised := []string{option}
		for _, word := range strings.Fields(alternative) {
			var next []string
			for _, value := range fillWord(t, option, word) {
				for _, before := range realised {
					next = append(next, strings.TrimSpace(before+" "+value))
				}
			}
			realised = next
		}
		filled = append(filled, realised...)
	}
	if brace {
		for i := range filled {
			filled[i] += " {"
		}
	}
	return filled
}

// splitOutside splits at the bars that are not in brackets.
func splitOutside(s string) []string {
	if strings.HasPrefix(s, "[") || !strings.Contains(s, "|") || strings.Contains(s, "[") {
		return []string{s}
	}
	return strings.Split(s, "|")
}

func fillWord(t *testing.T, option, word string) []string {
	t.Helper()
	if inner, ok := strings.CutPrefix(word, "["); ok {
		values := []string{""}
		for _, alternative := range strings.Split(strings.TrimSuffix(inner, "]"), "|") {
			values = append(values, fillWord(t, option, alternative)...)
		}
		return values
	}
	if !strings.HasPrefix(word, "<") {
		return []string{word}
	}
	switch option + " " + word {
	case "bind <user>":
		return []string{"cn=caddy,dc=corp,dc=example,dc=com"}
	case "password_url <url>":
		return []string{"https://password.example.com/"}
	case "group_filter <filter>":
		return []string{"(member={dn})"}
	case "ca_file <pem>":
		return []string{testCA(t)}
	case "client_cert <pem>":
		certificate, key := testCertificate(t)
		return []string{certificate + " " + key}
	case "logo <file>":
		return []string{logoFile(t, testLogo)}
	case "privacy_url <url>":
		return []string{"/privacy/"}
	case "encryption_key <file>":
		return []string{keyFile(t, strings.Repeat("0f", 32), 0o600)}
	case "client_cert <key>":
		return []string{""} // with its certificate
	}
	word, several := strings.CutSuffix(word, "...")
	values, ok := map[string][2]string{
		"<domain>":    {"corp.example.com"},
		"<label>":     {"corp.example.com", "corp.example.com"},
		"<url>":       {"ldap://dc1.corp.example.com", "ldap://dc2.corp.example.com:3890"},
		"<user>":      {"X-Auth-User"},
		"<password>":  {`"pass word"`},
		"<dn>":        {"dc=corp,dc=example,dc=com"},
		"<filter>":    {"(uid={user})"},
		"<attribute>": {"mail"},
		"<host>":      {"dc.corp.example.com"},
		"<duration>":  {"90s"},
		"<number>":    {"12"},
		"<failures>":  {"5"},
		"<folder>":    {"/nowhere/sessions"},
		"<address>":   {"redis1.example.com:6380", "redis2.example.com"},
		"<size>":      {"200MiB"},
		"<origin>":    {"https://app.example.com", "http://*.example.com:3000"},
		"<cidr>":      {"10.0.0.0/8", "2001:db8::1"},
		"<path>":      {"/" + option + "/", "/docs/*"},
		"<matcher>":   {"@inside"},
		"<group>":     {"Employees", `"CN=IT Admins,DC=corp,DC=example,DC=com"`},
		"<name>":      {"X-Auth-Name"}, // also a cookie's
		"<email>":     {"X-Auth-Email"},
		"<groups>":    {"X-Auth-Groups"},
		"<text>":      {`"Corp's intranet"`},
		"<language>":  {"de"},
		"<colour>":    {`"#0a58ca"`},
	}[word]
	if !ok {
		t.Fatalf("the test has no value for %s", word)
	}
	if several {
		return []string{values[0], values[0] + " " + values[1]}
	}
	return []string{values[0]}
}

// aConfig is a Caddyfile with a line to put in each place; the comments are the
// line numbers.
func aConfig(place, line string) string {
	at := func(here string) string {
		if place == here {
			return line
		}
		return ""
	}
	directory := "directory corp.example.com {\nservers ldaps://dc1.corp.example.com\n" + at("directory") + "\n}" // 3 to 6
	if place == "instead of the directory" {
		directory = line
	}
	site := at("site")
	if site == "" {
		site = "require_session {\n" + at("gate") + "\n}" // 15 to 17
	}
	return "{\nldap_auth {\n" + directory + "\nsessions {\n" + at("sessions") + // 8
		"\n}\n" + at("auth") + // 10
		"\n}\n" + at("global") + // 12
		"\n}\n:8080 {\n" + site + "\nrespond ok\n}\n"
}

func TestWrongConfigurationIsRefused(t *testing.T) {
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("TEST_EMPTY", "")
	t.Setenv("TEST_REDIS_URL", "rediss://redis.example.com")
	missing := filepath.Join(t.TempDir(), "missing")
	certificate, key := testCertificate(t)
	_, otherKey := testCertificate(t)
	const gate, trusting = "require_session {\n%s\n}", "servers {\ntrusted_proxies static 10.0.0.1\n}"

	for _, row := range []struct {
		name, place, line string
		at                int // line of the Caddyfile; 0: refused when it is loaded
		want              []string
	}{
		{"unknown option of ldap_auth", "auth", "trusted_origin https://a.example", 10, []string{"unrecognized subdirective", "trusted_origin"}},
		{"unknown option of directory", "directory", "server ldaps://a.example", 5, []string{"unrecognized subdirective", "server"}},
		{"unknown option of sessions", "sessions", "idle 1h", 8, []string{"unrecognized subdirective", "idle"}},
		{"unknown option of require_session", "gate", "publik /", 16, []string{"unrecognized subdirective", "publik"}},
		{"unknown option of ldap_login", "site", "ldap_login {\npages /a/\n}", 16, []string{"unrecognized subdirective", "pages"}},
		{"unknown option of storage", "sessions", "storage badger {\nsync\n}", 9, []string{"unrecognized subdirective", "sync"}},

		{"empty servers", "instead of the directory", "directory corp.example.com {\nservers\n}", 4, []string{"servers", "at least one"}},
		{"blank server", "instead of the directory", "directory corp.example.com {\nservers \" \"\n}", 4, []string{"servers", "empty"}},
		{"empty trusted_origins", "auth", "trusted_origins", 10, []string{"trusted_origins", "at least one"}},
		{"empty trusted_ips", "auth", "trusted_ips", 10, []string{"trusted_ips", "at least one"}},
		{"trusted_ips of an unset variable", "gate", "trusted_ips {$TEST_EMPTY}", 16, []string{"trusted_ips", "at least one"}},
		{"empty public", "gate", "public", 16, []string{"public", "at least one"}},
		{"empty forward_groups", "gate", "forward_groups", 16, []string{"forward_groups", "at least one"}},
		{"empty directories", "gate", "directories", 16, []string{"directories", "at least one"}},
		{"require without anything", "gate", "require", 16, []string{"require", "group"}},
		{"require without a group", "gate", "require /admin/*", 16, []string{"require", "group"}},
		{"session_group without a group", "site", "@a session_group\nrequire_session\nrespond @a ok", 15, []string{"session_group", "at least one"}},
		{"session_group with a block", "site", "@a session_group Staff {\nx\n}\nrequire_session\nrespond @a ok", 16, []string{"session_group", "x"}},
		{"blank group of require_session", "site", `require_session " "`, 0, []string{"group name is empty"}},
		{"blank group of require", "gate", `require /a/* ""`, 0, []string{"require /a/*", "group name is empty"}},
		{"blank group of session_group", "site", "@a session_group \"\"\nrequire_session\nrespond @a ok", 15, []string{"session_group", "empty"}},

		{"option twice in ldap_auth", "auth", "csrf token\ncsrf origin", 11, []string{"csrf", "already"}},
		{"option twice in directory", "directory", "base_dn dc=a\nbase_dn dc=b", 6, []string{"base_dn", "already"}},
		{"servers twice", "directory", "servers ldaps://dc2.corp.example.com", 5, []string{"servers", "already"}},
		{"option twice in sessions", "sessions", "idle_timeout 1h\nidle_timeout 2h", 9, []string{"idle_timeout", "already"}},
		{"option twice in require_session", "gate", "identity_headers off\nidentity_headers off", 17, []string{"identity_headers", "already"}},
		{"option twice in ldap_login", "site", "ldap_login {\npage /a/\npage /b/\n}", 17, []string{"page", "already"}},
		{"ldap_auth twice", "global", "ldap_auth corp.example.com", 12, []string{"ldap_auth", "already"}},

		{"no directory", "instead of the directory", "", 0, []string{"needs a directory"}},
		{"directory without a label", "instead of the directory", "directory {\nservers ldaps://a.example\n}", 3, []string{"label"}},
		{"directory without servers that is no domain", "instead of the directory", "directory corp", 0, []string{`"corp"`, "servers", "DNS", "ldaps://"}},
		{"directory without servers that DNS cannot be asked for", "instead of the directory", "directory corp..example", 0, []string{`"corp..example"`, "servers", "ldaps://"}},
		{"two directories of one label", "auth", "directory corp.example.com {\nservers ldaps://b.example\n}", 12, []string{"corp.example.com", "already"}},
		{"two directories whose labels differ in case", "auth", "directory CORP.Example.com {\nservers ldaps://b.example\n}", 12, []string{"CORP.Example.com", "already"}},
		{"two directories without options", "auth", "directory b.example\ndirectory b.example", 11, []string{"b.example", "already"}},
		{"a directory without options twice, then with some", "instead of the directory", "directory b.example\ndirectory b.example {\nservers ldaps://b.example\n}", 6, []string{"b.example", "already"}},
		{"unknown kind", "instead of the directory", "directory corp.example.com novell {\nservers ldaps://a.example\n}", 3, []string{`"novell"`, "ad", "openldap", "389ds", "generic"}},
		{"kind and more", "instead of the directory", "directory corp.example.com ad extra {\nservers ldaps://a.example\n}", 3, []string{"extra"}},
		{"label that is no domain", "instead of the directory", "directory corp/example {\nservers ldaps://a.example\n}", 0, []string{`corp/example`, "label"}},
		{"generic without bind", "instead of the directory", "directory a.example generic {\nservers ldaps://a.example\n}", 0, []string{"bind", "service account"}},

		{"passwords in clear", "instead of the directory", "directory a.example {\nservers ldap://dc1.a.example\n}", 0, []string{"servers", `"ldap://dc1.a.example"`, "ldaps://", "start_tls"}},
		{"start_tls on ldaps", "directory", "start_tls", 0, []string{"start_tls", "ldaps://dc1.corp.example.com"}},
		{"start_tls off", "directory", "start_tls off", 5, []string{"start_tls", `"off"`}},
		{"insecure_plaintext false", "directory", "insecure_plaintext false", 5, []string{"insecure_plaintext", `"false"`}},
		{"server of another scheme", "instead of the directory", "directory a.example {\nservers https://dc1.a.example\n}", 0, []string{"servers", `"https://dc1.a.example"`}},
		{"server without a scheme", "instead of the directory", "directory a.example {\nservers dc1.a.example\n}", 0, []string{"servers", "dc1.a.example"}},
		{"server with a path", "instead of the directory", "directory a.example {\nservers ldaps://dc1.a.example/dc=a\n}", 0, []string{"servers", "host and a port"}},
		{"server with port 0", "instead of the directory", "directory a.example {\nservers ldaps://dc1.a.example:0\n}", 0, []string{"servers", "port"}},

		{"bind without a password", "directory", "bind svc@corp.example.com", 5, []string{"bind", "password"}},
		{"bind with an empty password", "directory", `bind svc@corp.example.com ""`, 5, []string{"bind", "empty"}},
		{"bind password of a missing file", "directory", "bind svc@corp.example.com {file." + missing + "}", 0, []string{"bind", "password", missing}},
		{"bind password of an empty file", "directory", "bind svc@corp.example.com {file." + file("empty", "") + "}", 0, []string{"bind", "password"}},
		{"bind password of an unset variable", "directory", "bind svc@corp.example.com {env.TEST_UNSET_PASSWORD}", 0, []string{"bind", "password", "env.TEST_UNSET_PASSWORD"}},
		{"bind password of an empty variable", "directory", "bind svc@corp.example.com {env.TEST_EMPTY}", 0, []string{"bind", "password", "env.TEST_EMPTY"}},
		{"bind user of an unset variable", "directory", "bind {env.TEST_UNSET_USER} secret", 0, []string{"bind", "user", "env.TEST_UNSET_USER"}},
		{"missing ca_file", "directory", "ca_file " + missing, 0, []string{"ca_file", missing}},
		{"ca_file without a certificate", "directory", "ca_file " + file("empty.pem", ""), 0, []string{"ca_file", "empty.pem", "no PEM certificate"}},
		{"ca_file with a key", "directory", "ca_file " + file("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0, []string{"ca_file", "key.pem"}},
		{"ca_file without an argument", "directory", "ca_file", 5, []string{"ca_file"}},
		{"base_dn that is none", "directory", "base_dn corp.example.com", 0, []string{"base_dn", `"corp.example.com"`}},
		{"group_base that is none", "directory", "group_base Groups", 0, []string{"group_base", `"Groups"`}},
		{"user_filter without the user", "directory", "user_filter (uid=jdoe)", 0, []string{"user_filter", "{user}"}},
		{"user_filter that does not parse", "directory", "user_filter (uid={user}", 0, []string{"user_filter"}},
		{"email_attribute with a blank", "directory", `email_attribute "e mail"`, 0, []string{"email_attribute", `"e mail"`}},
		{"password_url that runs scripts", "directory", "password_url javascript:alert(1)", 0, []string{"password_url", "javascript:alert(1)"}},

		{"bind without a user", "directory", `bind "" secret`, 5, []string{"bind", "empty"}},
		{"openldap without bind", "instead of the directory", "directory a.example openldap {\nservers ldaps://a.example\n}", 0, []string{"bind", "openldap"}},
		{"389ds with a user that is no DN", "instead of the directory", "directory a.example 389ds {\nservers ldaps://a.example\nbind svc secret\n}", 0, []string{"bind", `"svc"`, "DN"}},
		{"empty domains", "directory", "domains", 5, []string{"domains", "at least one"}},
		{"blank domain", "directory", `domains CORP ""`, 5, []string{"domains", "empty"}},
		{"domain with an @", "directory", "domains @corp.example", 0, []string{"domains", `"@corp.example"`}},
		{"domains twice", "directory", "domains A\ndomains B", 6, []string{"domains", "already"}},
		{"group_filter without a DN or user", "directory", "group_filter (member=x)", 0, []string{"group_filter", "{dn}"}},
		{"group_filter that does not parse", "directory", "group_filter (member={dn}", 0, []string{"group_filter"}},
		{"group_filter that lets the DN choose the attribute", "directory", "group_filter ({dn}=x)", 0, []string{"group_filter"}},
		{"group_filter on ad", "instead of the directory", "directory a.example ad {\nservers ldaps://a.example\ngroup_filter (member={dn})\n}", 0, []string{"group_filter", "ad"}},
		{"email_attribute without a value", "directory", "email_attribute", 5, []string{"argument"}},
		{"email_attribute beside that of attributes", "directory", "email_attribute mail\nattributes {\nemail x\n}", 0, []string{"email_attribute", "attributes"}},
		{"attributes with an argument", "directory", "attributes mail", 5, []string{"mail"}},
		{"unknown attribute", "directory", "attributes {\nmail x\n}", 6, []string{"attributes", "unrecognized subdirective", "mail"}},
		{"attribute without a name", "directory", "attributes {\nid\n}", 6, []string{"id", "exactly one"}},
		{"empty attribute", "directory", "attributes {\nid \"\"\n}", 6, []string{"id", "empty"}},
		{"attribute twice", "directory", "attributes {\nid a\nid b\n}", 7, []string{"id", "already"}},
		{"attribute that is none", "directory", "attributes {\ntitle \"job title\"\n}", 0, []string{"attributes", "title", `"job title"`}},
		{"no id", "directory", "attributes {\nid -\n}", 0, []string{"attributes", "id"}},
		{"no username", "directory", "attributes {\nusername -\n}", 0, []string{"attributes", "username"}},
		{"client_cert without a key", "directory", "client_cert /a.pem", 5, []string{"client_cert", "key"}},
		{"client_cert with three files", "directory", "client_cert /a.pem /b.pem /c.pem", 5, []string{"client_cert", "key"}},
		{"client_cert with an empty key", "directory", `client_cert /a.pem ""`, 5, []string{"client_cert", "key"}},
		{"missing client_cert", "directory", "client_cert " + missing + " " + key, 0, []string{"client_cert", missing}},
		{"missing key of client_cert", "directory", "client_cert " + certificate + " " + missing, 0, []string{"client_cert", missing}},
		{"client_cert with the key of another", "directory", "client_cert " + certificate + " " + otherKey, 0, []string{"client_cert", certificate, otherKey}},
		{"client_cert the wrong way round", "directory", "client_cert " + key + " " + certificate, 0, []string{"client_cert", certificate}},
		{"connections 0", "directory", "connections 0", 5, []string{"connections", `"0"`}},
		{"connections that are no number", "directory", "connections many", 5, []string{"connections", `"many"`}},
		{"too many connections", "directory", "connections 1001", 0, []string{"connections", "1001", "1000"}},
		{"negative queue", "directory", "queue -1", 5, []string{"queue", `"-1"`}},
		{"queue off", "directory", "queue off", 5, []string{"queue", `"off"`}},
		{"too long a queue", "directory", "queue 100001", 0, []string{"queue", "100001"}},
		{"timeout without a unit", "directory", "timeout 10", 5, []string{`"10"`, "duration"}},
		{"timeout 0", "directory", "timeout 0s", 5, []string{`"0s"`}},
		{"timeout of an hour", "directory", "timeout 1h", 0, []string{"timeout", "1h0m0s", "5m"}},
		{"recheck off", "directory", "bind svc@a.example x\nrecheck off", 6, []string{`"off"`, "duration"}},
		{"recheck of a week", "directory", "bind svc@a.example x\nrecheck 7d", 0, []string{"corp.example.com", "recheck", "168h0m0s", "24h"}},
		{"recheck without a service account", "directory", "recheck 5m", 0, []string{"corp.example.com", "recheck", "bind <user> <password>"}},
		{"recheck_grace without a service account", "directory", "recheck_grace 5m", 0, []string{"corp.example.com", "recheck", "bind <user> <password>"}},
		{"recheck_grace 0", "directory", "bind svc@a.example x\nrecheck_grace 0s", 6, []string{`"0s"`}},

		{"throttle alone", "auth", "throttle", 10, []string{"throttle", "account", "source", "insecure_off"}},
		{"throttle off", "auth", "throttle off", 10, []string{"throttle", `"off"`, "insecure_off"}},
		{"throttle of something else", "auth", "throttle device 3 15m", 10, []string{"throttle", `"device"`}},
		{"throttle account without a time", "auth", "throttle account 3", 10, []string{"throttle account", "15m"}},
		{"throttle account with more", "auth", "throttle account 3 15m 1h", 10, []string{"throttle account", "15m"}},
		{"throttle account 0", "auth", "throttle account 0 15m", 10, []string{"throttle account", "0 failures"}},
		{"throttle account -1", "auth", "throttle account -1 15m", 10, []string{"throttle account", "-1 failures"}},
		{"throttle account of too many", "auth", "throttle account 1001 15m", 10, []string{"throttle account", "1001", "1000"}},
		{"throttle account that is no number", "auth", "throttle account few 15m", 10, []string{"throttle account", `"few"`}},
		{"throttle source of a bad time", "auth", "throttle source 20 soon", 10, []string{`"soon"`, "duration"}},
		{"throttle source of no time", "auth", "throttle source 20 0s", 10, []string{`"0s"`}},
		{"throttle source of too long", "auth", "throttle source 20 25h", 10, []string{"throttle source", "25h0m0s", "24h"}},
		{"throttle account twice", "auth", "throttle account 3 15m\nthrottle account 4 15m", 11, []string{"throttle account", "already"}},
		{"throttle insecure_off with a number", "auth", "throttle insecure_off 3", 10, []string{"throttle insecure_off", "nothing after it"}},
		{"throttle insecure_off twice", "auth", "throttle insecure_off\nthrottle insecure_off", 11, []string{"throttle insecure_off", "already"}},
		{"throttle insecure_off beside account", "auth", "throttle account 3 15m\nthrottle insecure_off", 11, []string{"throttle", "insecure_off", "account"}},
		{"throttle source beside insecure_off", "auth", "throttle insecure_off\nthrottle source 20 15m", 11, []string{"throttle", "insecure_off", "source"}},

		{"unknown login_hints", "directory", "login_hints on", 5, []string{"corp.example.com", "login_hints", `"on"`, "off, password or all"}},
		{"login_hints in capitals", "directory", "login_hints All", 5, []string{"login_hints", `"All"`}},
		{"login_hints without a value", "directory", "login_hints", 5, []string{"login_hints", "exactly one"}},
		{"empty login_hints", "directory", `login_hints ""`, 5, []string{"login_hints", "empty"}},
		{"two login_hints", "directory", "login_hints off all", 5, []string{"login_hints", "exactly one"}},

		{"bad idle_timeout", "sessions", "idle_timeout soon", 8, []string{`"soon"`, "duration"}},
		{"idle_timeout without a unit", "sessions", "idle_timeout 60", 8, []string{`"60"`, "duration"}},
		{"idle_timeout off", "sessions", "idle_timeout off", 8, []string{`"off"`}},
		{"idle_timeout 0", "sessions", "idle_timeout 0s", 8, []string{`"0s"`}},
		{"negative absolute_timeout", "sessions", "absolute_timeout -1h", 8, []string{`"-1h"`}},
		{"per_user 0", "sessions", "per_user 0", 8, []string{"per_user", `"0"`}},
		{"negative per_user", "sessions", "per_user -1", 8, []string{"per_user", `"-1"`}},
		{"per_user without a number", "sessions", "per_user", 8, []string{"per_user", "exactly one"}},
		{"per_user of a word", "sessions", "per_user many", 8, []string{"per_user", `"many"`}},
		{"per_user over the most", "sessions", "per_user 1001", 9, []string{"per_user", "1001", "1000"}},
		{"per_user twice", "sessions", "per_user 1\nper_user 2", 9, []string{"per_user", "already"}},
		{"fresh without a duration", "gate", "fresh", 16, []string{"fresh", "exactly one"}},
		{"fresh off", "gate", "fresh off", 16, []string{`"off"`}},
		{"fresh 0", "gate", "fresh 0s", 16, []string{`"0s"`, "1s"}},
		{"tiny fresh", "gate", "fresh 999ms", 16, []string{`"999ms"`, "1s"}},
		{"fresh twice", "gate", "fresh 1h\nfresh 2h", 17, []string{"fresh", "already"}},
		{"sessions is the path of session", "site", "ldap_login {\nsessions /api/session\n}", 17, []string{"sessions", `"/api/session"`, "session already"}},
		{"page is the default path of sessions", "site", "ldap_login {\npage /accounts/sessions/\n}", 17, []string{"sessions", `"/accounts/sessions/"`, "page already"}},
		{"relative path of sessions", "site", "ldap_login {\nsessions mine\n}", 17, []string{"sessions", `"mine"`}},
		{"absolute_timeout 0", "sessions", "absolute_timeout 0s", 8, []string{`"0s"`}},
		{"endless idle_timeout", "sessions", "idle_timeout 999999999h", 8, []string{`"999999999h"`}},
		{"cookie name with a blank", "sessions", `cookie_name "a b"`, 0, []string{"cookie_name", `"a b"`}},
		{"cookie name with a prefix", "sessions", "cookie_name __Host-sid", 0, []string{"cookie_name", "cookie_prefix"}},
		{"cookie name of the CSRF cookie", "sessions", "cookie_name csrftoken", 0, []string{"cookie_name", `"csrftoken"`}},
		{"cookie name of the device cookie", "sessions", "cookie_name LDAP_device", 0, []string{"cookie_name", `"LDAP_device"`, "device cookie"}},
		{"unknown cookie_prefix", "sessions", "cookie_prefix __host-", 0, []string{"cookie_prefix", `"__host-"`, "__Host-"}},
		{"unknown same_site", "sessions", "same_site off", 0, []string{"same_site", `"off"`, "lax"}},
		{"storage without a module", "sessions", "storage", 8, []string{"storage badger"}},
		{"unknown storage", "sessions", "storage memcached", 8, []string{"ldap_auth.storage.memcached"}},
		{"storage with two folders", "sessions", "storage badger /a /b", 8, []string{"/b"}},
		{"storage with an option twice", "sessions", "storage badger {\nmin_free 1GB\nmin_free 1GB\n}", 10, []string{"min_free", "already"}},
		{"encryption_key without a file", "sessions", "storage badger {\nencryption_key\n}", 9, []string{"encryption_key", "one argument"}},
		{"encryption_key that is missing", "sessions", "storage badger {\nencryption_key " + missing + "\n}", 0, []string{"storage badger", "encryption_key", missing}},
		{"encryption_key of an unset variable", "sessions", "storage badger {\nencryption_key {env.TEST_UNSET_FILE}\n}", 0, []string{"encryption_key", "env.TEST_UNSET_FILE"}},
		{"encryption_key that is a folder", "sessions", "storage badger {\nencryption_key " + t.TempDir() + "\n}", 0, []string{"encryption_key", "not a regular file"}},
		{"min_free that is no size", "sessions", "storage badger {\nmin_free much\n}", 9, []string{"min_free", `"much"`, "512MiB"}},
		{"min_free of more than there is", "sessions", "storage badger {\nmin_free 9EiB\n}", 9, []string{"min_free", `"9EiB"`}},
		{"min_free that is too little", "sessions", "storage badger {\nmin_free 15MiB\n}", 9, []string{"min_free", "15MiB", "16 MiB"}},
		{"min_free of nothing", "sessions", "storage badger {\nmin_free 0\n}", 9, []string{"min_free", "16 MiB"}},
		{"storage folder of an unset variable", "sessions", "storage badger {env.TEST_UNSET_FOLDER}", 0, []string{"storage badger", "env.TEST_UNSET_FOLDER"}},

		{"redis without an address", "sessions", "storage redis", 8, []string{"storage redis", "an address is missing"}},
		{"redis without an address, with options", "sessions", "storage redis {\nprefix x\n}", 10, []string{"storage redis", "an address is missing"}},
		{"redis at an empty address", "sessions", `storage redis ""`, 8, []string{"storage redis", "empty", "host:port"}},
		{"redis at an unset variable", "sessions", "storage redis {$TEST_EMPTY}", 8, []string{"storage redis", "an address is missing"}},
		{"redis at an unset placeholder", "sessions", "storage redis {env.TEST_UNSET_REDIS}:6379", 0, []string{"storage redis", "env.TEST_UNSET_REDIS"}},
		{"redis at a URL", "sessions", "storage redis redis://redis.example.com:6379", 8, []string{"storage redis", "URL", "host:port"}},
		{"redis at a URL with TLS", "sessions", "storage redis rediss://redis.example.com", 8, []string{"storage redis", "rediss://", "host:port", "tls"}},
		{"redis at a URL of a placeholder", "sessions", "storage redis redis://{env.TEST_UNSET_REDIS}", 8, []string{"storage redis", "URL"}},
		{"redis at a URL from a placeholder", "sessions", "storage redis {env.TEST_REDIS_URL}", 0, []string{"storage redis", "rediss://", "tls"}},
		{"redis at a path", "sessions", "storage redis /run/redis/redis.sock", 8, []string{"storage redis", "Unix socket", "host:port"}},
		{"redis at a path with unix", "sessions", "storage redis unix//run/redis.sock", 8, []string{"storage redis", "Unix socket"}},
		{"redis at a path with unix://", "sessions", "storage redis unix:///run/redis.sock", 8, []string{"storage redis", "Unix socket"}},
		{"redis at a port alone", "sessions", "storage redis :6379", 8, []string{"storage redis", `":6379"`, "host"}},
		{"redis at an empty port", "sessions", "storage redis a.example:", 8, []string{"storage redis", `"a.example:"`, "65535"}},
		{"redis at port 0", "sessions", "storage redis a.example:0", 8, []string{"storage redis", `"0"`, "65535"}},
		{"redis at a port that is too high", "sessions", "storage redis a.example:65536", 8, []string{"storage redis", `"65536"`, "65535"}},
		{"redis at a negative port", "sessions", "storage redis a.example:-1", 8, []string{"storage redis", `"-1"`}},
		{"redis at a service's name", "sessions", "storage redis a.example:redis", 8, []string{"storage redis", `"redis"`}},
		{"redis with a database", "sessions", "storage redis a.example:6379/2", 8, []string{"storage redis", `"6379/2"`}},
		{"redis at two ports", "sessions", "storage redis a.example:1:2", 8, []string{"storage redis", `"a.example:1:2"`}},
		{"redis at addresses with a comma", "sessions", "storage redis a.example,b.example {\ncluster\n}", 8, []string{"storage redis", "a.example,b.example", "space"}},
		{"redis at two addresses", "sessions", "storage redis a.example b.example", 8, []string{"storage redis", "2 addresses", "sentinel", "cluster"}},
		{"redis at two addresses, with a block", "sessions", "storage redis a.example b.example {\ntls\n}", 10, []string{"storage redis", "2 addresses"}},
		{"redis with sentinel and cluster", "sessions", "storage redis a.example {\nsentinel mymaster\ncluster\n}", 11, []string{"sentinel and cluster"}},
		{"redis with a username alone", "sessions", "storage redis a.example {\nusername caddy\n}", 10, []string{"username", "password"}},
		{"redis with an empty password", "sessions", "storage redis a.example {\npassword {$TEST_EMPTY}\n}", 9, []string{"password", "one argument"}},
		{"redis with an empty password in quotes", "sessions", "storage redis a.example {\npassword \"\"\n}", 9, []string{"password", "empty"}},
		{"redis with a password in two words", "sessions", "storage redis a.example {\npassword a b\n}", 9, []string{"password", "one argument"}},
		{"redis with a password of an unset variable", "sessions", "storage redis a.example {\npassword {env.TEST_UNSET_PASSWORD}\n}", 0, []string{"storage redis", "password", "env.TEST_UNSET_PASSWORD"}},
		{"redis with a password of a missing file", "sessions", "storage redis a.example {\npassword {file." + missing + "}\n}", 0, []string{"storage redis", "password", "cannot be read"}},
		{"redis with a password of an empty file", "sessions", "storage redis a.example {\npassword {file." + file("empty", "") + "}\n}", 0, []string{"storage redis", "password", "is empty"}},
		{"redis with a username of an unset variable", "sessions", "storage redis a.example {\nusername {env.TEST_UNSET_USER}\npassword x\n}", 0, []string{"storage redis", "username", "env.TEST_UNSET_USER"}},
		{"redis with sentinel_password alone", "sessions", "storage redis a.example {\nsentinel_password x\n}", 10, []string{"sentinel_password is for sentinel"}},
		{"redis with sentinel_username alone", "sessions", "storage redis a.example {\nsentinel_username x\nsentinel_password x\n}", 11, []string{"sentinel_username is for sentinel"}},
		{"redis with a cluster and sentinel_password", "sessions", "storage redis a.example {\ncluster\nsentinel_password x\n}", 11, []string{"sentinel_password is for sentinel"}},
		{"redis with sentinel_username without a password", "sessions", "storage redis a.example {\nsentinel m\nsentinel_username x\n}", 11, []string{"sentinel_username", "sentinel_password"}},
		{"redis with sentinel_password of an unset variable", "sessions", "storage redis a.example {\nsentinel m\nsentinel_password {env.TEST_UNSET_PASSWORD}\n}", 0, []string{"storage redis", "sentinel_password", "env.TEST_UNSET_PASSWORD"}},
		{"redis with sentinel without a name", "sessions", "storage redis a.example {\nsentinel\n}", 9, []string{"sentinel", "one argument"}},
		{"redis with braces in the prefix", "sessions", "storage redis a.example {\nprefix {env.TEST_BIND_PASSWORD}\n}", 9, []string{"prefix", "brace"}},
		{"redis with an empty prefix", "sessions", "storage redis a.example {\nprefix \"\"\n}", 9, []string{"prefix", "empty"}},
		{"redis with a value for tls", "sessions", "storage redis a.example {\ntls on\n}", 9, []string{"tls", `"on"`}},
		{"redis with a value for cluster", "sessions", "storage redis a.example {\ncluster on\n}", 9, []string{"cluster", `"on"`}},
		{"redis with an option twice", "sessions", "storage redis a.example {\ntls\ntls\n}", 10, []string{"tls", "already"}},
		{"redis with an unknown option", "sessions", "storage redis a.example {\ndatabase 1\n}", 9, []string{"storage redis", "unrecognized subdirective", "database"}},
		{"redis with client_cert without a key", "sessions", "storage redis a.example {\nclient_cert " + certificate + "\n}", 9, []string{"client_cert", "a certificate and a key"}},
		{"redis with the key of another client_cert", "sessions", "storage redis a.example {\nclient_cert " + certificate + " " + otherKey + "\n}", 0, []string{"storage redis", "client_cert", "private key does not match"}},
		{"redis with client_cert that is missing", "sessions", "storage redis a.example {\nclient_cert " + missing + " " + key + "\n}", 0, []string{"storage redis", "client_cert", missing}},
		{"redis with ca_file that is missing", "sessions", "storage redis a.example {\nca_file " + missing + "\n}", 0, []string{"storage redis", "ca_file", missing}},
		{"redis with ca_file without a certificate", "sessions", "storage redis a.example {\nca_file " + file("none.pem", "no certificate") + "\n}", 0, []string{"storage redis", "ca_file", "no PEM certificate"}},

		{"origin without a scheme", "auth", "trusted_origins app.example.com", 10, []string{`"app.example.com"`, "http://"}},
		{"origin with a slash", "auth", "trusted_origins https://app.example.com/", 10, []string{`"https://app.example.com/"`, "slash"}},
		{"origin with a user", "auth", "trusted_origins https://a@app.example.com", 10, []string{"user names"}},
		{"every origin", "auth", "trusted_origins *", 10, []string{`"*"`}},
		{"every https origin", "auth", "trusted_origins https://*", 10, []string{`"https://*"`}},
		{"every origin of a top-level domain", "auth", "trusted_origins https://*.com", 10, []string{`"https://*.com"`, "two labels"}},
		{"null origin", "auth", "trusted_origins null", 10, []string{`"null"`}},
		{"bad origin beside a good one", "gate", "trusted_origins https://a.example ftp://a.example", 16, []string{`"ftp://a.example"`}},
		{"bad CIDR", "auth", "trusted_ips 10.0.0.0/33", 10, []string{"trusted_ips", `"10.0.0.0/33"`}},
		{"host name as CIDR", "gate", "trusted_ips localhost", 16, []string{"trusted_ips", `"localhost"`}},
		{"unknown csrf", "auth", "csrf off", 10, []string{"csrf", `"off"`, "insecure_off"}},
		{"insecure_http off", "auth", "insecure_http off", 10, []string{"insecure_http", `"off"`}},

		{"trusted_ips behind loose proxies", "global", trusting + "\n}\n:8081 {\n" + fmt.Sprintf(gate, "trusted_ips 10.0.0.0/8"), 17, []string{"trusted_ips", "trusted_proxies_strict"}},
		{"trusted_ips behind a loose Unix socket", "global", "servers {\ntrusted_proxies_unix\n}\n}\n:8081 {\n" + fmt.Sprintf(gate, "trusted_ips 10.0.0.0/8"), 17, []string{"trusted_ips", "trusted_proxies_strict"}},
		{"trusted_ips of the app behind loose proxies", "auth", "trusted_ips 10.0.0.0/8\n}\n" + trusting + "\nlog {", 20, []string{"trusted_ips", "trusted_proxies_strict"}},
		{"trusted_ips of ldap_login behind loose proxies", "global", trusting + "\n}\n:8081 {\nldap_login {\ntrusted_ips 10.0.0.0/8\n}", 17, []string{"trusted_ips", "trusted_proxies_strict"}},

		{"path matcher", "site", "require_session /admin/*", 15, []string{"matcher path", "public", "require"}},
		{"named path matcher", "site", "@a path /admin/*\nrequire_session @a", 16, []string{"matcher path", "public", "require"}},
		{"path_regexp matcher", "site", "@a path_regexp ^/admin\nrequire_session @a", 16, []string{"matcher path_regexp", "public", "require"}},
		{"expression matcher", "site", "@a expression path('/admin/*')\nrequire_session @a", 16, []string{"matcher expression", "public", "require"}},
		{"method matcher", "site", "@a method POST\nrequire_session @a", 16, []string{"matcher method", "public", "require"}},
		{"header matcher beside host", "site", "@a {\nhost a.example\nheader X-A b\n}\nrequire_session @a", 19, []string{"matcher header", "public", "require"}},
		{"not path matcher", "site", "@a not path /public/*\nrequire_session @a", 16, []string{"matcher path", "public", "require"}},
		{"not not path matcher", "site", "@a {\nnot {\nnot path /admin/*\n}\n}\nrequire_session @a", 20, []string{"matcher path", "public", "require"}},
		{"session_group as matcher of the gate", "site", "@a session_group Staff\nrequire_session @a", 16, []string{"matcher session_group", "public", "require"}},
		{"group spelled like a matcher", "site", "require_session @staff", 15, []string{"@staff", "a * before it"}},

		{"public without a slash", "gate", "public docs/*", 0, []string{"public", `"docs/*"`}},
		{"public with a * inside", "gate", "public /a*/b", 0, []string{"public", `"/a*/b"`}},
		{"public *", "gate", "public *", 0, []string{"public", `"*"`}},
		{"public with a suffix *", "gate", "public /static*", 0, []string{"public", `"/static*"`}},
		{"public with dot segments", "gate", "public /a/../b", 0, []string{"public", `"/a/../b"`}},
		{"public with an empty segment", "gate", "public /a//b", 0, []string{"public", `"/a//b"`}},
		{"public with an encoded character", "gate", "public /a%20b", 0, []string{"public", `"/a%20b"`}},
		{"require with a query", "gate", "require /a?b Staff", 0, []string{"require", `"/a?b"`}},
		{"require with a last dot", "gate", "require /a. Staff", 0, []string{"require", `"/a."`}},
		{"three identity headers", "gate", "identity_headers A B C", 16, []string{"identity_headers", "four"}},
		{"identity_headers on", "gate", "identity_headers on", 16, []string{"identity_headers", "four"}},
		{"identity header that CGI servers fold", "gate", "identity_headers Remote_User B C D", 0, []string{"identity_headers", `"Remote_User"`}},
		{"identity header with a meaning", "gate", "identity_headers Authorization B C D", 0, []string{"identity_headers", `"Authorization"`}},
		{"identity header twice", "gate", "identity_headers A-A a--a C D", 0, []string{"identity_headers", `"a--a"`}},
		{"unknown directory", "gate", "directories b.example", 0, []string{"directories", `"b.example"`}},
		{"directory in other letters", "gate", "directories CORP.example.com", 0, []string{"directories", `"CORP.example.com"`}},

		{"sign-in path without a slash", "site", "ldap_login {\npage signin\n}", 0, []string{"ldap_login", "page", `"signin"`}},
		{"sign-in path /", "site", "ldap_login {\nlogout /\n}", 0, []string{"ldap_login", "logout", `"/"`}},
		{"one path for two routes", "site", "ldap_login {\napi /a/\nsession /a\n}", 0, []string{"ldap_login", "session", `"/a"`, "api"}},
		{"home on another site", "site", "ldap_login {\nhome //evil.example\n}", 0, []string{"ldap_login", "home"}},
		{"home with a scheme", "site", "ldap_login {\nhome https://evil.example/\n}", 0, []string{"ldap_login", "home"}},
		{"ldap_login with an argument", "site", "ldap_login signin", 15, []string{"ldap_login takes no matcher"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := aConfig(row.place, row.line)
			config, err := adapt(text)
			adapted := err == nil
			if adapted {
				err = validate(t, config)
			}
			if err == nil {
				t.Fatalf("no error for:\n%s", text)
			}
			if row.at > 0 && adapted {
				t.Errorf("adapted, and refused only at load: %v", err)
			}
			if row.at > 0 && !strings.Contains(err.Error(), fmt.Sprintf("Caddyfile:%d", row.at)) {
				t.Errorf("the error does not name Caddyfile:%d: %v", row.at, err)
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not have %s: %v", want, err)
				}
			}
		})
	}
}

func TestCaddyfileBecomesThisJSON(t *testing.T) {
	const (
		app  = "apps.ldap_auth"
		gate = "apps.http.servers.srv0.routes.0.handle.0"
	)
	for _, row := range []struct{ name, place, line, at, want string }{
		{"the shortest", "", "", app, `{"directories":[{"label":"corp.example.com","servers":["ldaps://dc1.corp.example.com"]}]}`},
		{"gate alone", "", "", gate, `{"handler":"require_session"}`},
		{"kind and servers", "instead of the directory", "directory a.example generic {\nservers ldap://1.a.example ldap://2.a.example\nstart_tls\nbind cn=a,dc=b {env.PW}\n}", app, `{"directories":[{"bind_password":"{env.PW}","bind_user":"cn=a,dc=b","kind":"generic","label":"a.example","servers":["ldap://1.a.example","ldap://2.a.example"],"start_tls":true}]}`},
		{"directory options", "directory", "base_dn dc=a\ngroup_base dc=b\nuser_filter (uid={user})\nca_file /ca.pem\nserver_name dc\ninsecure_plaintext\npassword_url https://a.example/\nlogin_hints off", app, `{"directories":[{"base_dn":"dc=a","ca_file":"/ca.pem","group_base":"dc=b","insecure_plaintext":true,"label":"corp.example.com","login_hints":"off","password_url":"https://a.example/","server_name":"dc","servers":["ldaps://dc1.corp.example.com"],"user_filter":"(uid={user})"}]}`},
		{"empty email_attribute stays one", "directory", `email_attribute ""`, app, `{"directories":[{"email_attribute":"","label":"corp.example.com","servers":["ldaps://dc1.corp.example.com"]}]}`},
		{"further directory options", "directory", "domains A b.example\ngroup_filter (member={dn})\nclient_cert /c.pem /k.pem\nconnections 3\nqueue 5\ntimeout 20s\nbind svc x\nrecheck 2m\nrecheck_grace 3h", app + ".directories.0", `{"bind_password":"x","bind_user":"svc","client_cert":{"certificate":"/c.pem","key":"/k.pem"},"connections":3,"domains":["A","b.example"],"group_filter":"(member={dn})","label":"corp.example.com","queue":5,"recheck":120000000000,"recheck_grace":10800000000000,"servers":["ldaps://dc1.corp.example.com"],"timeout":20000000000}`},
		{"attributes", "directory", "attributes {\nid i\nusername u\nfirst_name f\nlast_name l\ndisplay_name d\nemail e\nupn -\ntitle t\nmanager -\nmember_of m\ngroup_name g\npassword_set p\n}", app + ".directories.0.attributes", `{"display_name":"d","email":"e","first_name":"f","group_name":"g","id":"i","last_name":"l","manager":"-","member_of":"m","password_set":"p","title":"t","upn":"-","username":"u"}`},
		{"two directories in their order", "auth", "directory b.example openldap {\nbind cn=a x\n}", app + ".directories", `[{"label":"corp.example.com","servers":["ldaps://dc1.corp.example.com"]},{"bind_password":"x","bind_user":"cn=a","kind":"openldap","label":"b.example"}]`},
		{"throttle", "auth", "throttle source 50 1h\nthrottle account 5 10m", app + ".throttle", `{"account":{"failures":5,"window":600000000000},"source":{"failures":50,"window":3600000000000}}`},
		{"half a throttle", "auth", "throttle account 1 1s", app + ".throttle", `{"account":{"failures":1,"window":1000000000}}`},
		{"no throttle", "auth", "throttle insecure_off", app + ".throttle", `{"insecure_off":true}`},
		{"sessions", "sessions", "idle_timeout 30m\nabsolute_timeout 1d\nper_user 1000\nbrowser_close\ncookie_name sid\ncookie_prefix __Host-\nsame_site strict\nstorage badger /s", app + ".sessions", `{"absolute_timeout":86400000000000,"browser_close":true,"cookie_name":"sid","cookie_prefix":"__Host-","idle_timeout":1800000000000,"per_user":1000,"same_site":"strict","storage":{"folder":"/s","module":"badger"}}`},
		{"absolute_timeout off is not the default", "sessions", "absolute_timeout off", app + ".sessions", `{"absolute_timeout":0}`},
		{"storage with options", "sessions", "storage badger /s {\nencryption_key /run/secrets/key\nmin_free 1GiB\n}", app + ".sessions", `{"storage":{"encryption_key":"/run/secrets/key","folder":"/s","min_free":1073741824,"module":"badger"}}`},
		{"redis", "sessions", "storage redis 10.0.0.7", app + ".sessions", `{"storage":{"addresses":["10.0.0.7"],"module":"redis"}}`},
		{"redis with options", "sessions", "storage redis {env.REDIS} {\nusername caddy\npassword {file./run/secrets/redis}\ntls\nca_file /ca.pem\nserver_name redis.example.com\nclient_cert /c.pem /k.pem\nprefix site-a\n}", app + ".sessions",
			`{"storage":{"addresses":["{env.REDIS}"],"ca_file":"/ca.pem","client_cert":{"certificate":"/c.pem","key":"/k.pem"},"module":"redis","password":"{file./run/secrets/redis}","prefix":"site-a","server_name":"redis.example.com","tls":true,"username":"caddy"}}`},
		{"redis by sentinels", "sessions", "storage redis a.example b.example:26380 {\nsentinel mymaster\nsentinel_username w\nsentinel_password {env.W}\n}", app + ".sessions",
			`{"storage":{"addresses":["a.example","b.example:26380"],"module":"redis","sentinel":"mymaster","sentinel_password":"{env.W}","sentinel_username":"w"}}`},
		{"redis in a cluster", "sessions", "storage redis a.example [2001:db8::1]:7000 {\ncluster\n}", app + ".sessions",
			`{"storage":{"addresses":["a.example","[2001:db8::1]:7000"],"cluster":true,"module":"redis"}}`},
		{"default folder", "sessions", "storage badger", app + ".sessions", `{"storage":{"module":"badger"}}`},
		{"policy of the app", "auth", "trusted_origins https://a.example http://*.b.example:3000\ntrusted_ips private_ranges 192.0.2.7\ncsrf origin\ninsecure_http", app, `{"csrf":"origin","directories":[{"label":"corp.example.com","servers":["ldaps://dc1.corp.example.com"]}],"insecure_http":true,"trusted_ips":["private_ranges","192.0.2.7"],"trusted_origins":["https://a.example","http://*.b.example:3000"]}`},
		{"policy of a gate", "gate", "trusted_origins https://a.example\ntrusted_ips 10.0.0.0/8\ncsrf insecure_off\ninsecure_http", gate, `{"csrf":"insecure_off","handler":"require_session","insecure_http":true,"trusted_ips":["10.0.0.0/8"],"trusted_origins":["https://a.example"]}`},
		{"groups", "site", `require_session Staff "IT Admins" S-1-5-32-544`, gate, `{"groups":["Staff","IT Admins","S-1-5-32-544"],"handler":"require_session"}`},
		{"group spelled like a matcher", "site", "require_session * @staff /ops", gate, `{"groups":["@staff","/ops"],"handler":"require_session"}`},
		{"group before a group spelled like a matcher", "site", "require_session Staff @staff", gate, `{"groups":["Staff","@staff"],"handler":"require_session"}`},
		{"paths", "gate", "public / /docs/*\npublic /favicon.ico\nrequire /admin/* A B\nrequire /admin/db C", gate, `{"handler":"require_session","public":["/","/docs/*","/favicon.ico"],"require":[{"groups":["A","B"],"path":"/admin/*"},{"groups":["C"],"path":"/admin/db"}]}`},
		{"fresh", "gate", "fresh 30m", gate, `{"fresh":1800000000000,"handler":"require_session"}`},
		{"identity headers", "gate", "identity_headers A B C D\nforward_groups E F\ndirectories corp.example.com", gate, `{"directories":["corp.example.com"],"forward_groups":["E","F"],"handler":"require_session","identity_headers":{"email":"C","groups":"D","name":"B","user":"A"}}`},
		{"no identity headers", "gate", "identity_headers off", gate, `{"handler":"require_session","identity_headers":{"off":true}}`},
		{"host matcher", "site", "@a host a.example\nrequire_session @a Staff", "apps.http.servers.srv0.routes.0.handle.0.routes.0", `{"handle":[{"groups":["Staff"],"handler":"require_session"}],"match":[{"host":["a.example"]}]}`},
		{"client_ip and not remote_ip matcher", "site", "@a {\nclient_ip 10.0.0.0/8\nnot remote_ip 10.0.0.1\n}\nrequire_session @a", "apps.http.servers.srv0.routes.0", `{"handle":[{"handler":"require_session"}],"match":[{"client_ip":{"ranges":["10.0.0.0/8"]},"not":[{"remote_ip":{"ranges":["10.0.0.1"]}}]}]}`},
		{"sign-in paths", "site", "ldap_login {\npage /a/\napi /b/\nlogout /c/\nsession /d/\nsessions /g/\nhome /e?f\ncsrf origin\n}", gate, `{"api":"/b/","csrf":"origin","handler":"ldap_login","home":"/e?f","logout":"/c/","page":"/a/","session":"/d/","sessions":"/g/"}`},
		{"matcher", "site", "@a session_group Staff \"IT Admins\"\nrespond @a ok", "apps.http.servers.srv0.routes.0.match.0", `{"session_group":{"groups":["Staff","IT Admins"]}}`},
		{"sign-in before the gate before everything", "site", "header X-A b\nrequire_session\nldap_login", "apps.http.servers.srv0.routes.0", `{"handle":[{"handler":"ldap_login"},{"handler":"require_session"},{"handler":"headers","response":{"set":{"X-A":["b"]}}},{"body":"ok","handler":"static_response"}]}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			config, err := adapt(aConfig(row.place, row.line))
			if err != nil {
				t.Fatal(err)
			}
			if got := compactAt(t, config, row.at); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

// compactAt returns a part of a configuration, its keys in order.
func compactAt(t *testing.T, config []byte, path string) string {
	t.Helper()
	var part any
	if err := json.Unmarshal(config, &part); err != nil {
		t.Fatal(err)
	}
	for step := range strings.SplitSeq(path, ".") {
		switch at := part.(type) {
		case map[string]any:
			part = at[step]
		case []any:
			index, err := strconv.Atoi(step)
			if err != nil || index >= len(at) {
				t.Fatalf("nothing at %s in %s", path, config)
			}
			part = at[index]
		default:
			t.Fatalf("nothing at %s in %s", path, config)
		}
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(part); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(text.String(), "\n")
}

func TestDirectivesNeedTheGlobalOption(t *testing.T) {
	for _, directive := range []string{"ldap_login", "require_session", "require_session * Staff"} {
		t.Run(directive, func(t *testing.T) {
			_, err := adapt(":8080 {\n" + directive + "\n}\n")
			if err == nil || !strings.Contains(err.Error(), "needs the ldap_auth global option") || !strings.Contains(err.Error(), "Caddyfile:2") {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("session_group", func(t *testing.T) {
		config, err := adapt(":8080 {\n@a session_group Staff\nrespond @a ok\n}\n")
		if err == nil {
			err = validate(t, config)
		}
		if err == nil || !strings.Contains(err.Error(), "session_group needs the ldap_auth global option") {
			t.Errorf("got %v", err)
		}
	})
}

// TestADomainAlone: its servers are found by DNS, which is not asked before
// somebody signs in.
func TestADomainAlone(t *testing.T) {
	const alone = `{"directories":[{"label":"corp.example.com"}]}`
	for _, row := range []struct{ name, option, want string }{
		{"beside ldap_auth", "ldap_auth corp.example.com", alone},
		{"in the block", "ldap_auth {\ndirectory corp.example.com\n}", alone},
		{"in the block, with an empty one", "ldap_auth {\ndirectory corp.example.com {\n}\n}", alone},
		{"with a block", "ldap_auth corp.example.com {\ninsecure_http\n}", `{"directories":[{"label":"corp.example.com"}],"insecure_http":true}`},
		{"with its options in the block", "ldap_auth corp.example.com {\ndirectory corp.example.com ad {\nstart_tls\n}\n}", `{"directories":[{"kind":"ad","label":"corp.example.com","start_tls":true}]}`},
		{"with its options after another one's", "ldap_auth corp.example.com {\ndirectory b.example\ndirectory Corp.example.com {\nstart_tls\n}\n}", `{"directories":[{"label":"Corp.example.com","start_tls":true},{"label":"b.example"}]}`},
		{"beside another one", "ldap_auth corp.example.com {\ndirectory b.example\n}", `{"directories":[{"label":"corp.example.com"},{"label":"b.example"}]}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			config, err := adapt("{\n" + row.option + "\n}\n:8080 {\nrequire_session Staff\n}\n")
			if err != nil {
				t.Fatal(err)
			}
			if got := compactAt(t, config, "apps.ldap_auth"); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
			began := time.Now()
			if err := validate(t, config); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("validating took %s: was the network asked?", took)
			}
		})
	}
	for _, row := range []struct{ name, option string }{
		{"two domains", "ldap_auth corp.example.com b.example"},
		{"empty domain", `ldap_auth ""`},
		{"its options twice", "ldap_auth corp.example.com {\ndirectory corp.example.com {\nstart_tls\n}\ndirectory corp.example.com {\nstart_tls\n}\n}"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := adapt("{\n" + row.option + "\n}\n:8080 {\nrequire_session\n}\n")
			if err == nil || !strings.Contains(err.Error(), "Caddyfile:") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestErrorsShowNoSecret has the password next to what is wrong.
func TestErrorsShowNoSecret(t *testing.T) {
	const secret = "kE7-geheim"
	t.Setenv("TEST_BIND_PASSWORD", secret)
	for name, line := range map[string]string{
		"in the text around a missing placeholder": "bind svc@corp.example.com " + secret + "{env.TEST_UNSET_PASSWORD}",
		"in a server's URL":                        "",
		"of a user that is no DN":                  "bind svc {env.TEST_BIND_PASSWORD}\nbase_dn nonsense",
	} {
		t.Run(name, func(t *testing.T) {
			text := aConfig("directory", line)
			if name == "in a server's URL" {
				text = aConfig("instead of the directory", "directory corp.example.com {\nservers ldaps://svc:"+secret+"@dc1.corp.example.com\n}")
			}
			config, err := adapt(text)
			if err == nil {
				err = validate(t, config)
			}
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

// TestAWrongListInJSONIsRefused has what the Caddyfile cannot say.
func TestAWrongListInJSONIsRefused(t *testing.T) {
	const config = `{"apps":{"ldap_auth":{"directories":[{"label":"corp.example.com","servers":["ldaps://dc1.corp.example.com"]%s}]%s},
		"http":{"servers":{"s":{"routes":[{"handle":[{"handler":"require_session"%s}]}]}}}}}`
	for _, row := range []struct{ name, directory, app, gate, want string }{
		{"unknown field", "", `,"trusted_origin":["https://a.example"]`, "", "trusted_origin"},
		{"empty trusted_origins", "", `,"trusted_origins":[]`, "", "trusted_origins"},
		{"empty trusted_ips", "", `,"trusted_ips":[]`, "", "trusted_ips"},
		{"empty trusted_ips of a gate", "", "", `,"trusted_ips":[]`, "trusted_ips"},
		{"unknown csrf", "", `,"csrf":"none"`, "", `"none"`},
		{"no groups", "", "", `,"groups":[]`, "groups"},
		{"blank group", "", "", `,"groups":[" "]`, "group name is empty"},
		{"require without groups", "", "", `,"require":[{"path":"/a","groups":[]}]`, "require /a"},
		{"require without a path", "", "", `,"require":[{"groups":["A"]}]`, "require"},
		{"no forwarded groups", "", "", `,"forward_groups":[]`, "forward_groups"},
		{"no directories", "", "", `,"directories":[]`, "directories"},
		{"negative idle_timeout", "", `,"sessions":{"idle_timeout":-1}`, "", "idle_timeout"},
		{"tiny idle_timeout", "", `,"sessions":{"idle_timeout":5}`, "", "idle_timeout"},
		{"tiny absolute_timeout", "", `,"sessions":{"absolute_timeout":5}`, "", "absolute_timeout"},
		{"negative per_user", "", `,"sessions":{"per_user":-1}`, "", "per_user: -1"},
		{"per_user over the most", "", `,"sessions":{"per_user":1001}`, "", "per_user: 1001"},
		{"negative fresh", "", "", `,"fresh":-60000000000`, "fresh: -1m0s"},
		{"tiny fresh", "", "", `,"fresh":5`, "fresh: 5ns"},
		{"unknown storage", "", `,"sessions":{"storage":{"module":"none"}}`, "", "ldap_auth.storage.none"},
		{"unknown kind", `,"kind":"novell"`, "", "", `"novell"`},
		{"empty servers", `,"servers":[]`, "", "", "servers: the list is empty"},
		{"empty domains", `,"domains":[]`, "", "", "domains: the list is empty"},
		{"bind password alone", `,"bind_password":"x"`, "", "", "bind"},
		{"client_cert without a key", `,"client_cert":{"certificate":"/a.pem","key":""}`, "", "", "client_cert: it needs a certificate and a key"},
		{"empty client_cert", `,"client_cert":{}`, "", "", "client_cert: it needs a certificate and a key"},
		{"unknown attribute", `,"attributes":{"mail":"x"}`, "", "", "mail"},
		{"attribute that is none", `,"attributes":{"upn":"a b"}`, "", "", `upn "a b"`},
		{"email_attribute beside that of attributes", `,"email_attribute":"mail","attributes":{"email":"x"}`, "", "", "email_attribute"},
		{"negative connections", `,"connections":-1`, "", "", "connections: it is negative"},
		{"negative queue", `,"queue":-1`, "", "", "queue: it is negative"},
		{"negative timeout", `,"timeout":-1`, "", "", "timeout: it is negative"},
		{"tiny timeout", `,"timeout":5`, "", "", "timeout 5ns"},
		{"negative recheck", `,"bind_user":"a@b.test","bind_password":"x","recheck":-300000000000`, "", "", "recheck: -5m0s"},
		{"tiny recheck", `,"bind_user":"a@b.test","bind_password":"x","recheck":5`, "", "", "recheck: 5ns"},
		{"negative recheck_grace", `,"bind_user":"a@b.test","bind_password":"x","recheck_grace":-1`, "", "", "recheck_grace: -1ns"},
		{"recheck without a service account", `,"recheck":300000000000`, "", "", "recheck needs a service account"},
		{"throttle account without a window", "", `,"throttle":{"account":{"failures":3}}`, "", "throttle account: 0s"},
		{"throttle account without failures", "", `,"throttle":{"account":{"window":900000000000}}`, "", "throttle account: 0 failures"},
		{"negative throttle source", "", `,"throttle":{"source":{"failures":-5,"window":900000000000}}`, "", "throttle source: -5 failures"},
		{"throttle source of months", "", `,"throttle":{"source":{"failures":5,"window":9000000000000000}}`, "", "throttle source: 2500h0m0s"},
		{"throttle off and on", "", `,"throttle":{"insecure_off":true,"account":{"failures":3,"window":900000000000}}`, "", "insecure_off does not go with account"},
		{"unknown field of throttle", "", `,"throttle":{"device":{"failures":3,"window":900000000000}}`, "", "device"},
		{"a directory twice", "", `,"directories":[{"label":"a.example"},{"label":"a.example"}]`, "", "directory a.example: there are two of this label"},
		{"a directory twice in other letters", "", `,"directories":[{"label":"a.example"},{"label":"A.Example"}]`, "", "directory A.Example: there are two of this label"},
		{"a directory without a label", "", `,"directories":[{"label":"","servers":["ldaps://a.example"]}]`, "", "the label is missing"},
		{"unknown login_hints", `,"login_hints":"yes"`, "", "", `login_hints: "yes"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := validate(t, fmt.Appendf(nil, config, row.directory, row.app, row.gate))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want an error with %s", err, row.want)
			}
		})
	}
	t.Run("and without any of them it loads", func(t *testing.T) {
		if err := validate(t, fmt.Appendf(nil, config, "", "", "")); err != nil {
			t.Error(err)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		for _, config := range []string{`{"apps":{"ldap_auth":{}}}`, `{"apps":{"ldap_auth":{"directories":[]}}}`, `{"apps":{"ldap_auth":{"directories":[null]}}}`} {
			if err := validate(t, []byte(config)); err == nil || !strings.Contains(err.Error(), "directory") {
				t.Errorf("%s: got %v", config, err)
			}
		}
	})
}

// TestValidateTouchesNothing has a directory that would notice, and a folder
// that would appear.
func TestValidateTouchesNothing(t *testing.T) {
	directory, err := ldaptest.Start("127.0.0.1:0", ldaptest.Demo())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = directory.Close() })
	folder := filepath.Join(t.TempDir(), "sessions")
	config, err := adapt("{\nldap_auth {\ndirectory empresa.local {\nservers " + directory.URL() + "\nbind svc@empresa.local x\n}\nsessions {\nstorage badger " + folder +
		"\n}\n}\n}\n:8080 {\nrequire_session Empleados {\nrequire /admin/* \"IT Admins\"\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := validate(t, config); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the folder of the sessions is there: %v", err)
	}
	if n := directory.Connections() + directory.Binds() + directory.Searches(); n != 0 {
		t.Errorf("the directory was asked %d times", n)
	}
}

func TestValidateBesideARunningServer(t *testing.T) {
	s := start(t, setup{})
	client := s.signIn("ac12345")
	config, err := adapt(s.caddyfile())
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, config); err != nil {
		t.Fatalf("the folder that the server has open: %v", err)
	}
	if got := s.do("GET", "/api/session/", client.cookies); got.StatusCode != 200 {
		t.Errorf("the server lost its session: %d %s", got.StatusCode, got.body)
	}
}

// TestTruncatedDirectives cuts every directive after each of its tokens.
func TestTruncatedDirectives(t *testing.T) {
	for name, block := range syntaxBlocks(t) {
		for _, filled := range fillIn(t, block) {
			tokens, err := caddyfile.Tokenize([]byte(filled), "Caddyfile")
			if err != nil {
				t.Fatal(err)
			}
			for n := range len(tokens) + 1 {
				func() {
					defer func() {
						if panicked := recover(); panicked != nil {
							t.Errorf("%s cut after %d tokens panics: %v\n%s", name, n, panicked, filled)
						}
					}()
					_ = unmarshalers()[name].UnmarshalCaddyfile(caddyfile.NewDispenser(slices.Clone(tokens[:n])))
				}()
			}
		}
	}
}

// unmarshalers returns a new module for each directive.
func unmarshalers() map[string]caddyfile.Unmarshaler {
	return map[string]caddyfile.Unmarshaler{
		"ldap_auth":       new(App),
		"ldap_login":      new(LDAPLogin),
		"require_session": new(RequireSession),
		"session_group":   new(SessionGroup),
		"badger":          new(Badger),
		"redis":           new(Redis),
	}
}

// TestTruncatedCaddyfiles cuts whole Caddyfiles, through the adapter.
func TestTruncatedCaddyfiles(t *testing.T) {
	text := projectFile(t, "Caddyfile.example")
	for i, c := range text {
		if c == '\n' || c == ' ' {
			_, _ = adapt(text[:i])
		}
	}
}

// FuzzCaddyfile: any text is an error or a configuration, never a panic; and
// what adapts is JSON that reads back strictly.
func FuzzCaddyfile(f *testing.F) {
	f.Add("idle_timeout 1h", "require_session Staff", "public /")
	f.Add("storage badger /x\nabsolute_timeout off", "require_session @a", "require /a/* B\nidentity_headers off")
	f.Add("same_site none\ncookie_prefix __Host-", "ldap_login", "page /x/\nhome /")
	f.Add("}\ncsrf origin\n{", "@a session_group X\nrespond @a ok\nrequire_session", "trusted_ips private_ranges\ncsrf token")
	f.Add("storage redis a.example:6379 [::1] {\ncluster\nclient_cert a b\n}", "require_session", "public /")
	f.Add("storage", "require_session * @x", "identity_headers a b c")
	f.Fuzz(func(t *testing.T, sessions, site, block string) {
		if strings.Contains(sessions+site+block, "import") {
			t.Skip("import reads this machine's files")
		}
		config, err := adapt("{\nldap_auth {\ndirectory corp.example.com {\nservers ldaps://dc1.corp.example.com\n}\nsessions {\n" + sessions + "\n}\n}\n}\n:8080 {\n" + site + " {\n" + block + "\n}\n}\n")
		if err != nil {
			return
		}
		if err := caddy.StrictUnmarshalJSON(config, new(caddy.Config)); err != nil {
			t.Errorf("the adapted configuration does not read back: %v", err)
		}
	})
}
