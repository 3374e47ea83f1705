package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// Shared is the one browser of a package's tests. The zero value is ready for
// use: it starts with the first tab and is stopped when the last test that
// joined has ended.
type Shared struct {
	mu    sync.Mutex
	tests int
	live  *process
}

// process is a running browser.
type process struct {
	ctx    context.Context
	folder string
	free   context.CancelFunc
}

// Join makes the browser live until the test has ended, and ends the test where
// there is none to be had. Call it before t.Parallel: all parallel tests have
// joined by then, so that the browser is not stopped between two of them.
func (s *Shared) Join(t testing.TB) {
	t.Helper()
	realserver.Program(t, "chromium")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tests++
	t.Cleanup(func() { s.leave(t) })
}

func (s *Shared) leave(t testing.TB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tests--; s.tests > 0 || s.live == nil {
		return
	}
	if err := s.live.stop(); err != nil {
		t.Errorf("stopping Chromium: %v", err)
	}
	s.live = nil
}

// browser returns the running browser, which it starts if there is none.
func (s *Shared) browser(t testing.TB) context.Context {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tests == 0 {
		t.Fatal("no test has joined the browser")
	}
	if s.live == nil {
		live, err := startProcess(realserver.Program(t, "chromium"))
		if err != nil {
			t.Fatalf("starting Chromium: %v", err)
		}
		s.live = live
	}
	return s.live.ctx
}

func startProcess(path string) (*process, error) {
	folder, err := os.MkdirTemp("", "caddy-ldap-browser-")
	if err != nil {
		return nil, err
	}
	// Attacks must not fail for the reason that tests have private windows, where
	// Chromium keeps cookies from other sites' frames and requests.
	preferences := filepath.Join(folder, "profile", "Default", "Preferences")
	if err := os.MkdirAll(filepath.Dir(preferences), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(preferences, []byte(`{"profile":{"cookie_controls_mode":0}}`), 0o600); err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(filepath.Join(folder, "profile")),
		// Whatever else it writes goes with the folder too.
		chromedp.Env("HOME="+folder, "TMPDIR="+folder, "XDG_CONFIG_HOME="+folder, "XDG_CACHE_HOME="+folder, "XDG_DATA_HOME="+folder),
		chromedp.NoSandbox, // it refuses to run as root otherwise
		chromedp.IgnoreCertErrors,
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"),
		// Tests that want plain HTTP mean it.
		chromedp.Flag("disable-features", "Translate,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable"),
	)
	if err := adopt(true); err != nil {
		return nil, fmt.Errorf("adopting orphans: %w", err)
	}
	allocator, free := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(allocator)
	p := &process{ctx: ctx, folder: folder, free: free}
	if err := chromedp.Do(ctx); err != nil {
		return nil, fmt.Errorf("%w (%v)", err, p.stop())
	}
	return p, nil
}

// stop closes the browser as its user would, so that it ends its own children,
// and kills it if it does not.
func (p *process) stop() error {
	pids := family(p.folder)
	patient, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	closed := chromedp.Cancel(patient)
	p.free()
	bury(pids)
	if err := adopt(false); err != nil {
		return err
	}
	if err := os.RemoveAll(p.folder); err != nil {
		return err
	}
	return closed
}
