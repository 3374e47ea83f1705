package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// command is the program with arguments, in an environment of its own.
func (s *site) command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	path := s.program
	if path == "" {
		path = program.Path(t)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = slices.Concat(os.Environ(), []string{"HOME=" + s.dir, "XDG_DATA_HOME=" + s.dir, "XDG_CONFIG_HOME=" + s.dir}, s.env)
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

// restart runs Caddy again after it has ended.
func (s *site) restart(t testing.TB, text string) {
	t.Helper()
	if conn, err := net.Dial("tcp", "127.0.0.1:"+s.port); err == nil {
		_ = conn.Close()
		t.Fatal("it still runs")
	}
	s.run(t, text)
}

// eventually waits for what a running Caddy does in its own time.
func (s *site) eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	if err := s.child.WaitUntil(45*time.Second, func() error {
		if !happened() {
			return errors.New("it did not come about")
		}
		return nil
	}); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

// tell runs a command of the program on a Caddyfile: validate, adapt, reload, or
// run where that must fail. The error is the command's, with what it printed.
func (s *site) tell(t testing.TB, text, name string) error {
	t.Helper()
	args := []string{name, "--config", s.config(t, text), "--adapter", "caddyfile"}
	if name == "reload" {
		args = append(args, "--force", "--address", "unix/"+filepath.Join(s.dir, "admin.sock"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := s.command(t, args...)
	bounded := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	bounded.Env = cmd.Env
	out, err := bounded.CombinedOutput()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// wantRejected fails unless a command of the program ends with an error that has
// the texts in it. Some errors go to the log file, as configured.
func (s *site) wantRejected(t testing.TB, text, name string, texts ...string) {
	t.Helper()
	before := len(s.read("caddy.json"))
	err := s.tell(t, text, name)
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("caddy %s takes it: %v", name, err)
		return
	}
	said := strings.ReplaceAll(s.read("caddy.json")[before:]+err.Error(), `\"`, `"`)
	for _, text := range texts {
		if !strings.Contains(said, text) {
			t.Errorf("caddy %s does not say %q:\n%s", name, text, tail(said))
		}
	}
}
