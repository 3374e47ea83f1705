package attack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/rawecho"
	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// setup is a Caddy to start. The zero value guards a raw upstream with
// require_session alone, in front of the demonstration's directory. In every
// text UPSTREAM is the upstream's address, PORT the site's port, DIR the folder
// of the test, DIRECTORY the directory's URL and CERTIFICATE what the tls directive
// takes.
type setup struct {
	directory *ldaptest.Directory // default: ldaptest.Demo
	global    string              // further global options
	server    string              // lines of the servers option; HTTP/2 in the clear is on
	auth      string              // lines of the ldap_auth block
	sessions  string              // lines of its sessions block
	block     string              // lines of its directory block; default: servers DIRECTORY
	site      string              // default: require_session and a reverse_proxy to the upstream
	more      string              // further sites
	tls       bool                // the site speaks TLS, as 127.0.0.1 and localhost
}

// site is a running Caddy, its upstream and its directory.
type site struct {
	dir       string
	port      string
	tls       bool
	echo      *rawecho.Server
	directory *ldaptest.Server
	child     *realserver.Child
}

// start runs Caddy until the test ends. Each has a process, a port and a folder
// of its own, so that tests can run side by side.
func start(t *testing.T, setup setup) *site {
	t.Helper()
	s, text := prepare(t, setup)
	s.run(t, text)
	return s
}

// prepare starts all but Caddy itself, and returns its Caddyfile.
func prepare(t *testing.T, setup setup) (*site, string) {
	t.Helper()
	dir := ldaptest.Demo()
	if setup.directory != nil {
		dir = *setup.directory
	}
	directory, err := ldaptest.Start("127.0.0.1:0", dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = directory.Close() })
	// Directly in the system's temporary folder: the path of the admin socket
	// may have 107 bytes at most.
	folder, err := os.MkdirTemp("", "caddy-ldap-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	s := &site{dir: folder, port: freePort(t), tls: setup.tls, echo: rawecho.Start(t), directory: directory}
	text := s.caddyfile(setup)
	if setup.tls {
		// Not a certificate of Caddy's own CA: that comes after the port is open.
		ca, err := realserver.NewCA(folder)
		if err != nil {
			t.Fatal(err)
		}
		certificate, key, err := ca.Issue(folder, "127.0.0.1", "localhost", "*.test", "*.corp.test")
		if err != nil {
			t.Fatal(err)
		}
		text = strings.ReplaceAll(text, "CERTIFICATE", certificate+" "+key)
	}
	return s, text
}

func (s *site) caddyfile(setup setup) string {
	if setup.block == "" {
		setup.block = "servers DIRECTORY"
	}
	if setup.site == "" {
		setup.site = "require_session\nreverse_proxy UPSTREAM"
	}
	address, tls := "http://:PORT", ""
	if setup.tls {
		address, tls = "https://127.0.0.1:PORT, https://localhost:PORT", "tls CERTIFICATE"
	}
	return s.fill(fmt.Sprintf(`{
	admin unix/DIR/admin.sock
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	log {
		output file DIR/caddy.json
		level DEBUG
	}
	servers {
		protocols h1 h2 h2c
		%s
	}
	%s
	ldap_auth {
		directory empresa.local ad {
			%s
		}
		sessions {
			storage badger DIR/sessions
			%s
		}
		%s
	}
}
%s {
	bind 127.0.0.1
	%s
	log {
		output file DIR/access.json
		format filter {
			request>headers>X-Csrftoken delete
		}
	}
	%s
}
%s
`, setup.server, setup.global, setup.block, setup.sessions, setup.auth, address, tls, setup.site, setup.more))
}

// fill puts what is known of a site in the place of its names.
func (s *site) fill(text string) string {
	return strings.NewReplacer("UPSTREAM", s.echo.Addr(), "PORT", s.port, "DIRECTORY", s.directory.URL(), "DIR", s.dir).Replace(text)
}

// command is the program with arguments, in an environment of its own.
func (s *site) command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program.Path(t), args...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	return cmd
}

// config stores a Caddyfile and returns its name.
func (s *site) config(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(s.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// run starts Caddy and waits until it serves.
func (s *site) run(t testing.TB, text string) {
	t.Helper()
	log, began := filepath.Join(s.dir, "printed.log"), len(s.read("caddy.json"))
	s.child = realserver.StartChild(t, log, s.command(t, "run", "--config", s.config(t, text), "--adapter", "caddyfile"))
	t.Cleanup(func() {
		s.child.Stop()
		printed := s.read("printed.log") + s.read("caddy.json")
		if strings.Contains(printed, "panic:") || strings.Contains(printed, "DATA RACE") {
			t.Errorf("Caddy printed:\n%s", s.read("printed.log"))
		}
		if t.Failed() {
			t.Logf("Caddy's log ends in:\n%s", tail(printed))
		}
	})
	if err := s.child.WaitUntil(60*time.Second, func() error {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err != nil {
			return err
		}
		_ = conn.Close()
		// Ports are open before all has started: handshakes would be early, and
		// race with the start inside Caddy.
		if !strings.Contains(s.read("caddy.json")[began:], "serving initial configuration") {
			return errors.New("it still starts")
		}
		return nil
	}); err != nil {
		t.Fatalf("starting Caddy: %v", err)
	}
}

// tell runs a command of the program on a Caddyfile: validate, adapt, reload.
// The error is the command's, with what it printed.
func (s *site) tell(t testing.TB, text, name string) error {
	t.Helper()
	args := []string{name, "--config", s.config(t, text), "--adapter", "caddyfile"}
	if name == "reload" {
		args = append(args, "--force", "--address", "unix/"+filepath.Join(s.dir, "admin.sock"))
	}
	out, err := s.command(t, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// read returns a file of the site's folder, "" if there is none.
func (s *site) read(name string) string {
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return ""
	}
	return string(text)
}

// auditLine is a line of the audit log.
type auditLine struct {
	Event, Result, Reason, User, Directory, Session, Host, Path string
	ClientIP                                                    string `json:"client_ip"`
}

// audit returns the audit log so far.
func (s *site) audit(t testing.TB) []auditLine {
	t.Helper()
	var lines []auditLine
	for text := range strings.Lines(s.read("caddy.json")) {
		var line struct {
			Logger string `json:"logger"`
			auditLine
		}
		if json.Unmarshal([]byte(text), &line) == nil && line.Logger == "ldap_auth.audit" {
			lines = append(lines, line.auditLine)
		}
	}
	return lines
}

// hasWritten tells whether a secret is in any file that Caddy wrote.
func (s *site) hasWritten(t testing.TB, secret string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(s.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == "Caddyfile" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err == nil && bytes.Contains(content, []byte(secret)) {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (s *site) base() string {
	if s.tls {
		return "https://127.0.0.1:" + s.port
	}
	return "http://127.0.0.1:" + s.port
}

// given are the ports that were given out: Caddy shares a port with whoever else
// has it, so that two sites with one would answer for each other.
var given sync.Map

// freePort returns a port below those that the system gives to clients, each
// once.
func freePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := fmt.Sprint(12000 + rand.IntN(8000))
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		if listener, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

func tail(text string) string {
	const most = 8 << 10
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}
