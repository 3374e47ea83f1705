package realserver

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockFile waits until this process alone has the file path locked, at most
// for limit. Closing the result ends that, and so does the end of the process,
// however it comes.
func lockFile(path string, limit time.Duration) (*os.File, error) {
	// No O_CREAT on a file that exists: in a sticky folder the kernel refuses
	// it, even to root, where the file belongs to somebody else.
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			file.Close()
			return nil, fmt.Errorf("locking %q: %w", path, err)
		}
		if time.Now().After(deadline) {
			file.Close()
			return nil, fmt.Errorf("locking %q: another test run has held it for %v", path, limit)
		}
	}
}
