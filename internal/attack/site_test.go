package attack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

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
	program   string   // default: the program under test
	env       []string // further variables for it
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
		// Not a certificate of Caddy's own CA: that comes when Caddy already serves.
		certificate, key := issued(t, "127.0.0.1", "localhost", "*.test", "*.corp.test")
		text = strings.ReplaceAll(text, "CERTIFICATE", certificate+" "+key)
	}
	return s, text
}

// issued are the files of a certificate, of a CA that nobody else has.
func issued(t testing.TB, names ...string) (certificate, key string) {
	t.Helper()
	ca, err := realserver.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err = ca.Issue(t.TempDir(), names...)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func (s *site) caddyfile(setup setup) string {
	if setup.block == "" {
		setup.block = "servers DIRECTORY"
	}
	if setup.site == "" {
		setup.site = "require_session\nreverse_proxy UPSTREAM"
	}
	kind := "ad"
	if setup.directory != nil && setup.directory.Plain {
		kind = "openldap"
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
		directory empresa.local %s {
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
`, setup.server, setup.global, kind, setup.block, setup.sessions, setup.auth, address, tls, setup.site, setup.more))
}

// fill puts what is known of a site in the place of its names.
func (s *site) fill(text string) string {
	return strings.NewReplacer("UPSTREAM", s.echo.Addr(), "PORT", s.port, "DIRECTORY", s.directory.URL(), "DIR", s.dir).Replace(text)
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

// auditedEnds is how many ends of sessions the audit log has for a reason.
func (s *site) auditedEnds(t testing.TB, reason string) int {
	t.Helper()
	n := 0
	for _, line := range s.audit(t) {
		if line.Event == "session_end" && line.Reason == reason {
			n++
		}
	}
	return n
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
