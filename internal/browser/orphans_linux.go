package browser

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// adopt makes this process the parent of what Chromium leaves behind: its crash
// handlers and the processes that it forks from outlive it by a moment, and not
// every machine has an init that waits for orphans.
func adopt(yes bool) error {
	var on uintptr
	if yes {
		on = 1
	}
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, on, 0, 0, 0)
}

// family finds the processes that have folder in their command line: those of
// the browser that keeps its files there.
func family(folder string) []int {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	var pids []int
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(folder)) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// bury waits until the processes have ended, and ends those that do not. They
// are nobody else's to wait for: what is no child of ours is passed over.
func bury(pids []int) {
	deadline := time.Now().Add(5 * time.Second)
	for _, pid := range pids {
		for {
			ended, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
			if ended == pid || err != nil && err != unix.EINTR {
				break
			}
			if time.Now().After(deadline) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
