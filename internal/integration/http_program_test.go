package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// program is the binary under test, for all tests of this package; it is built
// at its first use.
var program built

type built struct {
	once sync.Once
	dir  string
	err  error
}

// path returns the binary, built from this checkout.
func (b *built) path(t testing.TB) string {
	t.Helper()
	compiler := realserver.Program(t, "go")
	b.once.Do(func() { b.err = b.build(compiler) })
	if b.err != nil {
		t.Fatal(b.err)
	}
	return filepath.Join(b.dir, "caddy")
}

func (b *built) build(compiler string) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "caddy-ldap-"); err != nil {
		return fmt.Errorf("making a folder for the program: %w", err)
	}
	// Without version stamps: under sudo, git refuses another user's checkout.
	args := append([]string{"build", "-buildvcs=false", "-o", filepath.Join(b.dir, "caddy")}, buildFlags...)
	build := exec.Command(compiler, append(args, "./cmd/caddy")...)
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return nil
}

func (b *built) remove() {
	if b.dir != "" {
		os.RemoveAll(b.dir)
	}
}
