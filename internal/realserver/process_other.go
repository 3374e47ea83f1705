//go:build !linux

package realserver

import (
	"os"
	"os/exec"
	"time"
)

// isolate has nothing to set: the servers come from Debian's packages, and
// elsewhere this file only keeps the package compiling.
func isolate(*exec.Cmd) {}

func terminate(cmd *exec.Cmd, force bool) { _ = cmd.Process.Kill() }

func lockFile(path string, _ time.Duration) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}
