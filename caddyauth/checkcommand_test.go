package caddyauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// checkRun is a run of the command.
type checkRun struct {
	exitCode       int
	output, stderr string
}

// runLDAPCheck runs the command as Caddy registers it.
func runLDAPCheck(t *testing.T, stdin string, args ...string) checkRun {
	t.Helper()
	registered, ok := caddycmd.Commands()["ldap-check"]
	if !ok {
		t.Fatal("the command is not registered")
	}
	cmd := &cobra.Command{Use: "ldap-check"}
	registered.CobraFunc(cmd)
	var out, errors bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errors)
	cmd.SetContext(t.Context())
	run := checkRun{}
	if err := cmd.Execute(); err != nil {
		if _, scanErr := fmt.Sscanf(err.Error(), "exiting with status %d", &run.exitCode); scanErr != nil {
			run.exitCode = 1
		}
	}
	run.output, run.stderr = out.String(), errors.String()
	return run
}

// checkFile writes a Caddyfile with the lines of its directories.
func checkFile(t *testing.T, directories string, site ...string) string {
	t.Helper()
	if len(site) == 0 {
		site = []string{"require_session"}
	}
	file := filepath.Join(t.TempDir(), "Caddyfile")
	text := "{\n\tldap_auth {\n" + directories + "\n\t}\n}\nhttp://127.0.0.1:18099 {\n" + strings.Join(site, "\n") + "\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func checkDirectory(t *testing.T, dir ldaptest.Directory) *ldaptest.Server {
	t.Helper()
	s, err := ldaptest.Start("127.0.0.1:0", dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

const (
	checkServiceSecret = "s3rvice-s3cret"
	checkUserSecret    = "us3r-s3cret"
)

// checkedDirectory is the demonstration's, with a service account and passwords
// that are found in no other text.
func checkedDirectory() ldaptest.Directory {
	dir := ldaptest.Demo()
	for i := range dir.Users {
		dir.Users[i].Password = checkUserSecret
	}
	dir.Users = append(dir.Users, ldaptest.User{SAMAccountName: "svc", Password: checkServiceSecret})
	return dir
}

func directoryLines(label, url string, lines ...string) string {
	return "directory " + label + " {\nservers " + url + "\n" + strings.Join(lines, "\n") + "\n}"
}

const serviceLine = "bind svc@empresa.local " + checkServiceSecret

// withoutTimes makes the output the same at each run.
func withoutTimes(text string) string {
	text = regexp.MustCompile(` +\d+ ms  `).ReplaceAllString(text, " N ms  ")
	text = regexp.MustCompile(`\(\d+ ms\)`).ReplaceAllString(text, "(N ms)")
	text = regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(text, "127.0.0.1:PORT")
	text = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(text, "UUID")
	return regexp.MustCompile(`S-1-5-21-[0-9-]+`).ReplaceAllString(text, "SID")
}

func TestLDAPCheckOutput(t *testing.T) {
	server := checkDirectory(t, checkedDirectory())
	file := checkFile(t, directoryLines("empresa.local", server.URL(), serviceLine), `require_session Ingenieria {
	require /admin/* "IT Admins" Missing
}`)
	run := runLDAPCheck(t, checkUserSecret+"\n", "--config", file, "--user", "ac12345", "--password-stdin")
	want := `configuration  ok N ms  FILE: directory "empresa.local" (kind found out, the only one), 3 groups named
dns            ok N ms  no SRV records needed, servers are configured; they are addresses
connect        ok N ms  ldap://127.0.0.1:PORT (N ms)
certificate    ok N ms  ldap://127.0.0.1:PORT: plain text
kind           ok N ms  ad (found out), at ldap://127.0.0.1:PORT; base_dn "DC=empresa,DC=local", 1 naming contexts
service_bind   ok N ms  svc@empresa.local
search         ok N ms  (&(objectCategory=person)(objectClass=user)(|(sAMAccountName=ac12345)(userPrincipalName=ac12345@empresa.local))) finds "CN=Juan Pérez,CN=Users,DC=empresa,DC=local"
account_state  ok N ms  enabled (userAccountControl 512)
               warning: msDS-User-Account-Control-Computed cannot be read: whether the account is locked, or its password expired, shows at the bind only
bind           ok N ms  the password is right for "CN=Juan Pérez,CN=Users,DC=empresa,DC=local"
identity       ok N ms  username "ac12345", id "UUID", DN "CN=Juan Pérez,CN=Users,DC=empresa,DC=local"; proven: objectSid SID is in the connection's token of 7 SIDs
groups         ok N ms  6 groups in the token; in "Ingenieria"; not in "IT Admins": where one is required, requests get 403 group_required
               warning: group "Missing" of the configuration is not found: nobody is in it: write its sAMAccountName, its DN or its SID
verdict        ok                 the sign-in gets 200
`
	if got := strings.ReplaceAll(withoutTimes(run.output), file, "FILE"); got != want || run.exitCode != 0 || run.stderr != "" {
		t.Errorf("exit code %d, standard error %q, got\n%s\nwant\n%s", run.exitCode, run.stderr, got, want)
	}
	if server.Binds() != 2 {
		t.Errorf("%d binds, want the service account's and the user's", server.Binds())
	}
}

// jsonLines reads the output of --json, and holds it against its promise.
func jsonLines(t *testing.T, output string) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(output) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for _, key := range []string{"step", "ok", "skipped", "ms", "detail", "warnings", "cause", "cure"} {
			if object[key] == nil {
				t.Errorf("no %q in %s", key, line)
			}
		}
		lines = append(lines, object)
	}
	return lines
}

func TestLDAPCheckExitCodes(t *testing.T) {
	server := checkDirectory(t, checkedDirectory())
	plain := checkedDirectory()
	plain.Plain = true
	plain.Users = append(plain.Users, ldaptest.User{SAMAccountName: "noid", Password: checkUserSecret, ExtraAttributes: map[string][]string{"entryUUID": {}}})
	for i := range 12 {
		plain.Groups = append(plain.Groups, ldaptest.Group{Name: fmt.Sprintf("deep%d", i), MemberOf: []string{fmt.Sprintf("deep%d", i+1)}})
	}
	plain.Groups = append(plain.Groups, ldaptest.Group{Name: "deep12"})
	plain.Users[1].MemberOf = append(plain.Users[1].MemberOf, "deep0")
	openldap := checkDirectory(t, plain)
	plainService := "bind uid=svc,ou=people,dc=empresa,dc=local " + checkServiceSecret
	ad := directoryLines("empresa.local", server.URL(), serviceLine)
	for _, test := range []struct {
		what        string
		directories string
		user        string
		password    string
		step        string
		code        int
		status      float64
		wire        string
		reason      string
		cure        string
	}{
		{"all is well", ad, "ac12345", checkUserSecret, "", 0, 200, "", "", ""},
		{"all is well, without a password", ad, "ac12345", "", "", 0, 0, "", "", ""},
		{"the way to the directory", ad, "", "", "", 0, 0, "", "", ""},
		{"configuration", directoryLines("empresa.local", "ldap://dc1.empresa.local", serviceLine), "", "", "configuration", 10, 0, "", "", "caddy validate"},
		{"dns", directoryLines("empresa.local", "ldaps://dc1.invalid", serviceLine), "", "", "dns", 11, 503, "directory_unavailable", "directory_unavailable", "write servers"},
		{"connect", directoryLines("empresa.local", fmt.Sprintf("ldap://127.0.0.1:%d", freePort(t))), "", "", "connect", 12, 503, "directory_unavailable", "directory_unavailable", "look at host and port"},
		{"certificate", directoryLines("empresa.local", "ldaps://"+server.Addr()), "", "", "certificate", 13, 503, "directory_unavailable", "directory_unavailable", "wrong scheme"},
		{"kind", directoryLines("empresa.local", hangingUp(t), serviceLine), "", "", "kind", 14, 503, "directory_unavailable", "directory_unavailable", "ldaps:// is mostly port 636"},
		{"service_bind off AD", directoryLines("empresa.local", openldap.URL(), "bind uid=svc,ou=people,dc=empresa,dc=local wr0ng-s3cret"), "", "", "service_bind", 15, 503, "directory_unavailable", "service_account_rejected", "check user and password of bind"},
		{"service_bind on AD", directoryLines("empresa.local", server.URL(), "bind svc@empresa.local wr0ng-s3cret"), "ac12345", checkUserSecret, "service_bind", 15, 0, "", "", "sign-ins go on without it"},
		{"search", ad, "nobody", "", "search", 16, 401, "invalid_credentials", "user_unknown", "user_filter"},
		{"search, with a password", ad, "nobody", checkUserSecret, "search", 16, 401, "invalid_credentials", "user_unknown", "rights of the service account"},
		{"search, outside of base_dn", directoryLines("empresa.local", server.URL(), serviceLine, `base_dn "OU=Empty,DC=empresa,DC=local"`), "ac12345", checkUserSecret, "search", 16, 503, "directory_unavailable", "config_base_dn", "check base_dn"},
		{"search, left out by user_filter", directoryLines("empresa.local", server.URL(), serviceLine, `user_filter "(&(sAMAccountName={user})(title=nobody's))"`), "ac12345", checkUserSecret, "search", 16, 401, "invalid_credentials", "user_unknown", "user_filter"},
		{"account_state", ad, "deshabilitada", checkUserSecret, "account_state", 17, 403, "account_restricted", "account_disabled", "enable the account"},
		{"account_state, off", directoryLines("empresa.local", server.URL(), serviceLine, "login_hints off"), "deshabilitada", "", "account_state", 17, 401, "invalid_credentials", "account_disabled", "enable the account"},
		{"bind", ad, "ac12345", "wr0ng-s3cret", "bind", 18, 401, "invalid_credentials", "bad_credentials", "too_many_attempts"},
		{"bind, password expired", ad, "expirada", checkUserSecret, "bind", 18, 403, "password_expired", "password_expired", "set a new password"},
		{"bind, locked", ad, "bloqueada", checkUserSecret, "bind", 18, 401, "invalid_credentials", "account_locked", "unlock the account"},
		{"identity", directoryLines("empresa.local", openldap.URL(), plainService), "noid", checkUserSecret, "identity", 19, 503, "directory_unavailable", "directory_unavailable", "attributes"},
		{"groups", directoryLines("empresa.local", openldap.URL(), plainService), "mgarcia", checkUserSecret, "groups", 20, 403, "account_restricted", "too_many_groups", "group_filter"},
		{"verdict", directoryLines("empresa.local", server.URL()), "ac12345", "", "verdict", 21, 0, "", "", ""},
	} {
		t.Run(test.what, func(t *testing.T) {
			args := []string{"--json", "--config", checkFile(t, test.directories)}
			stdin := ""
			if test.user != "" {
				args = append(args, "--user", test.user)
			}
			if test.password != "" {
				args, stdin = append(args, "--password-stdin"), test.password+"\n"
			}
			run := runLDAPCheck(t, stdin, args...)
			if run.exitCode != test.code {
				t.Fatalf("exit code %d, want %d\n%s", run.exitCode, test.code, run.output)
			}
			lines := jsonLines(t, run.output)
			verdict := lines[len(lines)-1]
			if verdict["step"] != "verdict" || verdict["ok"] != (test.step == "") || verdict["exit_code"] != float64(test.code) ||
				verdict["status"] != test.status || verdict["code"] != test.wire || verdict["reason"] != test.reason {
				t.Errorf("verdict %v", verdict)
			}
			failed := ""
			for _, line := range lines {
				if line["ok"] == false && line["skipped"] == false && failed == "" {
					failed = line["step"].(string)
					if cure := line["cure"].(string); !strings.Contains(cure, test.cure) || test.cure != "" && line["cause"] == "" {
						t.Errorf("step %v, want the cure %q", line, test.cure)
					}
				}
			}
			if failed != test.step {
				t.Errorf("%q failed, want %q", failed, test.step)
			}

			text := runLDAPCheck(t, stdin, slices.DeleteFunc(args, func(arg string) bool { return arg == "--json" })...)
			if text.exitCode != test.code || strings.Count(text.output, "cause: ") != min(1, len(test.step)) && test.step != "verdict" {
				t.Errorf("as text: exit code %d\n%s", text.exitCode, text.output)
			}
			for _, secret := range []string{checkServiceSecret, checkUserSecret, "wr0ng-s3cret"} {
				if strings.Contains(run.output+run.stderr+text.output+text.stderr, secret) {
					t.Errorf("a password is printed:\n%s%s", run.output, text.output)
				}
			}
		})
	}
}

// hangingUp is the URL of a server that accepts connections, and closes them.
func hangingUp(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return "ldap://" + l.Addr().String()
}

func TestLDAPCheckOfConfigurations(t *testing.T) {
	server := checkDirectory(t, checkedDirectory())
	ad := directoryLines("empresa.local", server.URL(), serviceLine)
	unquoted := strings.Replace(ad, checkServiceSecret, checkServiceSecret+" m0re-s3cret", 1)
	t.Setenv("CHECK_SECRET", "fr0m-env and-m0re-s3cret")
	for _, test := range []struct {
		what  string
		file  string // of the directories; "" for a file that is not there
		site  string
		stdin string
		args  []string
		says  []string
	}{
		{"no such file", "", "", "", nil, []string{"no such file"}},
		{"an unknown option", "directory a.test {\nserver ldaps://dc1.a.test\n}", "", "", nil, []string{"server"}},
		{"a password that is not quoted", unquoted, "", "", nil, []string{"bind needs a user and a password"}},
		{"a password from the environment that is not quoted", strings.Replace(ad, checkServiceSecret, "{$CHECK_SECRET}", 1), "", "", nil, []string{"bind"}},
		{"a password in a URL", directoryLines("a.test", "ldaps://svc:s3cret-in-url@dc1.a.test"), "", "", nil, []string{"more than a host and a port"}},
		{"a password in a URL that cannot be read", directoryLines("a.test", "ldaps://svc:s3cret-in-url@{env.CHECK_MISSING}"), "", "", nil, []string{"servers"}},
		{"a file that is missing", directoryLines("a.test", "ldaps://dc1.a.test", "ca_file /nowhere/ca.pem"), "", "", nil, []string{"ca_file", "/nowhere/ca.pem"}},
		{"a secret that is missing", directoryLines("a.test", "ldaps://dc1.a.test", "bind svc {env.CHECK_MISSING}"), "", "", nil, []string{"CHECK_MISSING", "the variable is not set"}},
		{"two directories of one label", ad + "\n" + strings.Replace(ad, "empresa.local", "Empresa.Local", 1), "", "", nil, []string{"one of this label already"}},
		{"an unknown label", ad, "", "", []string{"--directory", "other.test"}, []string{"no directory is labelled", "empresa.local"}},
		{"an unknown adapter", ad, "", "", []string{"--adapter", "toml"}, []string{"unrecognized config adapter"}},
		{"a group that is none", ad, `require_session "S-1-5-x"`, "", nil, []string{"looks like a SID"}},
		{"a password and no user", ad, "", "x\n", []string{"--password-stdin"}, []string{"no --user"}},
		{"an empty password", ad, "", "\n", []string{"--password-stdin", "--user", "ac12345"}, []string{"the line is empty"}},
		{"no password", ad, "", "", []string{"--password-stdin", "--user", "ac12345"}, []string{"the line is empty"}},
		{"a password that is too long", ad, "", strings.Repeat("long", 400), []string{"--password-stdin", "--user", "ac12345"}, []string{"more than 1024 bytes"}},
		{"standard input twice", ad, "", "x\n", []string{"--config", "-", "--password-stdin", "--user", "ac12345"}, []string{"the configuration already"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "Caddyfile")
			if test.file != "" {
				if test.site == "" {
					test.site = "require_session"
				}
				file = checkFile(t, test.file, test.site)
			}
			before := server.Connections()
			run := runLDAPCheck(t, test.stdin, append([]string{"--config", file}, test.args...)...)
			if run.exitCode != 10 {
				t.Errorf("exit code %d", run.exitCode)
			}
			for _, text := range append(test.says, "configuration  FAILED", "cure:", "verdict        FAILED") {
				if !strings.Contains(run.output, text) {
					t.Errorf("it does not say %q:\n%s", text, run.output)
				}
			}
			for _, secret := range []string{checkServiceSecret, "m0re-s3cret", "s3cret-in-url", "fr0m-env", "longlong"} {
				if strings.Contains(run.output+run.stderr, secret) {
					t.Errorf("a password is printed:\n%s%s", run.output, run.stderr)
				}
			}
			if server.Connections() != before {
				t.Error("it dialled")
			}
		})
	}
}

func TestLDAPCheckNeedsACaddyfileOrAFlag(t *testing.T) {
	t.Chdir(t.TempDir())
	if run := runLDAPCheck(t, ""); run.exitCode != 10 || !strings.Contains(run.output, "name the configuration with --config") {
		t.Errorf("%+v", run)
	}
	if err := os.WriteFile("Caddyfile", []byte("http://127.0.0.1:18099 {\nrespond ok\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if run := runLDAPCheck(t, ""); run.exitCode != 10 || !strings.Contains(run.output, "has no ldap_auth global option") {
		t.Errorf("%+v", run)
	}
	for _, args := range [][]string{{"--unknown"}, {"argument"}} {
		if run := runLDAPCheck(t, "", args...); run.exitCode != 1 || run.output+run.stderr == "" {
			t.Errorf("%q: %+v", args, run)
		}
	}
}

func TestLDAPCheckReadsJSON(t *testing.T) {
	server := checkDirectory(t, checkedDirectory())
	config, err := adapt(strings.NewReplacer("FILE", "").Replace("{\nldap_auth {\n" + directoryLines("empresa.local", server.URL(), serviceLine) +
		"\n}\n}\nhttp://127.0.0.1:18099 {\nrequire_session\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "caddy.json")
	config = bytes.Replace(config, []byte(`"apps":{`), []byte(`"@id":"all","apps":{`), 1)
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	if run := runLDAPCheck(t, "", "--config", file); run.exitCode != 0 {
		t.Errorf("%+v", run)
	}
}

func TestLDAPCheckChoosesTheDirectory(t *testing.T) {
	first := checkedDirectory()
	second := ldaptest.Directory{Domain: "otra.local", Users: []ldaptest.User{
		{SAMAccountName: "svc", Password: checkServiceSecret}, {SAMAccountName: "sola", Password: checkUserSecret},
	}}
	one, two := checkDirectory(t, first), checkDirectory(t, second)
	blindOne, blindTwo := directoryLines("empresa.local", one.URL()), directoryLines("otra.local", two.URL())
	seeingOne := directoryLines("empresa.local", one.URL(), serviceLine)
	seeingTwo := directoryLines("otra.local", two.URL(), "bind svc@otra.local "+checkServiceSecret)
	wrongOne := directoryLines("empresa.local", one.URL(), "bind svc@empresa.local wr0ng-s3cret")
	for _, test := range []struct {
		what        string
		directories []string
		args        []string
		label, how  string
		code        int
	}{
		{"one", []string{blindOne}, []string{"--user", "a@otra.local"}, "empresa.local", "the only one", 21},
		{"by the flag", []string{blindOne, blindTwo}, []string{"--directory", "OTRA.local", "--user", "a@empresa.local"}, "otra.local", "chosen by --directory", 21},
		{"no user", []string{blindOne, blindTwo}, nil, "empresa.local", "only the first is looked at", 0},
		{"by the suffix", []string{blindOne, blindTwo}, []string{"--user", "sola@otra.local"}, "otra.local", "by the domain in the name", 21},
		{"by the prefix", []string{seeingOne, seeingTwo}, []string{"--user", `OTRA\sola`}, "otra.local", "by the domain in the name", 0},
		{"by a look-up", []string{seeingOne, seeingTwo}, []string{"--user", "sola"}, "otra.local", "looked up with the service accounts", 0},
		{"nobody can look it up", []string{blindOne, blindTwo}, []string{"--user", "sola"}, "empresa.local", "the name does not say which", 21},
		{"one cannot be asked", []string{wrongOne, seeingTwo}, []string{"--user", "sola"}, "empresa.local", "could not be asked", 15},
		{"a domain of none", []string{seeingOne, seeingTwo}, []string{"--user", `NADA\sola`}, "", "is that of no directory", 10},
	} {
		t.Run(test.what, func(t *testing.T) {
			run := runLDAPCheck(t, "", append([]string{"--json", "--config", checkFile(t, strings.Join(test.directories, "\n"))}, test.args...)...)
			lines := jsonLines(t, run.output)
			verdict := lines[len(lines)-1]
			if run.exitCode != test.code || verdict["directory"] != test.label || !strings.Contains(fmt.Sprint(lines[0]), test.how) {
				t.Errorf("exit code %d\n%s", run.exitCode, run.output)
			}
		})
	}
}

// It works beside a server, whose sessions it leaves alone.
func TestLDAPCheckBesideAServer(t *testing.T) {
	s := start(t, setup{})
	session := s.signIn("ac12345")
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(s.caddyfile()), 0o600); err != nil {
		t.Fatal(err)
	}
	if run := runLDAPCheck(t, ldaptest.DemoPassword, "--config", file, "--user", "ac12345", "--password-stdin"); run.exitCode != 0 {
		t.Errorf("%+v", run)
	}
	if got := s.do("GET", "/", session.cookies); got.StatusCode != 200 {
		t.Errorf("the session is gone: %d", got.StatusCode)
	}
}

func TestGroupsOfConfigurations(t *testing.T) {
	config, err := adapt("{\nldap_auth {\n" + directoryLines("empresa.local", "ldaps://dc1.empresa.local") + "\n}\n}\n" + `http://127.0.0.1:18099 {
	@in session_group "In a matcher"
	respond @in ok
	handle /x/* {
		route {
			require_session Gate " Gate too " {
				require /a/* Path
				require /b/* Path Other
				forward_groups Forwarded
			}
		}
	}
	@out not session_group Negated
	respond @out no
}
`)
	if err != nil {
		t.Fatal(err)
	}
	var root struct{ Apps map[string]json.RawMessage }
	if err := json.Unmarshal(config, &root); err != nil {
		t.Fatal(err)
	}
	got, err := groupsOf(root.Apps)
	if want := []string{"Forwarded", "Gate", "Gate too", "In a matcher", "Negated", "Other", "Path"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := groupsOf(map[string]json.RawMessage{"http": json.RawMessage(`{"handler":"require_session","groups":[" "]}`)}); err == nil {
		t.Error("an empty group is accepted")
	}
}

func TestPasswordLine(t *testing.T) {
	for _, test := range []struct{ what, stdin, want string }{
		{"a line", "secret\n", "secret"},
		{"no end", "secret", "secret"},
		{"one end only", "secret\n\n", "secret"},
		{"of Windows", "secret\r\n", "secret"},
		{"spaces", " secret \n", " secret "},
		{"a carriage return", "sec\rret\n", "sec\rret"},
		{"the longest", strings.Repeat("x", 1024) + "\r\n", strings.Repeat("x", 1024)},
		{"too long", strings.Repeat("x", 1025) + "\n", ""},
		{"much too long", strings.Repeat("x", 1<<20), ""},
		{"empty", "\n", ""},
		{"nothing", "", ""},
	} {
		t.Run(test.what, func(t *testing.T) {
			got, err := readPasswordLine(strings.NewReader(test.stdin))
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestExitCodesAreThoseOfTheHelp(t *testing.T) {
	help := strings.Join(strings.Fields(caddycmd.Commands()["ldap-check"].Long), " ")
	document := projectFile(t, "docs/ldap-check.md")
	for i, step := range []string{
		checkConfiguration, ldap.CheckDNS, ldap.CheckConnect, ldap.CheckCertificate, ldap.CheckKind, ldap.CheckServiceBind, ldap.CheckSearch,
		ldap.CheckAccountState, ldap.CheckBind, ldap.CheckIdentity, ldap.CheckGroups, checkVerdict,
	} {
		if got := checkExitCode(step); got != 10+i {
			t.Errorf("%s: %d, want %d", step, got, 10+i)
		}
		if !strings.Contains(help, fmt.Sprintf("%d %s", 10+i, step)) {
			t.Errorf("the help does not say that %s is %d", step, 10+i)
		}
		if !strings.Contains(document, fmt.Sprintf("| %d | `%s` |", 10+i, step)) {
			t.Errorf("docs/ldap-check.md does not say that %s is %d", step, 10+i)
		}
	}
	if checkExitCode("") != 0 {
		t.Error("no failure has an exit code")
	}
}
