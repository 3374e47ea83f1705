package caddyauth

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestFolderInUseByAnotherProcess(t *testing.T) {
	s := newServer(t, setup{})
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command(executable)
	other.Env = append(os.Environ(), holdFolderVar+"="+s.folder)
	other.Stderr = os.Stderr
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = other.Wait()
	})
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "open\n" {
		t.Fatalf("the other process says %q", line)
	}
	err = s.load(s.caddyfile())
	if err == nil {
		t.Fatal("two processes have the folder open")
	}
	if text := err.Error(); !strings.Contains(text, `session folder "`+s.folder+`" is in use by another process`) || strings.Count(text, "\n") != 0 {
		t.Errorf("the error is %s", text)
	}
	if n := len(openHandles(t)); n != 0 {
		t.Errorf("%d stores are left", n)
	}
	_ = stdin.Close()
	_ = other.Wait()
	if err := s.load(s.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.signIn("ac12345")
}

// TestBadgerFolder: two spellings of one folder are one resource, and none is
// Caddy's own.
func TestBadgerFolder(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	resource := func(folder string) string {
		badger := &Badger{Folder: folder}
		if err := badger.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		return badger.Resource()
	}
	t.Setenv("TEST_FOLDER", dir)
	for _, spelling := range []string{filepath.Join(link, "s"), dir + "/x/../s", dir + "//s/", "{env.TEST_FOLDER}/s"} {
		if got, want := resource(spelling), resource(filepath.Join(dir, "s")); got != want {
			t.Errorf("%s is %s, not %s", spelling, got, want)
		}
	}
	if got := resource(""); !strings.HasSuffix(got, filepath.Join("caddy", "ldap_auth")) {
		t.Errorf("the default is %s", got)
	}
	if err := (&Badger{Folder: "{env.TEST_FOLDER_THAT_IS_NOT_SET}"}).Provision(caddy.Context{}); err == nil {
		t.Error("a folder whose name came out empty is accepted")
	}
}
