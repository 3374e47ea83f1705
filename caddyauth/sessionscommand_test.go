package caddyauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// sessionsRunOf is a run of the command.
type sessionsRunOf struct {
	exitCode int
	output   string
	err      string // what it is logged to have failed with
}

// runLDAPSessions runs the command as Caddy registers it.
func runLDAPSessions(t *testing.T, args ...string) sessionsRunOf {
	t.Helper()
	registered, ok := caddycmd.Commands()["ldap-sessions"]
	if !ok {
		t.Fatal("the command is not registered")
	}
	// Caddy's own root command silences the usage.
	cmd := &cobra.Command{Use: "ldap-sessions", SilenceUsage: true}
	registered.CobraFunc(cmd)
	var out, errors bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&errors)
	run := sessionsRunOf{}
	mark := logged.mark()
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		run.exitCode = 1
		if status := regexp.MustCompile(`exitError\{ExitCode:(\d+)`).FindStringSubmatch(fmt.Sprintf("%#v", err)); status != nil {
			run.exitCode, _ = strconv.Atoi(status[1])
		}
		run.err = err.Error() + errors.String()
		for _, line := range logged.since(mark) {
			var entry struct{ Level, Msg string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "error" {
				run.err += "\n" + entry.Msg
			}
		}
	}
	run.output = out.String()
	return run
}

// masked makes the output the same at each run.
func masked(text string) string {
	text = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`).ReplaceAllString(text, "TIME")
	text = regexp.MustCompile(`\b\d+h\d+m\d+s\b|\b\d+m\d+s\b`).ReplaceAllString(text, "LEFT")
	text = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(text, "UUID")
	return regexp.MustCompile(`\b[a-z2-7]{16}\b`).ReplaceAllString(text, "SESSIONID")
}

// squeezed is a text with one space where there are several: widths depend on
// what is masked.
func squeezed(text string) string {
	return regexp.MustCompile(` +`).ReplaceAllString(masked(text), " ")
}

func TestLDAPSessionsForPeople(t *testing.T) {
	s, a := startAdmin(t, setup{})
	juan, maria := s.signIn("ac12345"), s.signIn("mgarcia")
	s.signIn("ac12345")
	address := "--address=" + a.address
	check := func(run sessionsRunOf, want string) {
		t.Helper()
		if got := squeezed(run.output); run.exitCode != 0 || run.err != "" || got != want {
			t.Errorf("exit code %d, %q, got\n%s\nwant\n%s", run.exitCode, run.err, got, want)
		}
	}
	const (
		head = "SESSION USER NAME DIRECTORY CLIENT IP SIGNED IN LAST SEEN LEFT AT MOST\n"
		line = "SESSIONID ac12345 Juan Pérez empresa.local 127.0.0.1 TIME TIME LEFT LEFT\n"
	)
	check(runLDAPSessions(t, "list", "--user", "ac12345", address), head+line+line+"2 sessions\n")
	check(runLDAPSessions(t, "list", "--user", "AC12345", "--directory", "empresa.local", "--limit", "1", address), head+line+"1 session, and there are more\n")
	check(runLDAPSessions(t, "list", "--user", "nobody", address), "0 sessions\n")
	check(runLDAPSessions(t, "list", "--users", "--user", "ac12345", address),
		"USER NAME EMAIL DIRECTORY ID FIRST SIGN-IN LAST SIGN-IN SIGN-INS\n"+
			"ac12345 Juan Pérez ac12345@empresa.local empresa.local UUID TIME TIME 2\n1 user\n")
	if run := runLDAPSessions(t, "list", address); !strings.HasSuffix(run.output, "\n3 sessions\n") || strings.Count(run.output, "\n") != 5 {
		t.Errorf("listed:\n%s", run.output)
	}
	id := s.idOf(juan)
	check(runLDAPSessions(t, "show", id, address), "session SESSIONID\nuser ac12345\nname Juan Pérez\ndirectory empresa.local\nuser id UUID\n"+
		"client ip 127.0.0.1\nsigned in TIME\nlast seen TIME\nleft LEFT\nat most LEFT\n")

	// Columns stand below each other.
	lines := strings.Split(runLDAPSessions(t, "list", "--user", "ac12345", address).output, "\n")
	if at := strings.Index(lines[0], "DIRECTORY"); []rune(lines[1])[at-1] != ' ' || string([]rune(lines[1])[at:at+7]) != "empresa" {
		t.Errorf("not aligned:\n%s", strings.Join(lines, "\n"))
	}

	check(runLDAPSessions(t, "end", id, address), "session SESSIONID ended\n")
	want(t, s.do("GET", "/x", juan.cookies), 401, bodyAuthenticationRequired)
	check(runLDAPSessions(t, "end", "--user", "ac12345", address),
		"SESSION USER DIRECTORY CLIENT IP SIGNED IN\nSESSIONID ac12345 empresa.local 127.0.0.1 TIME\n1 session ended\n")
	check(runLDAPSessions(t, "end", "--user", "ac12345", address), "0 sessions ended\n")
	want(t, s.do("GET", "/x", maria.cookies), 200, "upstream")
}

func TestLDAPSessionsForPrograms(t *testing.T) {
	_, a := startAdmin(t, setup{sessions: "absolute_timeout off"})
	const many = adminMaxLimit + 100
	var first string
	for i := range many {
		user := sessionstore.User{Directory: "empresa.local", ID: fmt.Sprintf("id-%04d", i/2), Username: fmt.Sprintf("u%04d", i/2), DisplayName: "\u009b31m"}
		if _, id := a.signInAs(user); first == "" {
			first = id
		}
	}
	run := func(into any, args ...string) {
		t.Helper()
		got := runLDAPSessions(t, append(args, "--json", "--address", a.address)...)
		if got.exitCode != 0 || strings.Count(got.output, "\n") != 1 || strings.Contains(got.output, "\u009b") {
			t.Errorf("%v: exit code %d, %s", args, got.exitCode, got.err)
		}
		decoder := json.NewDecoder(strings.NewReader(got.output))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(into); err != nil {
			t.Fatalf("%v: %v in %s", args, err, got.output)
		}
	}
	var sessions struct{ Sessions []adminSession }
	seen := map[string]bool{}
	run(&sessions, "list")
	for _, s := range sessions.Sessions {
		seen[s.ID] = true
	}
	if len(sessions.Sessions) != many || len(seen) != many {
		t.Errorf("%d sessions, %d different ones, want %d", len(sessions.Sessions), len(seen), many)
	}
	for limit, want := range map[int]int{0: many, 1: 1, adminMaxLimit: adminMaxLimit, adminMaxLimit + 1: adminMaxLimit + 1, many + 1: many} {
		sessions.Sessions = nil
		if run(&sessions, "list", fmt.Sprint("--limit=", limit)); len(sessions.Sessions) != want {
			t.Errorf("--limit %d: %d sessions", limit, len(sessions.Sessions))
		}
	}
	if run := runLDAPSessions(t, "list", "--address", a.address); !strings.HasSuffix(run.output, fmt.Sprintf("\n%d sessions\n", many)) || strings.Count(run.output, "SIGNED IN") != 1 {
		t.Errorf("exit code %d", run.exitCode)
	}
	if got := runLDAPSessions(t, "list", "--json", "--user", "nobody", "--address", a.address); got.output != `{"sessions":[]}`+"\n" {
		t.Errorf("of nobody: %q", got.output)
	}
	var users struct{ Users []adminUser }
	if run(&users, "list", "--users"); len(users.Users) != many/2 {
		t.Errorf("%d users", len(users.Users))
	}
	var one adminSession
	if run(&one, "show", first); one.ID != first || one.AbsoluteSecondsLeft != nil || one.Name != "\u009b31m" {
		t.Errorf("shown: %+v", one)
	}
	var ended adminEnded
	if run(&ended, "end", first); ended.Ended != 1 {
		t.Errorf("ended: %+v", ended)
	}
	if run(&ended, "end", "--user", "u0003"); ended.Ended != 2 || len(ended.Sessions) != 2 {
		t.Errorf("ended: %+v", ended)
	}
}

func TestLDAPSessionsFails(t *testing.T) {
	s, a := startAdmin(t, setup{})
	c := s.signIn("ac12345")
	id := s.idOf(c)
	for _, name := range []string{"id-1", "id-2"} {
		a.signInAs(sessionstore.User{Directory: "empresa.local", ID: name, Username: name, Email: "shared@example.com"})
	}
	for _, test := range []struct {
		args     string
		exitCode int
		words    string
	}{
		{"", 1, "list, show or end"},
		{"revoke", 1, `unknown command "revoke"`},
		{"list extra", 1, "unknown command"},
		{"list --limit=-1", 1, "--limit -1"},
		{"list --limit=x", 1, "invalid argument"},
		{"list --everything", 1, "unknown flag"},
		{"show", 1, "accepts 1 arg"},
		{"show a b", 1, "accepts 1 arg"},
		{"show unknown", 4, noSuchSession},
		{"show a/b", 1, "nothing at this path"},
		{"show ../users", 1, "answers 404"},
		{"end", 1, "say which"},
		{"end --directory=empresa.local", 1, "say which"},
		{"end a b", 1, "accepts at most 1 arg"},
		{"end " + id + " --user=ac12345", 1, "goes without --user"},
		{"end " + id + " --directory=empresa.local", 1, "goes without --user"},
		{"end unknown", 4, noSuchSession},
		{"end --user=nobody", 4, noSuchUser},
		{"end --user=ac12345 --directory=other", 4, noSuchUser},
		{"end --user=shared@example.com", 1, `"id-2"`},
		{"list --config=missing.caddyfile", 1, "looking for the admin endpoint"},
		{"list --address=127.0.0.1:1", 1, "is Caddy running"},
		{"list --address=unix//nowhere/admin", 1, "is Caddy running"},
		{"list --address=127.0.0.1:1-9", 1, "invalid admin address"},
	} {
		t.Run(test.args, func(t *testing.T) {
			args := strings.Fields(test.args)
			if !strings.Contains(test.args, "--address") && !strings.Contains(test.args, "--config") {
				args = append(args, "--address="+a.address)
			}
			run := runLDAPSessions(t, args...)
			if run.exitCode != test.exitCode || !strings.Contains(run.err, test.words) || run.output != "" {
				t.Errorf("exit code %d, %q, output %q", run.exitCode, run.err, run.output)
			}
		})
	}
	if left := a.sessions(""); len(left.Sessions) != 3 {
		t.Errorf("left: %+v", left)
	}
	if run := runLDAPSessions(t, "list", "--json", "--address=127.0.0.1:1"); run.exitCode != 1 || run.output != "" {
		t.Errorf("nothing is printed of an answer that never came: %+v", run)
	}

	// The address of a configuration file.
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(a.text), 0o600); err != nil {
		t.Fatal(err)
	}
	if run := runLDAPSessions(t, "list", "--config", file, "--adapter", "caddyfile"); run.exitCode != 0 || !strings.HasSuffix(run.output, "3 sessions\n") {
		t.Errorf("%+v", run)
	}

	if err := s.load(fmt.Sprintf("{\nadmin %s\npersist_config off\nlog {\noutput test_capture\nformat json\n}\n}", a.address)); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"list", "show x", "end x", "end --user=x"} {
		run := runLDAPSessions(t, append(strings.Fields(args), "--address="+a.address)...)
		if run.exitCode != 1 || !strings.Contains(run.err, "no configuration with ldap_auth") {
			t.Errorf("without the plugin in use: %+v", run)
		}
	}
}

// TestLDAPSessionsAsksSomethingElse: what answers may be no Caddy at all.
func TestLDAPSessionsAsksSomethingElse(t *testing.T) {
	newServer(t, setup{}).withAdmin(t) // for its log
	for _, test := range []struct {
		name, body string
		status     int
		words      string
	}{
		{"a Caddy without the plugin", "404 page not found\n", 404, "without this plugin"},
		{"a web page", "<html>hello</html>", 200, "no admin endpoint of Caddy's"},
		{"a web page that is missing", "<html>nothing</html>", 404, "without this plugin"},
		{"half an answer", `{"sessions":[`, 200, "no admin endpoint of Caddy's"},
		{"other JSON", `[1]`, 200, "reading the answer"},
		{"without a list", `{"ended":1}`, 200, "reading the answer"},
		{"other things in the list", `{"sessions":[1]}`, 200, "reading the answer"},
		{"another next", `{"sessions":[],"next":{}}`, 200, "reading the answer"},
		{"an error that would rule the terminal", "{\"error\":\"\\u001b[2J\u009b31m\"}", 500, `answers 500: \x1b[2J\u009b31m`},
		{"an error that is none", "\x1b[2J", 500, "answers 500"},
	} {
		t.Run(test.name, func(t *testing.T) {
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			}))
			defer other.Close()
			run := runLDAPSessions(t, "list", "--address", strings.TrimPrefix(other.URL, "http://"))
			if run.exitCode != 1 || !strings.Contains(run.err, test.words) || strings.ContainsAny(run.err+run.output, "\x1b\u009b") {
				t.Errorf("exit code %d, %q, %q", run.exitCode, run.err, run.output)
			}
		})
	}
}

func TestLDAPSessionsMakesHostileNamesHarmless(t *testing.T) {
	_, a := startAdmin(t, setup{})
	long := strings.Repeat("ñ", 200)
	a.signInAs(sessionstore.User{Directory: "empresa.local", ID: "id\t1\n2", Username: "u\x1b[2J", DisplayName: "a\tb\nc\u202e" + long, Email: "\u009b31m@example.com"})
	_, id := a.signInAs(sessionstore.User{Directory: "empresa.local", ID: "id-2", Username: "u2", DisplayName: "\x1b]0;x\x07"})
	for _, args := range [][]string{{"list"}, {"list", "--users"}, {"show", id}, {"end", "--user", "u\x1b[2J"}, {"end", "--user", "\x1b[31m"}, {"show", "\x1b[31m"}} {
		run := runLDAPSessions(t, append(args, "--address", a.address)...)
		for _, r := range run.output + run.err {
			if r != '\n' && (r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x202e) {
				t.Errorf("%q: the rune %U is in %q, %q", args, r, run.output, run.err)
			}
		}
		if args[0] == "list" && strings.Count(run.output, "\n") != 4 {
			t.Errorf("%q: lines were made:\n%s", args, run.output)
		}
		if strings.Contains(run.output, long) {
			t.Errorf("%q: a name is as long as it likes:\n%s", args, run.output)
		}
	}
}

// brokenPipe takes nothing.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestLDAPSessionsCannotWrite(t *testing.T) {
	item, answer := []json.RawMessage{json.RawMessage(`{"id":"x"}`)}, []byte(`{"ended":1}`)
	for _, asJSON := range []bool{false, true} {
		out := newSessionsPrinter(brokenPipe{}, asJSON)
		for what, err := range map[string]error{
			"page": out.page(listOfSessions(), item), "end of list": out.endList(listOfSessions(), 1, false),
			"session": out.session([]byte(`{"id":"x"}`)), "ended": out.ended(answer, "x"), "several ended": out.ended(answer, ""),
		} {
			if err == nil {
				t.Errorf("JSON %v, %s: no error", asJSON, what)
			}
		}
	}
}
