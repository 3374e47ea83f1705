package realserver

import (
	"os/exec"
	"syscall"
)

// isolate puts the child into a process group of its own, so that stopping it
// reaches what it forked and Ctrl-C at the terminal does not reach it before
// the tests are done, and has the kernel end it when the test process dies.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

func terminate(cmd *exec.Cmd, force bool) {
	signal := syscall.SIGTERM
	if force {
		signal = syscall.SIGKILL
	}
	// The error is that the group is gone, which is what is wanted.
	_ = syscall.Kill(-cmd.Process.Pid, signal)
}
