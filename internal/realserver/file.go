package realserver

import (
	"os"
	"path/filepath"
	"testing"
)

// File returns what is in a file that scripts/setup-tests.sh fetches, or ends
// the test as the package comment says.
func File(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		err = unavailable("%s is not there; scripts/setup-tests.sh fetches it", path)
	}
	require(t, filepath.Base(path), err)
	return content
}
