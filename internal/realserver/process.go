package realserver

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// process is a server that runs as a child, in a process group of its own and
// with its output in a file.
type process struct {
	cmd     *exec.Cmd
	logFile string
	stdin   io.Closer
	exited  chan struct{} // closed when it was waited for
	err     error         // of Wait; read after exited
}

// startProcess starts a server.
func startProcess(logFile, path string, args ...string) (*process, error) {
	return startCommand(logFile, exec.Command(path, args...))
}

// startCommand starts cmd. The child gets a pipe as its standard input that
// closes when the test process dies, however it dies: `samba -i` ends itself
// then. Other servers get the parent-death signal where the system has one.
func startCommand(logFile string, cmd *exec.Cmd) (*process, error) {
	path := cmd.Path
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", path, err)
	}
	defer log.Close()

	cmd.Stdout, cmd.Stderr = log, log
	isolate(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("making the standard input of %s: %w", path, err)
	}

	p := &process{cmd: cmd, logFile: logFile, stdin: stdin, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the parent-death signal when the thread that forked
		// ends, so that thread is kept until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = cmd.Wait()
		close(p.exited)
	}()
	if err := <-started; err != nil {
		stdin.Close()
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	return p, nil
}

// waitUntil calls probe until it returns nil, the process ends or limit passes.
func (p *process) waitUntil(limit time.Duration, probe func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := probe()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer within %v: %w\n%s", limit, err, tail(p.logFile))
		}
		select {
		case <-p.exited:
			return fmt.Errorf("the process ended by itself: %v\n%s", p.err, tail(p.logFile))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop asks the process group to end, and makes it end after 10 s.
func (p *process) stop() {
	p.stdin.Close()
	terminate(p.cmd, false)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
	}
	// Also after an orderly end: a child that outlives the group's leader
	// would keep the ports.
	terminate(p.cmd, true)
	<-p.exited
}

// tail returns the end of a log, for a failure message.
func tail(logFile string) string {
	const most = 8 << 10
	content, err := os.ReadFile(logFile)
	if err != nil {
		return fmt.Sprintf("(its log cannot be read: %v)", err)
	}
	if len(content) > most {
		content = append([]byte("…"), content[len(content)-most:]...)
	}
	return fmt.Sprintf("--- end of %s ---\n%s", logFile, content)
}
