package realserver

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// servers are shared by the tests of this package.
var servers Shared

func TestMain(m *testing.M) {
	code := m.Run()
	if code != 0 {
		servers.DumpLogs(os.Stderr)
	}
	servers.Stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
