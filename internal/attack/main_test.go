package attack

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// program is the binary under test, for all tests of this package.
var program realserver.Caddy

// plainProgram is it without the race detector, which objects to Caddy's QUIC.
var plainProgram = realserver.Caddy{Plain: true}

func TestMain(m *testing.M) {
	flag.Parse()
	// Most tests wait for processes and for time to pass, not for a core.
	if side := flag.Lookup("test.parallel"); side.Value.String() == side.DefValue {
		_ = side.Value.Set(strconv.Itoa(3 * runtime.GOMAXPROCS(0)))
	}
	code := m.Run()
	program.Remove()
	plainProgram.Remove()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
