package fileowner

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestOwners(t *testing.T) {
	for _, row := range []struct {
		name        string
		owner, user int
		want        string // in the error, "" for none
	}{
		{"the service's own", 999, 999, ""},
		{"root's, of a service", 0, 999, ""},
		{"root's own", 0, 0, ""},
		{"another user's", 1000, 999, `belongs to user 1000, and Caddy runs as user 999: run "chown -R 999"`},
		{"the service's, with Caddy started by root", 999, 0, `belongs to user 999, and Caddy runs as root, who would lock that user out`},
		{"nobody's", 65534, 0, `"chown -R root"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := check(row.owner, row.user)
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %v, want %q", err, row.want)
			}
		})
	}
}

func TestOwnerOfAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(info); err != nil {
		t.Errorf("a file of this process: %v", err)
	}
	if runtime.GOOS == "windows" {
		return // no such owners
	}
	if user, ok := owner(info); !ok || user != os.Geteuid() {
		t.Errorf("owner %d, %v, want %d", user, ok, os.Geteuid())
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another user")
	}
	if err := os.Chown(name, 12345, -1); err != nil {
		t.Skip("no file can be given to another user here: ", err)
	}
	if info, err = os.Stat(name); err != nil {
		t.Fatal(err)
	}
	if err := Check(info); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("a file of another user: error %v", err)
	}
}
