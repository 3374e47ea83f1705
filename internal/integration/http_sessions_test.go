package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// startWithAdmin guards an echo with the in-process directory; its admin
// endpoint is where the test says.
func startWithAdmin(t testing.TB, address func(c *caddy) string) (site *client, admin, config string) {
	t.Helper()
	directory, err := ldaptest.Start("127.0.0.1:0", ldaptest.Demo())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = directory.Close() })
	c := newCaddy(t)
	block := "\t\tdirectory empresa.local ad {\n\t\t\tservers " + directory.URL() + "\n\t\t}"
	admin = address(c)
	config = strings.Replace(c.caddyfile(block, "require_session", newEcho(t), ""), "admin "+c.adminAddress(), "admin "+admin, 1)
	c.run(t, config)
	return newClient(t, c), admin, config
}

// commandRun is a run of the program to its end.
type commandRun struct {
	exitCode       int
	output, stderr string
}

// sessionsCommand runs `caddy ldap-sessions`. All that it prints is looked
// through for secrets when the test ends.
func (c *caddy) sessionsCommand(t testing.TB, args ...string) commandRun {
	t.Helper()
	cmd := c.command(t, append([]string{"ldap-sessions"}, args...)...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("running ldap-sessions: %v", err)
	}
	c.keepOutput(t, out.Bytes(), stderr.Bytes())
	return commandRun{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// keepOutput adds to a file that is looked through for secrets.
func (c *caddy) keepOutput(t testing.TB, texts ...[]byte) {
	t.Helper()
	file, err := os.OpenFile(c.path("output.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, text := range texts {
		if _, err := file.Write(text); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHTTPSessionsCommand(t *testing.T) {
	for name, address := range map[string]func(*caddy) string{
		"over TCP":           func(*caddy) string { return "127.0.0.1:" + freePort(t) },
		"over a Unix socket": (*caddy).adminAddress,
	} {
		t.Run(name, func(t *testing.T) {
			site, admin, config := startWithAdmin(t, address)
			c := site.caddy
			run := func(exitCode int, args ...string) commandRun {
				t.Helper()
				r := c.sessionsCommand(t, append(args, "--address", admin)...)
				if r.exitCode != exitCode || exitCode == 0 && r.stderr != "" || exitCode != 0 && r.stderr == "" {
					t.Errorf("%q: exit code %d, want %d\n%s\n%s", args, r.exitCode, exitCode, r.output, r.stderr)
				}
				return r
			}
			juan, maria := site.signIn(t, "ac12345", ldaptest.DemoPassword), site.signIn(t, "mgarcia", ldaptest.DemoPassword)
			again := site.signIn(t, "ac12345", ldaptest.DemoPassword)

			if r := run(0, "list"); !strings.HasSuffix(r.output, "\n3 sessions\n") || !strings.Contains(r.output, "María García") {
				t.Errorf("listed:\n%s", r.output)
			}
			var listed struct {
				Sessions []struct{ ID, User string }
			}
			if err := json.Unmarshal([]byte(run(0, "list", "--user", "ac12345", "--json").output), &listed); err != nil || len(listed.Sessions) != 2 {
				t.Fatalf("listed: %v, %v", listed, err)
			}
			id := listed.Sessions[0].ID
			if r := run(0, "show", id); !strings.Contains(r.output, id) || !strings.Contains(r.output, "Juan Pérez") {
				t.Errorf("shown:\n%s", r.output)
			}

			// What was ended stays ended, and what was not goes on, after the worst.
			if r := run(0, "end", id); r.output != "session "+id+" ended\n" {
				t.Errorf("ended:\n%s", r.output)
			}
			juan.expectRefused(t, "/")
			maria.echo(t, "/")
			c.child.Kill()
			c.run(t, config)
			juan.expectRefused(t, "/")
			again.echo(t, "/")
			run(4, "end", id)
			run(4, "show", id)
			if r := run(0, "end", "--user", "AC12345"); !strings.HasSuffix(r.output, "\n1 session ended\n") || !strings.Contains(r.output, listed.Sessions[1].ID) {
				t.Errorf("ended:\n%s", r.output)
			}
			again.expectRefused(t, "/")
			maria.echo(t, "/")
			if r := run(4, "end", "--user", "nobody"); r.output != "" || !strings.Contains(r.stderr, "no such user") {
				t.Errorf("%q, %q", r.output, r.stderr)
			}
			run(1, "end")
			run(1, "shout")
			if r := c.sessionsCommand(t, "list", "--config", c.path("Caddyfile"), "--adapter", "caddyfile"); r.exitCode != 0 || !strings.HasSuffix(r.output, "\n1 session\n") {
				t.Errorf("with the address of the configuration: %+v", r)
			}
			c.child.Stop()
			run(1, "list")

			var ended []string
			for _, line := range c.audit(t) {
				if line.Event == "session_end" && line.Reason == "ended_by_operator" && line.User == "ac12345" {
					ended = append(ended, line.Session)
				}
			}
			if want := []string{id, listed.Sessions[1].ID}; !slices.Equal(ended, want) {
				t.Errorf("audit: %q, want %q", ended, want)
			}
		})
	}
}

// The commands and the curl lines of docs/sessions.md, as operators copy them.
func TestHTTPSessionsOfTheDocumentation(t *testing.T) {
	bash := realserver.Program(t, "bash")
	realserver.Program(t, "curl")
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "sessions.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		t.Fatalf("docs/sessions.md has %d blocks of commands", len(blocks))
	}
	site, admin, _ := startWithAdmin(t, func(*caddy) string { return "127.0.0.1:" + freePort(t) })
	c := site.caddy
	for _, block := range blocks {
		for _, user := range []string{"ac12345", "mgarcia", "ac12345"} {
			site.signIn(t, user, ldaptest.DemoPassword)
		}
		var listed struct{ Sessions []struct{ ID string } }
		r := c.sessionsCommand(t, "list", "--user", "mgarcia", "--json", "--address", admin)
		if err := json.Unmarshal([]byte(r.output), &listed); err != nil || len(listed.Sessions) == 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		script := strings.NewReplacer("6a44fzynixdezckb", listed.Sessions[0].ID, "localhost:2019", admin,
			"caddy ldap-sessions", program.Path(t)+" ldap-sessions", "curl ", "curl --fail-with-body -sS ").Replace(block[1])
		cmd := inEmptyFolder(t, bash, "-e")
		cmd.Env = append(cmd.Env, "CADDY_ADMIN="+admin, "XDG_DATA_HOME="+cmd.Dir, "XDG_CONFIG_HOME="+cmd.Dir)
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		c.keepOutput(t, out)
		if err != nil {
			t.Errorf("%v\n%s\n%s", err, script, out)
		}
		if strings.Contains(block[1], "curl") {
			expectInOrder(t, string(out), `"next":`, `"user":"ac12345"`, `"user":"mgarcia"`, `{"ended":1}`, `{"ended":2,`, `"sign_ins":`, `"in_memory":`)
		} else {
			expectInOrder(t, string(out), "3 sessions", "2 sessions", "2 users", "user       mgarcia", " ended", "2 sessions ended")
		}
	}
}
