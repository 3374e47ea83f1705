package browser

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// The browser is there for all that joined, and gone after the last of them:
// nothing of it runs on, waits to be buried or lies about.
func TestBrowserIsGoneAfterwards(t *testing.T) {
	var shared Shared
	var folder string
	t.Run("two tests", func(t *testing.T) {
		for _, name := range []string{"one", "two"} {
			t.Run(name, func(t *testing.T) {
				shared.Join(t)
				t.Parallel()
				tab := shared.Tab(t)
				shared.mu.Lock()
				folder = shared.live.folder
				shared.mu.Unlock()
				if got := Eval[string](tab, `Promise.resolve(new URL("//app。test", "https://site.test/").origin)`); got != "https://app.test" {
					t.Errorf("the browser says %q", got)
				}
			})
		}
	})
	if folder == "" {
		t.Skip("the tests of the browser were skipped")
	}
	if shared.live != nil {
		t.Error("the browser is still there")
	}
	if _, err := os.Stat(folder); err == nil {
		t.Errorf("%s is still there", folder)
	}
	if pids := family(folder); len(pids) > 0 {
		t.Errorf("these still run: %v", pids)
	}
	children, err := exec.Command("ps", "-o", "pid=,stat=,comm=", "--ppid", fmt.Sprint(os.Getpid())).Output()
	if err != nil {
		t.Skipf("needs ps: %v", err)
	}
	for line := range strings.Lines(string(children)) {
		if strings.Contains(line, "chrom") {
			t.Errorf("this is left behind: %s", line)
		}
	}
}
