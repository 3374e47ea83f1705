package realserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStopEndsWhatTheServerForked(t *testing.T) {
	for _, test := range []struct{ what, script string }{
		{"child ends on its own", `sleep 60 & echo $!; wait`},
		{"leader ignores the request", `sleep 60 & echo $!; trap '' TERM; while :; do sleep 0.1; done`},
		{"leader ends before its child", `(trap '' TERM; while :; do sleep 0.1; done) & echo $!; wait`},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			logFile := filepath.Join(t.TempDir(), "log")
			p, err := startProcess(logFile, "/bin/sh", "-c", test.script)
			if err != nil {
				t.Fatal(err)
			}
			var child int
			err = p.waitUntil(5*time.Second, func() error {
				log, _ := os.ReadFile(logFile)
				child, err = strconv.Atoi(strings.TrimSpace(string(log)))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			p.stop()
			// A killed orphan is reaped by init, a moment later.
			deadline := time.Now().Add(5 * time.Second)
			for running(child) {
				if time.Now().After(deadline) {
					t.Fatalf("process %d still runs", child)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}

// running is false for a process that is gone or waits to be reaped.
func running(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestWaitingEndsWhenTheServerDies(t *testing.T) {
	p, err := startProcess(filepath.Join(t.TempDir(), "log"), "/bin/sh", "-c", "echo bad option; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	start := time.Now()
	err = p.waitUntil(time.Minute, func() error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "bad option") {
		t.Errorf("waitUntil: %v; want the exit status and the log", err)
	}
	if time.Since(start) > 30*time.Second {
		t.Errorf("waited %v for a dead process", time.Since(start))
	}
}

func TestWaitingHasALimit(t *testing.T) {
	p, err := startProcess(filepath.Join(t.TempDir(), "log"), "/bin/sh", "-c", "cat")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	err = p.waitUntil(100*time.Millisecond, func() error { return errors.New("port is closed") })
	if err == nil || !strings.Contains(err.Error(), "port is closed") {
		t.Errorf("waitUntil: %v; want the last reason", err)
	}
}

func TestMissingProgramIsAReasonToSkip(t *testing.T) {
	if _, err := startProcess(filepath.Join(t.TempDir(), "log"), "/nonexistent/slapd"); err == nil {
		t.Error("starting a program that does not exist gave no error")
	}
	_, err := program("a-server-that-is-not-installed")
	var missing *unavailableError
	if !errors.As(err, &missing) {
		t.Errorf("program: %v, want an unavailableError", err)
	}
}

// What a skip hides under `make test` is why the variable exists.
func TestRequire(t *testing.T) {
	tests := []struct {
		what, variable string
		err            error
		want           string
	}{
		{"there", "1", nil, ""},
		{"missing", "", unavailable("gone"), "skip"},
		{"missing, another value", "0", unavailable("gone"), "skip"},
		{"missing under make test", "1", unavailable("gone"), "fatal"},
		{"broken", "", errors.New("crashed"), "fatal"},
		{"missing, wrapped", "", fmt.Errorf("starting: %w", unavailable("gone")), "skip"},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			t.Setenv("CADDY_LDAP_REQUIRE_SERVERS", test.variable)
			r := &recorder{TB: t}
			func() {
				defer func() { _ = recover() }()
				require(r, "a server", test.err)
			}()
			if r.outcome != test.want {
				t.Errorf("outcome %q, want %q", r.outcome, test.want)
			}
		})
	}
}

// recorder notes how a test would have ended. The real methods end the
// goroutine; a panic stands in for that here.
type recorder struct {
	testing.TB
	outcome string
}

func (r *recorder) Helper()               {}
func (r *recorder) Skipf(string, ...any)  { r.outcome = "skip"; panic("skipped") }
func (r *recorder) Fatalf(string, ...any) { r.outcome = "fatal"; panic("failed") }

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(5)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, addr := range ports {
		if seen[addr] {
			t.Errorf("%s was found twice", addr)
		}
		seen[addr] = true
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			t.Errorf("listening on %s: %v", addr, err)
			continue
		}
		listener.Close()
	}
}
