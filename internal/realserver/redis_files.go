package realserver

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Reissue gives the server a certificate for other names, which it has after its
// next start. They must contain 127.0.0.1.
func (s *Redis) Reissue(t testing.TB, names ...string) {
	t.Helper()
	if _, _, err := s.CA.Issue(s.folder, names...); err != nil {
		t.Fatal(err)
	}
}

// CopyFiles copies what the server has on its disk now.
func (s *Redis) CopyFiles(t testing.TB) (folder string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(folder, os.DirFS(s.appendOnly())); err != nil {
		t.Fatalf("copying the files of redis-server: %v", err)
	}
	return folder
}

// RestoreFiles puts a copy in the place of what a server that was killed has on
// its disk: it forgets what came since, as it may in a power cut.
func (s *Redis) RestoreFiles(t testing.TB, folder string) {
	t.Helper()
	err := os.RemoveAll(s.appendOnly())
	if err == nil {
		err = os.CopyFS(s.appendOnly(), os.DirFS(folder))
	}
	if err != nil {
		t.Fatal(fmt.Errorf("restoring the files of redis-server: %w", err))
	}
}

// appendOnly is the server's own name for the folder.
func (s *Redis) appendOnly() string { return filepath.Join(s.folder, "appendonlydir") }
