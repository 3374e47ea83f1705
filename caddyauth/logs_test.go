package caddyauth

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// logged is everything that Caddy and the plugin logged in this test run, and
// what must never be found in it.
var logged = &logRecord{secrets: map[string]string{}}

type logRecord struct {
	mu      sync.Mutex
	lines   []string
	secrets map[string]string // value to name
}

func init() { caddy.RegisterModule(logCapture{}) }

// logCapture is a log writer for tests.
type logCapture struct{}

func (logCapture) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.test_capture", New: func() caddy.Module { return new(logCapture) }}
}
func (logCapture) String() string                                 { return "test_capture" }
func (logCapture) WriterKey() string                              { return "test_capture" }
func (logCapture) OpenWriter() (io.WriteCloser, error)            { return logged, nil }
func (*logCapture) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (l *logRecord) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func (l *logRecord) Close() error { return nil }

// keepSecret notes a value that must not be logged. A CSRF secret may be, by
// Caddy itself: its name says so.
func (l *logRecord) keepSecret(name, value string) {
	if len(value) < 6 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets[value] = name
}

func (l *logRecord) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

func (l *logRecord) since(mark int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines[mark:])
}

// leaks returns the lines that hold a secret. Caddy's own lines about
// requests show X-Csrftoken, which the documentation says how to filter.
func (l *logRecord) leaks() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		for value, name := range l.secrets {
			if strings.Contains(line, value) && !(name == "csrf secret" && !oursToLog(line)) {
				found = append(found, fmt.Sprintf("%s in %.300s", name, line))
			}
		}
	}
	return found
}

func oursToLog(line string) bool {
	var entry struct {
		Logger string `json:"logger"`
	}
	_ = json.Unmarshal([]byte(line), &entry)
	return strings.HasPrefix(entry.Logger, "ldap_auth") || strings.Contains(entry.Logger, "require_session") ||
		strings.Contains(entry.Logger, "ldap_login") || strings.Contains(entry.Logger, "session_group")
}

func TestLeaksAreFound(t *testing.T) {
	for line, want := range map[string]int{
		`{"logger":"ldap_auth.audit","user":"hunter22"}`:                      1,
		`{"logger":"http.log.access","uri":"/?p=hunter22"}`:                   1,
		`{"logger":"ldap_auth","error":"` + testSecret + `"}`:                 1,
		`{"logger":"http.handlers.require_session","x":"` + testSecret + `"}`: 1,
		`{"logger":"http.log.access","X-Csrftoken":["` + testSecret + `"]}`:   0,
		`{"logger":"ldap_auth","user":"hunter"}`:                              0,
	} {
		record := &logRecord{secrets: map[string]string{}}
		record.keepSecret("password", "hunter22")
		record.keepSecret("csrf secret", testSecret)
		_, _ = record.Write([]byte(line + "\n"))
		if found := record.leaks(); len(found) != want {
			t.Errorf("%s: found %q", line, found)
		}
	}
}

// auditLine is one line of the audit log.
type auditLine map[string]any

func (l auditLine) String() string {
	text, _ := json.Marshal(l)
	return string(text)
}

// auditSince returns the audit lines since a mark, having checked that their
// keys are the closed set.
func auditSince(t *testing.T, mark int) []auditLine {
	t.Helper()
	allowed := []string{"event", "result", "reason", "user", "directory", "session", "client_ip", "host", "path", "ms", "level", "ts", "logger", "msg"}
	var lines []auditLine
	for _, text := range logged.since(mark) {
		var line auditLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("reading the log line %q: %v", text, err)
		}
		if line["logger"] != "ldap_auth.audit" {
			continue
		}
		for key := range line {
			if !slices.Contains(allowed, key) {
				t.Errorf("audit line with the key %q: %s", key, text)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// wantAudit waits for the audit line with the given keys and values.
func wantAudit(t *testing.T, mark int, want auditLine) auditLine {
	t.Helper()
	var lines []auditLine
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		lines = auditSince(t, mark)
	next:
		for _, line := range lines {
			for key, value := range want {
				if line[key] != value {
					continue next
				}
			}
			return line
		}
	}
	t.Fatalf("no audit line %s in %v", want, lines)
	return nil
}

// wantLog waits for a log line that holds all of the texts.
func wantLog(t *testing.T, mark int, texts ...string) string {
	t.Helper()
	var lines []string
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		lines = logged.since(mark)
		for _, line := range lines {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
				return line
			}
		}
	}
	t.Fatalf("no log line with %q in:\n%s", texts, strings.Join(lines, "\n"))
	return ""
}
