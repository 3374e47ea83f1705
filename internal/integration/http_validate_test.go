package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHTTPValidateBesideTheRunningServerTouchesNothing(t *testing.T) {
	dc := servers.Samba(t)
	c := newCaddy(t)
	text := c.caddyfile(adDirectory(dc), reloadGate, newEcho(t), versioned(1))
	c.run(t, text)
	site := newClient(t, c)
	s := site.signInAs(t, dc.Juan)

	before, lines := c.settledFiles(t), len(c.audit(t))
	if err := c.validate(t, text); err != nil {
		t.Errorf("validating the running configuration: %v", err)
	}
	if err := c.validate(t, strings.Replace(text, c.path("sessions"), c.path("new/sessions"), 1)); err != nil {
		t.Errorf("validating another folder: %v", err)
	}
	if _, err := os.Stat(c.path("new")); err == nil {
		t.Error("validating made the folder of the sessions")
	}
	// Nobody listens there; validating asks nobody.
	if err := c.validate(t, strings.Replace(text, dc.URL, "ldaps://127.0.0.1:1", 1)); err != nil {
		t.Errorf("validating with a directory that is down: %v", err)
	}
	if err := c.validate(t, strings.Replace(text, dc.CA.File, c.path("missing.pem"), 1)); err == nil || !strings.Contains(err.Error(), "missing.pem") {
		t.Errorf("validating with a ca_file that is missing: %v", err)
	}
	if after := c.storeFiles(t); !slices.Equal(before, after) {
		t.Errorf("the folder of the sessions was\n%q\nand is\n%q", before, after)
	}
	if n := len(c.audit(t)); n != lines {
		t.Errorf("the audit log has %d lines, want %d", n, lines)
	}
	s.echo(t, "/")
	site.signInAs(t, dc.Juan).signOut(t)
}

// settledFiles lists the folder of the sessions once the server has written what
// it writes later than it answers.
func (c *caddy) settledFiles(t testing.TB) []string {
	t.Helper()
	files := c.storeFiles(t)
	for start := time.Now(); time.Since(start) < 20*time.Second; {
		time.Sleep(2 * time.Second)
		again := c.storeFiles(t)
		if slices.Equal(files, again) {
			return files
		}
		files = again
	}
	t.Fatal("the server keeps writing to the folder of the sessions")
	return nil
}

// storeFiles lists the folder of the sessions: names, sizes and times.
func (c *caddy) storeFiles(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(c.path("sessions"))
	if err != nil || len(entries) == 0 {
		t.Fatalf("reading the folder of the sessions: %d files, %v", len(entries), err)
	}
	var files []string
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, fmt.Sprintf("%s %d %v", entry.Name(), info.Size(), info.ModTime()))
	}
	return files
}
