package caddyauth

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"
	"go.uber.org/goleak"
)

// TestMain keeps Caddy out of this machine's own data and, after all tests,
// looks for secrets in everything that was logged and for goroutines that were
// left behind.
func TestMain(m *testing.M) {
	if folder := os.Getenv(holdFolderVar); folder != "" {
		holdFolder(folder)
	}
	dir, err := os.MkdirTemp("", "ca")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Setenv("XDG_DATA_HOME", filepath.Join(dir, "data"))
	os.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	caddy.DefaultStorage.Path = filepath.Join(dir, "caddy")
	caddy.ConfigAutosavePath = filepath.Join(dir, "autosave.json")

	code := m.Run()
	_ = caddy.Stop()
	if found := logged.leaks(); len(found) > 0 {
		fmt.Fprintln(os.Stderr, "secrets in the logs of the test run:")
		for _, line := range found {
			fmt.Fprintln(os.Stderr, "  "+line)
		}
		code = max(code, 1)
	}
	if n := endsForOtherReasons(); n > 0 {
		fmt.Fprintln(os.Stderr, "sessions that ended for reasons which the metrics do not know:", n)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(caddysGoroutines()...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// caddysGoroutines are those that Caddy and its libraries start once for the
// process and never end.
func caddysGoroutines() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"),
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/caddy/v2/modules/caddytls.(*TLS).keepStorageClean.func1"),
	}
}
