package integration

import (
	"fmt"
	"os"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"go.uber.org/goleak"
)

// servers are shared by all tests of this package; each starts at its first
// use.
var servers realserver.Shared

// program is the binary under test, for all tests of this package.
var program realserver.Caddy

func TestMain(m *testing.M) {
	code := m.Run()
	if code != 0 {
		servers.DumpLogs(os.Stderr)
	}
	servers.Stop()
	program.Remove()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
