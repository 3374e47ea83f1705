//go:build unix

package badgerstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// As after "sudo caddy run" by hand over the folder of the service.
func TestFolderOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder to another user")
	}
	used := filepath.Join(t.TempDir(), "used")
	s, err := Open(used, Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	mkdir(t, empty, 0o755)
	for _, dir := range []string{used, empty} {
		before := take(t, dir)
		if err := os.Chown(dir, 12345, 12345); err != nil {
			t.Skip("no folder can be given to another user here: ", err)
		}
		_, err := Open(dir, Options{}, nil)
		for _, want := range []string{dir, "belongs to user 12345", "as root", "start Caddy as that user", `"chown -R root"`} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q in it", err, want)
			}
		}
		if !take(t, dir).equal(before) {
			t.Error("the folder was changed")
		}
		if err := os.Chown(dir, 0, 0); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(dir, Options{}, nil); err != nil {
			t.Fatalf("after the cure: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
