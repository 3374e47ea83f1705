package integration

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// caddy is a running Caddy with this plugin: the built program, driven from
// outside. All that it writes is in one folder.
type caddy struct {
	dir   string
	port  string
	child *realserver.Child

	// secrets are never to be found in what Caddy writes: passwords and tokens
	// anywhere, CSRF tokens in logs.
	mu      sync.Mutex
	secrets map[string]bool // to: also not in the session store

	repeated atomic.Int64 // requests that a reload reset unread

	// options are further lines of the ldap_auth block.
	options []string
}

// newCaddy prepares a folder and a port. Nothing is started.
func newCaddy(t testing.TB) *caddy {
	t.Helper()
	// Directly in the system's temporary folder: the path of the admin socket
	// may have 107 bytes at most.
	dir, err := os.MkdirTemp("", "caddy-ldap-")
	if err != nil {
		t.Fatal(err)
	}
	c := &caddy{dir: dir, port: freePort(t), secrets: map[string]bool{}}
	t.Cleanup(func() {
		if c.child != nil {
			c.child.Stop()
		}
		c.checkSecrets(t)
		if t.Failed() {
			t.Logf("what Caddy printed:\n%s", tailOf(c.read("caddy.log")))
			t.Logf("its audit log:\n%s", tailOf(c.read("audit.log")))
		}
		os.RemoveAll(dir)
	})
	return c
}

// freePort returns a port below those that the system gives to clients, so
// that no outgoing connection takes it while Caddy is down.
func freePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := fmt.Sprint(20000 + rand.IntN(12000))
		if listener, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

func (c *caddy) url() string { return "http://127.0.0.1:" + c.port }

func (c *caddy) path(name string) string { return filepath.Join(c.dir, name) }

func (c *caddy) adminAddress() string { return "unix/" + c.path("admin.sock") }

// global are the options that every Caddyfile begins with: no trace of the
// test stays on the machine, and the audit log is in a file of its own.
func (c *caddy) global() string {
	return fmt.Sprintf(`	admin %s
	persist_config off
	skip_install_trust
	log audit {
		include ldap_auth.audit
		output file %s
	}
`, c.adminAddress(), c.path("audit.log"))
}

// noThrottle is an option of tests that try more wrong passwords than the
// throttle lets pass, and are about something else.
const noThrottle = "throttle insecure_off"

// caddyfile guards an upstream. directory is the directory block; gate the
// require_session directive; site, more directives.
func (c *caddy) caddyfile(directory, gate, upstream, site string) string {
	return fmt.Sprintf(`{
%s	ldap_auth {
%s
		sessions {
			storage badger %s
		}
		%s
	}
}
http://:%s {
	bind 127.0.0.1
	log {
		output file %s
		format filter {
			request>headers>X-Csrftoken delete
		}
	}
	%s
	%s
	reverse_proxy %s {
		header_up X-Test-Uid {http.auth.user.uid}
		header_up X-Test-Dn {http.auth.user.dn}
	}
}
`, c.global(), directory, c.path("sessions"), strings.Join(c.options, "\n\t\t"), c.port, c.path("access.log"), gate, site, strings.TrimPrefix(upstream, "http://"))
}

// command is the program with arguments, in an environment of its own.
func (c *caddy) command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program.Path(t), args...)
	cmd.Env = append(os.Environ(), "HOME="+c.dir, "XDG_DATA_HOME="+c.dir, "XDG_CONFIG_HOME="+c.dir)
	return cmd
}

// write stores a Caddyfile and returns its name.
func (c *caddy) write(t testing.TB, text string) string {
	t.Helper()
	file := c.path("Caddyfile")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// run starts Caddy and waits until it answers.
func (c *caddy) run(t testing.TB, text string) {
	t.Helper()
	c.launch(t, c.command(t, "run", "--config", c.write(t, text), "--adapter", "caddyfile"))
}

func (c *caddy) launch(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	c.child = realserver.StartChild(t, c.path("caddy.log"), cmd)
	err := c.child.WaitUntil(30*time.Second, func() error {
		conn, err := net.Dial("tcp", "127.0.0.1:"+c.port)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err != nil {
		t.Fatalf("starting Caddy: %v", err)
	}
}

// reload asks the running Caddy to load text, forced. The error is the
// command's, with what it printed.
func (c *caddy) reload(t testing.TB, text string) error {
	t.Helper()
	return c.tell(t, text, "reload", "--force", "--address", c.adminAddress())
}

func (c *caddy) validate(t testing.TB, text string) error {
	t.Helper()
	return c.tell(t, text, "validate")
}

// tell runs a command of the program on text, and at most a minute.
func (c *caddy) tell(t testing.TB, text, name string, flags ...string) error {
	t.Helper()
	cmd := c.command(t, append([]string{name, "--config", c.write(t, text), "--adapter", "caddyfile"}, flags...)...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	bounded := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	bounded.Env = cmd.Env
	out, err := bounded.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

func (c *caddy) read(name string) string {
	text, _ := os.ReadFile(c.path(name))
	return string(text)
}

// auditLine is what the tests read of a line of the audit log.
type auditLine struct {
	Event, Result, Reason, User, Session string
}

// audit returns the lines so far.
func (c *caddy) audit(t testing.TB) []auditLine {
	t.Helper()
	var lines []auditLine
	for text := range strings.Lines(c.read("audit.log")) {
		var line auditLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("reading the audit line %q: %v", text, err)
		}
		lines = append(lines, line)
	}
	return lines
}

// keepSecret notes what Caddy must not write. Shorter ones ("secreto") are
// words that a log may have for other reasons.
func (c *caddy) keepSecret(value string, alsoNotInStore bool) {
	if len(value) <= 8 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[value] = alsoNotInStore
	if raw, err := base64.RawURLEncoding.DecodeString(value); err == nil && len(raw) == 32 {
		c.secrets[string(raw)] = alsoNotInStore
	}
}

// checkSecrets looks through all that Caddy wrote, its configuration left out.
func (c *caddy) checkSecrets(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	err := filepath.WalkDir(c.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == "Caddyfile" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		inStore := !strings.HasSuffix(path, ".log")
		for secret, alsoNotInStore := range c.secrets {
			if (alsoNotInStore || !inStore) && bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s has the secret %q", path, secret)
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("looking for secrets: %v", err)
	}
}

func tailOf(text string) string {
	const most = 8 << 10
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}

// echoed is what an application behind Caddy got.
type echoed struct {
	Method, Path, Body string
	Header             http.Header
	Usuario            string // the same key as the demo's APIs have
}

// newEcho starts an application that answers with what it got.
func newEcho(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"method": r.Method, "path": r.URL.Path, "body": body.String(), "header": r.Header,
			"usuario": r.Header.Get("Remote-User"),
		})
	}))
	t.Cleanup(server.Close)
	return server.URL
}
