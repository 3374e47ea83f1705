package realserver

import (
	"os/exec"
	"testing"
	"time"
)

// Child is a program under test. It runs as the directory servers do: in a
// process group of its own, and never longer than the test.
type Child struct{ process *process }

// StartChild starts cmd with its output appended to logFile.
func StartChild(t testing.TB, logFile string, cmd *exec.Cmd) *Child {
	t.Helper()
	process, err := startCommand(logFile, cmd)
	if err != nil {
		t.Fatalf("starting %s: %v", cmd.Path, err)
	}
	t.Cleanup(process.stop)
	return &Child{process}
}

// WaitUntil calls probe until it returns nil; the error says what the child
// printed if that did not happen within limit, or if it ended.
func (c *Child) WaitUntil(limit time.Duration, probe func() error) error {
	return c.process.waitUntil(limit, probe)
}

// Stop asks the child to end, and makes it end after 10 s. The result tells
// whether it ended with success.
func (c *Child) Stop() error {
	c.process.stop()
	return c.process.err
}

// Kill ends the child as a crash would: it gets no chance to save anything.
func (c *Child) Kill() {
	terminate(c.process.cmd, true)
	<-c.process.exited
}

// Program finds an executable that the test needs, or ends the test as the
// package comment says.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := program(name)
	require(t, name, err)
	return path
}

// PythonWith returns Debian's own Python with a module, or ends the test as the
// package comment says: another Python that is first in PATH has other modules.
func PythonWith(t testing.TB, module string) string {
	t.Helper()
	const python = "/usr/bin/python3"
	var err error
	if out, failed := exec.Command(python, "-c", "import "+module).CombinedOutput(); failed != nil {
		err = unavailable("%s has no %s; scripts/setup-tests.sh installs it: %v %s", python, module, failed, out)
	}
	require(t, "Python with "+module, err)
	return python
}
