package realserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// unavailableError says why a server cannot be started on this machine at all:
// nothing is wrong with the code under test.
type unavailableError struct{ reason string }

func (e *unavailableError) Error() string { return e.reason }

func unavailable(format string, args ...any) error {
	return &unavailableError{reason: fmt.Sprintf(format, args...)}
}

// require ends the test if err is not nil: skipped where the server is merely
// not to be had, failed where it should have been.
func require(t testing.TB, server string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var missing *unavailableError
	if errors.As(err, &missing) && os.Getenv("CADDY_LDAP_REQUIRE_SERVERS") != "1" {
		t.Skipf("needs %s: %v", server, err)
	}
	t.Fatalf("starting %s: %v", server, err)
}

// program finds an executable. The sbin folders, where Debian keeps servers,
// are not in every user's PATH.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", unavailable("%s is not installed; scripts/setup-tests.sh does it", name)
}
