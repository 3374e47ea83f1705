//go:build unix

package realserver

import "syscall"

// Suspend has the server hang: its connections stay open, and nothing answers.
func (s *Redis) Suspend() error { return s.signal(syscall.SIGSTOP) }

// Resume ends Suspend.
func (s *Redis) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *Redis) signal(signal syscall.Signal) error {
	return syscall.Kill(-s.process.cmd.Process.Pid, signal)
}
