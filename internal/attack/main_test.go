package attack

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// program is the binary under test, for all tests of this package.
var program realserver.Caddy

func TestMain(m *testing.M) {
	code := m.Run()
	program.Remove()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
