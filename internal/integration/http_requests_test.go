package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// The script is the client of existing systems, in Debian's own Python and
// requests.
func TestHTTPExistingPythonClient(t *testing.T) {
	python := realserver.PythonWith(t, "requests")
	visits(t, func(t *testing.T, v visit) {
		v.caddy.keepSecret(v.password, true)
		cmd := exec.Command(python, filepath.Join("testdata", "existing_client.py"), v.caddy.url(), v.username, v.user)
		cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*", "PYTHONIOENCODING=utf-8", "PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1")
		cmd.Stdin = strings.NewReader(v.password)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
