package realserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Caddy is the program under test: cmd/caddy, built from this checkout at its
// first use, with the race detector where the tests have it.
type Caddy struct {
	// Plain leaves the race detector out: where Caddy itself has races.
	Plain bool

	once sync.Once
	dir  string
	err  error
}

// ProgramVariable names a program that is tested in the place of the one that
// would be built.
const ProgramVariable = "CADDY_LDAP_TEST_PROGRAM"

// Path returns the executable.
func (c *Caddy) Path(t testing.TB) string {
	t.Helper()
	if given := os.Getenv(ProgramVariable); given != "" {
		return given
	}
	compiler := Program(t, "go")
	c.once.Do(func() {
		if c.dir, c.err = os.MkdirTemp("", "caddy-ldap-"); c.err == nil {
			flags := buildFlags
			if c.Plain {
				flags = nil
			}
			c.err = BuildCaddy(compiler, filepath.Join(c.dir, "caddy"), flags...)
		}
	})
	if c.err != nil {
		t.Fatal(c.err)
	}
	return filepath.Join(c.dir, "caddy")
}

// Remove deletes what Path has built.
func (c *Caddy) Remove() {
	if c.dir != "" {
		os.RemoveAll(c.dir)
	}
}

// BuildCaddy builds the program from this checkout. The working directory is
// that of a test two folders below its root.
func BuildCaddy(compiler, target string, flags ...string) error {
	// Without version stamps: under sudo, git refuses another user's checkout.
	build := exec.Command(compiler, append(append([]string{"build", "-buildvcs=false", "-o", target}, flags...), "./cmd/caddy")...)
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return nil
}
